"""MoMKE's modality experts: stacks of attention and MLP blocks, each with weights of its own.

As in the official code of Xu, Jiang, Liang, "Leveraging Knowledge of Modality Experts for
Incomplete Multimodal Learning", ACM Multimedia 2024. The stacks are held as one module with
stacked weights, so that a stream passes all of them at the price of one in operations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import attention, dropout

EVERY = slice(None)


class ExpertStacks(nn.Module):
    """E parallel stacks of layers x <- x + a + MLP(a), where a is attention over x.

    Attention has H heads, no output projection and no dropout; the MLP is Linear, GELU, dropout,
    Linear, dropout, as wide as x; nothing is normalised. Weights are stored (E, layers, in, out);
    parameters: 5 E layers (d^2 + d).

    Args:
        experts: E.
        width: d, a multiple of ``heads``.
        heads: H.
        layers: number of layers.
        rate: dropout rate in the MLPs.
    """

    def __init__(self, experts: int, width: int, heads: int, layers: int, rate: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        bound = width**-0.5  # torch's default for Linear, which the original uses

        def uniform(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(experts, layers, *shape).uniform_(-bound, bound))

        # queries, keys and values in one
        self.projection, self.projection_bias = uniform(width, 3 * width), uniform(1, 3 * width)
        self.inner, self.inner_bias = uniform(width, width), uniform(1, width)
        self.outer, self.outer_bias = uniform(width, width), uniform(1, width)

    def forward(self, x: Tensor, valid: Tensor, experts: slice = EVERY) -> Tensor:
        """Pass one stream through some of the stacks.

        Args:
            x: (B, T, d).
            valid: (B, T) bool, false = a step that is no key: padding, or not available.
            experts: which E' of the E stacks.

        Returns:
            (E', B, T, d). Where a sample has no valid step, attention gives 0.
        """
        some = valid.any(1)
        # A row without any key is weighed like a full one, and then set to 0: no NaN, and no
        # scores so low that the softmax has to be careful.
        lowest = torch.finfo(x.dtype).min / 2
        bias = torch.where(valid | ~some[:, None], 0.0, lowest).to(x.dtype)
        weights = [
            own[experts].unbind(1)
            for own in (
                *(self.projection, self.projection_bias),
                *(self.inner, self.inner_bias, self.outer, self.outer_bias),
            )
        ]
        groups = len(weights[0][0])
        x, bias = x.expand(groups, *x.shape), bias.expand(groups, *bias.shape)
        for projection, projection_bias, inner, inner_bias, outer, outer_bias in zip(
            *weights, strict=True
        ):
            mixed = self._attend(_linear(x, projection, projection_bias), bias)
            mixed = mixed * some[:, None, None]
            hidden = self._dropout(F.gelu(_linear(mixed, inner, inner_bias)))
            x = x + mixed + self._dropout(_linear(hidden, outer, outer_bias))
        return x

    def _attend(self, fused: Tensor, bias: Tensor) -> Tensor:
        """Attention of (E, B, T, 3d) queries, keys and values, with a (E, B, T) score bias."""
        q, k, v = fused.unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        mixed = attention(q, k, v, None, bias, (0.0,) * len(fused))
        return mixed.transpose(2, 3).flatten(3)

    def _dropout(self, x: Tensor) -> Tensor:
        return dropout(x, self.rate, self.training)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(E, B, T, in) by the (E, in, out) weights and (E, 1, out) biases of E layers."""
    return torch.baddbmm(bias, x.flatten(1, 2), weight).unflatten(1, x.shape[1:3])
