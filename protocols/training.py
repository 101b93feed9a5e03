"""Degrade the batches of a training run, and its validation split, as its regime says.

The noise comes fresh from the device's generator in training; for validation it is keyed by sample,
so the selection of the best epoch sees the same corruption at every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from protocols.degradation import degrade, fresh_noise, keyed_noise
from protocols.draws import (
    NO_NOISE,
    NoiseDraw,
    family_uniforms,
    intensity_uniforms,
    missing_uniforms,
)
from protocols.missing import (
    UNIFORMS_PER_SAMPLE,
    draw_availability,
    draw_incomplete,
    share_over_batches,
)
from protocols.modalities import Modalities, Modality
from protocols.regimes import RELEASED_LEVEL, Regime
from protocols.rules import NoiseRule

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
    chosen = None
    if len(regime.families) > 1:
        chosen = uniform(1 if regime.scope == "batch" else size).expand(size)

    def noise_of(rule: NoiseRule) -> NoiseDraw:
        return fresh_noise(rule, batch, generator)

    return _degraded(batch, intensity, available, regime.families, chosen, noise_of, sigma_ref)


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
    chosen = None
    if len(regime.families) > 1:
        chosen = family_uniforms(VALIDATION_DRAW_SEED, "valid", sample_ids).to(device)

    def noise_of(rule: NoiseRule) -> NoiseDraw:
        return keyed_noise(rule, VALIDATION_DRAW_SEED, "valid", sample_ids, split).to(device)

    return _degraded(
        split, intensity.to(device), available, regime.families, chosen, noise_of, sigma_ref
    )


def _degraded(
    batch: Modalities,
    intensity: Tensor,
    available: Tensor,
    families: Sequence[NoiseRule],
    chosen: Tensor | None,
    noise_of: Callable[[NoiseRule], NoiseDraw],
    sigma_ref: Mapping[Modality, Tensor],
) -> Modalities:
    """Degrade by one family, or each sample by the one of several that its uniform chooses.

    All of several are applied and one is kept: to look which would wait for the device.
    """
    if chosen is None:
        noise = noise_of(families[0]) if families else NO_NOISE
        return degrade(batch, intensity, available, noise, sigma_ref)
    place = (chosen * len(families)).long()[:, None, None]
    found = degrade(batch, intensity, available, noise_of(families[0]), sigma_ref)
    for number, rule in enumerate(families[1:], start=1):
        other = degrade(batch, intensity, available, noise_of(rule), sigma_ref).features
        kept = {m: torch.where(place == number, other[m], x) for m, x in found.features.items()}
        found = replace(found, features=kept)
    return found


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
