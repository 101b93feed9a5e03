"""The per-modality networks that TFN and LMF share.

As in the two methods' published code: audio and vision enter as one vector, the mean over time;
text goes through an LSTM.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import dropout
from baselines.recurrent import LSTM


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The (B, d) mean over the real steps of (B, T, d); zero where there are none."""
    weights = mask.to(x.dtype)
    return (weights[:, None] @ x)[:, 0] / weights.sum(1, keepdim=True).clamp_min(1.0)


class VectorNetwork(nn.Module):
    """Batch normalisation, dropout and three linear layers with ReLU, for audio or vision.

    Args:
        width_in: d.
        width: h.
        rate: dropout rate on the normalised input.
    """

    def __init__(self, width_in: int, width: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.normalise = nn.BatchNorm1d(width_in)
        widths = (width_in, width, width, width)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) and a (B, T) mask to (B, h)."""
        x = dropout(self._normalised(masked_mean(features, mask)), self.rate, self.training)
        for layer in self.layers:
            x = F.relu(layer(x))
        return x

    def _normalised(self, x: Tensor) -> Tensor:
        """Batch statistics in training, but not of a batch of one, which has no variance."""
        norm = self.normalise
        if self.training and len(x) == 1:
            return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        return norm(x)


class TextNetwork(nn.Module):
    """The last state of an LSTM, and a linear layer.

    The published code has a dropout here that it sets to zero for an LSTM of one layer.

    Args:
        width_in: d.
        hidden: width of the LSTM.
        width: h.
    """

    def __init__(self, width_in: int, hidden: int, width: int) -> None:
        super().__init__()
        self.recurrent = LSTM(width_in, hidden)
        self.output = nn.Linear(hidden, width)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) and a (B, T) mask to (B, h)."""
        return self.output(self.recurrent.final(features, mask))
