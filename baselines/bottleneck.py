"""The variational bottleneck: a vector becomes a diagonal Gaussian near the standard one.

As in the official code of Mai, Zeng, Hu, "Multimodal Information Bottleneck", IEEE TMM 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SHIFT = 5.0
_LOWEST = -20.0
"""Where the softplus is cut: in float32 it is 0 from about -104 on, and its logarithm -inf."""


class Bottleneck(nn.Module):
    """A hidden layer with ReLU, and from it mean and deviation of each dimension.

    Args:
        width: d, of the vector and of the latent.
        hidden: width of the hidden layer.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.mean = nn.Linear(hidden, width)
        self.deviation = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., d) to mu and sigma = softplus(Linear - 5) of the same shape; sigma > 0."""
        inner = F.relu(self.hidden(x))
        raw = at_least_single(self.deviation(inner))
        return self.mean(inner), F.softplus((raw - _SHIFT).clamp_min(_LOWEST))


def divergence(mu: Tensor, sigma: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, 1)), the mean over the batch and the dimensions.

    Args:
        mu: (..., B, d).
        sigma: (..., B, d), positive.

    Returns:
        (...). The original has the mean, not the sum, over dimensions.
    """
    mu, sigma = at_least_single(mu), at_least_single(sigma)
    each = mu.square() + sigma.square() - 2.0 * sigma.log() - 1.0
    return 0.5 * each.mean((-2, -1))


def at_least_single(x: Tensor) -> Tensor:
    """The tensor in float32 where it has fewer bits: sigma and its logarithm need them."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
