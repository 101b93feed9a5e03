"""The degradation operator T(u; λ, S): Eq. 2, 12 and 13.

ũ_m = (1 - I_miss) · (u_m + ε_m): noise of intensity λ on the valid steps, then whole modalities
lost. What noise is, a rule says: the seed paper's in several readings, and other families
(:data:`protocols.rules.FAMILIES`, their formulas in :mod:`protocols.effects`). A lost modality is
zeros, unless the rule is about what stands in its place. A rule that acts on transcripts leaves the
text of a batch alone here: whoever evaluates puts the states of the rewritten transcript there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from protocols.draws import NoiseDraw, drawn
from protocols.effects import EFFECTS
from protocols.modalities import MODALITIES, Modalities, Modality
from protocols.rules import FAMILIES, REWRITING, NoiseRule

StandIns = Mapping[Modality, Tensor]
"""Modality -> (B, T_m, d_m): what a sample has where the modality is missing; {} for zeros."""


def keyed_noise(
    rule: NoiseRule, draw_seed: int, split: str, sample_ids: Sequence[str], batch: Modalities
) -> NoiseDraw:
    """The noise of named samples (common random numbers), on the CPU; shapes follow ``batch``."""
    found = {
        m: drawn(
            effect.kind,
            effect.shape(*batch.features[m].shape[1:]),
            (draw_seed, split, m, effect.purpose),
            sample_ids,
        )
        for m, effect in EFFECTS[rule].items()
        if effect.purpose
    }
    return NoiseDraw(rule, found)


def fresh_noise(rule: NoiseRule, batch: Modalities, generator: torch.Generator) -> NoiseDraw:
    """New noise for a training batch, drawn on the batch's device.

    Raises:
        ValueError: for a rule that acts on transcripts: a batch holds none.
    """
    if rule in REWRITING:
        raise ValueError(
            f"the noise rule '{rule}' acts on transcripts before their encoder, not on a batch of "
            "features"
        )
    found = {}
    for m, effect in EFFECTS[rule].items():
        if effect.purpose:
            x = batch.features[m]
            make = torch.randn if effect.kind == "normal" else torch.rand
            shape = (len(batch), *effect.shape(*x.shape[1:]))
            found[m] = make(shape, generator=generator, device=x.device, dtype=x.dtype)
    return NoiseDraw(rule, found)


def degrade(
    batch: Modalities,
    intensity: Tensor | float,
    available: Tensor,
    noise: NoiseDraw,
    sigma_ref: Mapping[Modality, Tensor],
    centre: Mapping[Modality, Tensor] | None = None,
) -> Modalities:
    """Apply T(u; λ, S).

    Args:
        batch: B clean samples.
        intensity: λ, a number, a scalar tensor, or (B,).
        available: (3,) or (B, 3) bool: S, in the order t, a, v. What ``batch`` already lacks
            stays missing.
        noise: the draw, for the same B samples and on the same device.
        sigma_ref: modality -> (d_m,) or scalar reference standard deviation, on the batch's
            device; 0 keeps a channel as it is.
        centre: modality -> (d_m,) train mean of its valid steps, which one rule fills with.

    Returns:
        The degraded batch. Padding masks are unchanged, padding stays zero; with λ = 0 and all
        available the features are the batch's own, bit for bit.
    """
    stand_ins = stand_ins_of(batch, intensity, noise, sigma_ref, centre)
    return lose(with_noise(batch, intensity, noise, sigma_ref), available, stand_ins)


def with_noise(
    batch: Modalities,
    intensity: Tensor | float,
    noise: NoiseDraw,
    sigma_ref: Mapping[Modality, Tensor],
) -> Modalities:
    """The noise of :func:`degrade` alone: nothing is lost."""
    if noise.rule is None or FAMILIES[noise.rule].fills:
        return batch
    level, features = _level(batch, intensity), dict(batch.features)
    for m, effect in EFFECTS[noise.rule].items():
        mask = batch.masks[m][..., None]
        features[m] = effect.apply(features[m], mask, level, noise.drawn.get(m), sigma_ref[m])
    return Modalities(features, batch.masks, batch.available, batch.label)


def stand_ins_of(
    batch: Modalities,
    intensity: Tensor | float,
    noise: NoiseDraw,
    sigma_ref: Mapping[Modality, Tensor],
    centre: Mapping[Modality, Tensor] | None = None,
) -> StandIns:
    """What stands where a modality is missing, by :func:`degrade`'s arguments.

    Raises:
        ValueError: where the rule fills with a mean and ``centre`` is None.
    """
    if noise.rule is None or not FAMILIES[noise.rule].fills:
        return {}
    level = _level(batch, intensity)
    if noise.rule == "fill_mean":
        if centre is None:
            raise ValueError("the noise rule 'fill_mean' needs the train mean of each modality")
        return {
            m: (level * centre[m]).expand_as(x).masked_fill(~batch.masks[m][..., None], 0.0)
            for m, x in batch.features.items()
        }
    return {
        m: effect.apply(
            batch.features[m], batch.masks[m][..., None], level, noise.drawn[m], sigma_ref[m]
        )
        for m, effect in EFFECTS[noise.rule].items()
    }


def lose(batch: Modalities, available: Tensor, stand_ins: StandIns) -> Modalities:
    """Lose what is not available, (3,) or (B, 3) bool; what the batch already lacks is lost too."""
    available = batch.available & available
    features: dict[Modality, Tensor] = {}
    for position, m in enumerate(MODALITIES):
        lost = ~available[:, position, None, None]
        x = batch.features[m]
        features[m] = torch.where(lost, stand_ins[m], x) if stand_ins else x.masked_fill(lost, 0.0)
    return Modalities(features, batch.masks, available, batch.label)


def _level(batch: Modalities, intensity: Tensor | float) -> Tensor:
    return torch.as_tensor(intensity, dtype=torch.float32, device=batch.device).reshape(-1, 1, 1)
