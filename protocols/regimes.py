"""Training regimes: how the batches of a training run, and its validation split, are degraded.

``clean``: not at all. ``spectrum`` (A.1, Eq. 11): λ, η ~ U(0, 1) anew for each batch.
``missing``: missing rate η fixed, no noise (Table 3). ``noise``: intensity λ fixed, nothing missing
(Table 4). The noise comes fresh from the device's generator in training; for validation it is keyed
by sample, so the selection of the best epoch sees the same corruption at every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from protocols.degradation import NOISE_RULES, NoiseRule, degrade, fresh_noise, keyed_noise
from protocols.draws import NO_NOISE, intensity_uniforms, missing_uniforms
from protocols.missing import (
    MISSING_RULES,
    UNIFORMS_PER_SAMPLE,
    MissingRule,
    draw_availability,
    share_over_batches,
)
from protocols.modalities import Modalities, Modality

RegimeKind = Literal["clean", "spectrum", "missing", "noise"]
REGIME_KINDS: tuple[RegimeKind, ...] = get_args(RegimeKind)
Scope = Literal["batch", "sample"]

REGIME_VERSION = 1
VALIDATION_DRAW_SEED = 0


@dataclass(frozen=True)
class Regime:
    """How training and validation inputs are degraded.

    Attributes:
        kind: clean, spectrum, missing or noise.
        rate: the missing rate η of ``missing``.
        intensity: the noise intensity λ of ``noise``.
        noise_rule: what noise is, under ``spectrum`` and ``noise``.
        missing_rule: what missing is, under ``spectrum`` and ``missing``.
        rate_max, intensity_max: upper ends of the uniforms of ``spectrum`` (1 in the paper, A16).
        scope: whether ``spectrum`` draws one (λ, η) per batch (the paper, A14) or per sample.
    """

    kind: RegimeKind = "clean"
    rate: float = 0.0
    intensity: float = 0.0
    noise_rule: NoiseRule = "seed_a1"
    missing_rule: MissingRule = "bernoulli"
    rate_max: float = 1.0
    intensity_max: float = 1.0
    scope: Scope = "batch"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("kind", REGIME_KINDS),
            ("noise_rule", NOISE_RULES),
            ("missing_rule", MISSING_RULES),
            ("scope", get_args(Scope)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"regime.{name} is '{getattr(self, name)}'; choose from {allowed}")
        for name in ("rate", "intensity", "rate_max", "intensity_max"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"regime.{name} is {getattr(self, name)}; it lies in [0, 1]")

    @property
    def name(self) -> str:
        """A short name for tables and tags, e.g. ``spectrum`` or ``missing-0.3``."""
        if self.kind == "missing":
            return f"missing-{self.rate:g}"
        if self.kind == "noise":
            return f"noise-{self.intensity:g}"
        return self.kind

    def identity(self) -> dict[str, Any]:
        """The fields that matter for this kind: what enters the run's identity."""
        relevant = {
            "clean": (),
            "spectrum": ("noise_rule", "missing_rule", "rate_max", "intensity_max", "scope"),
            "missing": ("rate", "missing_rule"),
            "noise": ("intensity", "noise_rule"),
        }[self.kind]
        values = asdict(self)
        return {"kind": self.kind, **{name: values[name] for name in relevant}}


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
    available = draw_availability(regime.missing_rule, rate, uniforms, present)
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
    available = draw_availability(regime.missing_rule, rate, uniforms, present).to(device)
    noise = NO_NOISE
    if regime.kind != "missing":
        noise = keyed_noise(regime.noise_rule, VALIDATION_DRAW_SEED, "valid", sample_ids, split)
    return degrade(split, intensity.to(device), available, noise.to(device), sigma_ref)


def _fixed_levels(regime: Regime, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    intensity = regime.intensity if regime.kind == "noise" else 0.0
    rate = regime.rate if regime.kind == "missing" else 0.0
    return torch.full((size,), intensity, device=device), torch.full((size,), rate, device=device)
