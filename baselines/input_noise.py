"""Worse versions of an input, for models that learn to tell them apart: SAM-LML's extension.

The reconstruction's reading of "missing is a special case of noise": a missing sequence is pure
noise, and a noisy one lies between it and the original.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmark.interface import DataSpec
from protocols.modalities import MODALITIES, Modalities, Modality

_MEMORY = 0.99


class InputNoise(nn.Module):
    """Gaussian noise of the input's own spread.

    The spread of a modality is one number, the standard deviation over all channels of the real
    steps of the training batches seen so far, recent ones counting more. Before the first it is 1.

    Args:
        spec: of the data set.
    """

    moments: Tensor

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        # per modality: decayed count, sum and sum of squares
        self.register_buffer("moments", torch.zeros(len(MODALITIES), 3))
        for m in MODALITIES:
            self.register_buffer(f"pattern_{m}", torch.randn(spec.lengths[m], spec.widths[m]))

    @torch.no_grad()
    def observe(self, batch: Modalities) -> None:
        """Take a training batch into the spreads; a missing sequence does not count."""
        rows = []
        for m in MODALITIES:
            x = batch.features[m]
            weight = (batch.masks[m] & ~is_missing(x)[:, None]).to(x.dtype)[..., None]
            count = weight.sum() * x.shape[-1]
            rows.append(torch.stack([count, (x * weight).sum(), (x.square() * weight).sum()]))
        self.moments.mul_(_MEMORY).add_(torch.stack(rows))

    def spread(self, modality: Modality) -> Tensor:
        """The standard deviation of a modality, a scalar."""
        count, total, squares = self.moments[MODALITIES.index(modality)].unbind()
        some = count.clamp_min(1.0)
        variance = (squares / some - (total / some).square()).clamp_min(0.0)
        return variance.sqrt().masked_fill(count == 0, 1.0)

    def fill(self, modality: Modality, features: Tensor, mask: Tensor) -> Tensor:
        """Pure noise on the real steps of missing sequences; the others stay as they are.

        In training the noise is new at every call, at evaluation always the same; the samples of
        a batch share it, so that none depends on its neighbours.

        Args:
            modality: which.
            features: (B, T, d_m).
            mask: (B, T) bool.
        """
        if self.training:
            noise = torch.randn(features.shape[1:], device=features.device, dtype=features.dtype)
        else:
            noise = getattr(self, f"pattern_{modality}")
        where = (is_missing(features)[:, None] & mask)[..., None]
        return torch.where(where, self.spread(modality) * noise, features)

    def worsen(
        self, batch: Modalities, intensity: tuple[float, float]
    ) -> tuple[Modalities, Modalities, Tensor]:
        """One random modality of each sample, perturbed and replaced.

        Args:
            batch: B samples.
            intensity: range of the perturbation's level, uniform per sample, in spreads.

        Returns:
            The batch with noise added to the chosen modality, the batch with that modality pure
            noise, and the choice: (B, 3) bool, at most one true, none where all are missing.
        """
        size, device = len(batch), batch.device
        there = torch.stack([~is_missing(batch.features[m]) for m in MODALITIES], 1)
        draw = torch.rand(size, 3, device=device).masked_fill(~there, -1.0)
        chosen = (draw.argmax(1, keepdim=True) == torch.arange(3, device=device)) & there
        low, high = intensity
        level = low + (high - low) * torch.rand(size, 1, 1, device=device)
        perturbed, replaced = {}, {}
        for position, m in enumerate(MODALITIES):
            x = batch.features[m]
            noise = self.spread(m) * torch.randn_like(x)
            where = (chosen[:, position, None] & batch.masks[m])[..., None]
            perturbed[m] = torch.where(where, x + level * noise, x)
            replaced[m] = torch.where(where, noise, x)
        return replace(batch, features=perturbed), replace(batch, features=replaced), chosen


def is_missing(features: Tensor) -> Tensor:
    """(B,) bool: the (B, T, d) sequence is zero throughout."""
    return ~features.flatten(1).any(1)
