"""The "standard fusion layer" between Eq. 7 and Eq. 8, in the readings of A8."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from qamoe.config import Fusion


class FusionLayer(nn.Module):
    """(B, 3, d) modality outputs y_t, y_a, y_v to h_final (B, d)."""

    def __init__(self, width: int, kind: Fusion, dropout: float, heads: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "concat_mlp":
            self.mix: nn.Module = nn.Sequential(
                nn.Linear(3 * width, width), nn.GELU(), nn.Dropout(dropout)
            )
        elif kind == "gated_sum":
            self.mix = nn.Linear(width, 1)
        elif kind == "transformer":
            self.mix = nn.TransformerEncoderLayer(
                width, heads, 2 * width, dropout, batch_first=True, norm_first=True
            )
        else:
            self.mix = nn.Identity()

    def forward(self, y: Tensor) -> Tensor:
        """Fuse."""
        if self.kind == "concat_mlp":
            fused: Tensor = self.mix(y.flatten(1))
            return fused
        if self.kind == "gated_sum":
            return (torch.softmax(self.mix(y), dim=1) * y).sum(dim=1)
        if self.kind == "sum":
            return y.sum(dim=1)
        mixed: Tensor = self.mix(y)
        return mixed.mean(dim=1)
