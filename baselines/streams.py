"""IMDer's streams: every modality as a sequence of one length and width."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.layers import TemporalProjection
from benchmark.interface import DataSpec
from protocols.modalities import MODALITIES, Modalities, Modality

_KERNEL = 3


class Streams(nn.Module):
    """A bias-free convolution over 3 steps for each modality, without padding.

    Their length is the text's, down to a multiple of ``unit`` and at least that; the others, and a
    text of another length, are brought there by adaptive averages. A sequence too short for one
    unit is filled up with zero steps.

    Args:
        spec: of the data.
        width: d.
        unit: what the length is a multiple of.
    """

    def __init__(self, spec: DataSpec, width: int, unit: int) -> None:
        super().__init__()
        self.shortest = unit + _KERNEL - 1
        self.length = max(unit, (spec.lengths["text"] - _KERNEL + 1) // unit * unit)
        self.convolutions = nn.ModuleDict(
            {m: TemporalProjection(spec.widths[m], width, _KERNEL) for m in MODALITIES}
        )

    def forward(self, batch: Modalities) -> dict[Modality, Tensor]:
        """(B, L, d) of each modality; zeros where it is not available, whatever its features."""
        found = {}
        for place, m in enumerate(MODALITIES):
            stream = self._to_length(self.convolutions[m](self._filled_up(batch.features[m])))
            found[m] = torch.where(batch.available[:, place, None, None], stream, 0.0)
        return found

    def real(self, mask: Tensor) -> Tensor:
        """(B, L, 1): 1 where a stream's step covers a real step of the (B, T) mask, else 0."""
        steps = self._filled_up(mask[..., None].float())
        covered = steps.unfold(1, _KERNEL, 1).amax(-1)
        return (self._to_length(covered) > 0).float()

    def _filled_up(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, max(0, self.shortest - x.shape[1])))

    def _to_length(self, x: Tensor) -> Tensor:
        if x.shape[1] == self.length:
            return x
        return F.adaptive_avg_pool1d(x.transpose(1, 2), self.length).transpose(1, 2)
