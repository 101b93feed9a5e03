"""Degrade the batches of a training run, and its validation split, as its regime says.

The noise comes fresh from the device's generator in training; for validation it is keyed by sample,
so the selection of the best epoch sees the same corruption at every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from protocols.degradation import degrade, fresh_noise, keyed_noise
from protocols.draws import NO_NOISE, intensity_uniforms, missing_uniforms
from protocols.missing import (
    UNIFORMS_PER_SAMPLE,
    draw_availability,
    draw_incomplete,
    share_over_batches,
)
from protocols.modalities import Modalities, Modality
from protocols.regimes import RELEASED_LEVEL, Regime

VALIDATION_DRAW_SEED = 0


def degrade_training_batch(
    batch: Modalities,
    regime: Regime,
    generator: torch.Generator,
    sigma_ref: Mapping[Modality, Tensor],
    present: tuple[Modality, ...],
) -> Modalities:
    """Degrade a training batch on its device, without a host synchronisation.

    Args:
        batch: B clean samples.
        regime: the training regime.
        generator: a generator on the batch's device; the only source of randomness.
        sigma_ref: see :func:`protocols.degradation.degrade`.
        present: the modalities that the data set has.
    """
    if regime.kind == "clean":
        return batch

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=batch.device)

    size = len(batch)
    if regime.kind == "spectrum":
        drawn = uniform(1 if regime.scope == "batch" else size, 2).expand(size, 2)
        intensity, rate = drawn[:, 0] * regime.intensity_max, drawn[:, 1] * regime.rate_max
    else:
        intensity, rate = _fixed_levels(regime, size, batch.device)
    rows = 1 if regime.missing_rule == "imder_batch" else size
    uniforms = uniform(rows, UNIFORMS_PER_SAMPLE).expand(size, UNIFORMS_PER_SAMPLE)
    available = _available(regime, rate, uniforms, present)
    noise = NO_NOISE
    if regime.kind != "missing":
        noise = fresh_noise(regime.noise_rule, batch, generator)
    return degrade(batch, intensity, available, noise, sigma_ref)


def degrade_validation_split(
    split: Modalities,
    sample_ids: Sequence[str],
    regime: Regime,
    sigma_ref: Mapping[Modality, Tensor],
    present: tuple[Modality, ...],
    batch_size: int,
) -> Modalities:
    """Degrade the validation split once, by common random numbers (the same at every epoch).

    Under ``spectrum`` each sample has its own (λ_i, η_i), uniform like the training's, so that the
    split covers the spectrum whatever its size. ``batch_size`` groups samples for ``imder_batch``.
    """
    if regime.kind == "clean":
        return split
    device = split.device
    if regime.kind == "spectrum":
        drawn = intensity_uniforms(VALIDATION_DRAW_SEED, "valid", sample_ids)
        intensity, rate = drawn[:, 0] * regime.intensity_max, drawn[:, 1] * regime.rate_max
    else:
        intensity, rate = _fixed_levels(regime, len(split), torch.device("cpu"))
    uniforms = missing_uniforms(VALIDATION_DRAW_SEED, "valid", sample_ids)
    if regime.missing_rule == "imder_batch":
        uniforms = share_over_batches(uniforms, batch_size)
    available = _available(regime, rate, uniforms, present).to(device)
    noise = NO_NOISE
    if regime.kind != "missing":
        noise = keyed_noise(regime.noise_rule, VALIDATION_DRAW_SEED, "valid", sample_ids, split)
    return degrade(split, intensity.to(device), available, noise.to(device), sigma_ref)


def _available(
    regime: Regime, rate: Tensor, uniforms: Tensor, present: tuple[Modality, ...]
) -> Tensor:
    if regime.kind == "released":
        return draw_incomplete(RELEASED_LEVEL, uniforms, present)
    return draw_availability(regime.missing_rule, rate, uniforms, present)


def _fixed_levels(regime: Regime, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    if regime.kind == "released":
        intensity = RELEASED_LEVEL
    else:
        intensity = regime.intensity if regime.kind == "noise" else 0.0
    rate = regime.rate if regime.kind == "missing" else 0.0
    return torch.full((size,), intensity, device=device), torch.full((size,), rate, device=device)
