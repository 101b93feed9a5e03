"""EMOE's router: from the raw features of a sample to one weight for each modality.

Fang, Huang, Wan, Su, Ye. "EMOE: Modality-Specific Enhanced Dynamic Emotion Experts", CVPR 2025;
official code.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.subnetworks import masked_mean
from benchmark.interface import DataSpec
from protocols.modalities import Modality

RouterInput = Literal["pooled", "flat"]

ORDER: tuple[Modality, ...] = ("text", "vision", "audio")
"""The modalities as the official code orders the router's input and its weights."""

_SMALLEST_NORM = 1e-6
_BYTES_PER_WEIGHT = 16  # the weight, its gradient, and Adam's two moments


class Router(nn.Module):
    """softmax((W2 relu(unit(W1 r + b1)) + b2) / temperature), r the modalities side by side.

    W1 r is a sum over the modalities, so a branch can give its own share; W1 is held in three
    parts. Hidden width: an eighth of r's. Where r is flat and a modality has other steps than the
    text, a linear layer over time brings it to the text's.

    Args:
        spec: the data's widths and lengths.
        kind: r is each modality's mean over real steps, or all of its steps, padding included.
        temperature: of the softmax.
        largest: the most weights that W1 may have.

    Raises:
        ValueError: where W1 would have more.
    """

    def __init__(self, spec: DataSpec, kind: RouterInput, temperature: float, largest: int) -> None:
        super().__init__()
        self.kind, self.temperature = kind, temperature
        steps = spec.lengths["text"] if kind == "flat" else 1
        sizes = {m: steps * spec.widths[m] for m in ORDER}
        total = sum(sizes.values())
        hidden = max(1, total // 8)
        if total * hidden > largest:
            raise ValueError(
                f"the {kind} router has {total * hidden:,} weights here, "
                f"{total * hidden * _BYTES_PER_WEIGHT / 2**30:.1f} GiB in training; "
                f"set model.largest_router={total * hidden} to have it all the same"
            )
        self.align = nn.ModuleDict()
        if kind == "flat":
            for m in ORDER:
                if spec.lengths[m] != steps:
                    self.align[m] = nn.Linear(spec.lengths[m], steps)
        self.first = nn.ModuleDict({m: nn.Linear(n, hidden, bias=False) for m, n in sizes.items()})
        bound = total**-0.5  # one layer's initialisation, not three
        for weight in self.first.parameters():
            nn.init.uniform_(weight, -bound, bound)
        self.first_bias = nn.Parameter(torch.empty(hidden).uniform_(-bound, bound))
        self.second = nn.Linear(hidden, len(ORDER))

    def share(self, modality: Modality, features: Tensor, mask: Tensor) -> Tensor:
        """W1_m r_m (B, h), of (B, T_m, d_m) features and their (B, T_m) mask."""
        if self.kind == "pooled":
            return self.first[modality](masked_mean(features, mask))
        if modality in self.align:
            features = self.align[modality](features.transpose(1, 2)).transpose(1, 2)
        return self.first[modality](features.flatten(1))

    def forward(self, shares: Tensor) -> Tensor:
        """The weights (B, 3) in :data:`ORDER`, of the sum (B, h) of the shares."""
        hidden = F.normalize(shares + self.first_bias, dim=-1, eps=_SMALLEST_NORM)
        return (self.second(F.relu(hidden)) / self.temperature).softmax(-1)
