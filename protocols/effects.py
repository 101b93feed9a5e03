"""What each family of noise does to a modality: small pure functions of a clean sample, λ and a
draw.

An effect draws its randomness once for a sample, and λ then only scales it or is compared with it:
what is lost at one λ stays lost at every higher one. λ = 0 changes no bit, and padding never
changes. σ is the modality's reference standard deviation; a channel that has none is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from protocols.modalities import Modality
from protocols.rules import FAMILIES, NoiseRule

SPIKE = 4.0
"""The size of an impulse in reference standard deviations."""
LOG_GAIN = 0.5
"""The standard deviation of a channel's log gain at λ = 1."""

Apply = Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor], Tensor]
"""(x (B, T, d), mask (B, T, 1), λ (B or 1, 1, 1), draw, σ) -> (B, T, d)."""


@dataclass(frozen=True)
class Effect:
    """What happens to one modality.

    Attributes:
        purpose: the part of the key of its random numbers that tells it from others; "" where it
            has none.
        kind: how they are distributed.
        shape: (T, d) -> the shape of a sample's random numbers.
        apply: the effect.
    """

    purpose: str
    kind: Literal["normal", "uniform"]
    shape: Callable[[int, int], tuple[int, ...]]
    apply: Apply


def _add_noise(x: Tensor, mask: Tensor, level: Tensor, z: Tensor | None, sigma: Tensor) -> Tensor:
    """ε ~ N(0, (λσ)² I) on every real step."""
    assert z is not None
    return torch.where(mask & (level > 0), x + level * sigma * z, x)


def _drop_steps(x: Tensor, mask: Tensor, level: Tensor, u: Tensor | None, sigma: Tensor) -> Tensor:
    """Each step zeroed with chance λ."""
    assert u is not None
    return x.masked_fill(u[..., None] < level, 0.0)


def _drop_block(x: Tensor, mask: Tensor, level: Tensor, u: Tensor | None, sigma: Tensor) -> Tensor:
    """One stretch of a share λ of the L real steps zeroed.

    It begins at the floor of u (L - n + 1): with one more step it begins at the same place or one
    before it, so stretches nest in λ.
    """
    assert u is not None
    here = mask[..., 0]
    steps = here.sum(dim=1, keepdim=True).double()
    count = (level[..., 0].double() * steps + 0.5).floor()
    first = (u.double() * (steps - count + 1)).floor()
    rank = here.cumsum(dim=1) - 1
    inside = (rank >= first) & (rank < first + count)
    return x.masked_fill((inside & here)[..., None], 0.0)


def _shift(x: Tensor, mask: Tensor, level: Tensor, u: Tensor | None, sigma: Tensor) -> Tensor:
    """Moved by λ/2 of the L real steps, later where u < 1/2; at least one step stays."""
    assert u is not None
    here = mask[..., 0]
    steps = here.sum(dim=1, keepdim=True)
    count = (level[..., 0].double() * steps / 2 + 0.5).floor().long().clamp(max=steps - 1)
    count = count.clamp(min=0)
    places = torch.argsort((~here).to(torch.uint8), dim=1, stable=True)  # of the real steps, first
    source = here.cumsum(dim=1) - 1 - torch.where(u < 0.5, count, -count)
    known = here & (source >= 0) & (source < steps)
    place = places.gather(1, source.clamp(0, x.shape[1] - 1))
    moved = x.gather(1, place[..., None].expand_as(x))
    return torch.where((count == 0)[..., None] | ~mask, x, moved * known[..., None])


def _impulse(x: Tensor, mask: Tensor, level: Tensor, u: Tensor | None, sigma: Tensor) -> Tensor:
    """Each value ±4σ with chance λ; its sign does not depend on λ."""
    assert u is not None
    side = 2 * u - 1
    hit = mask & (side.abs() < level) & (sigma > 0)
    return torch.where(hit, side.sign() * SPIKE * sigma, x)


def _gain(x: Tensor, mask: Tensor, level: Tensor, z: Tensor | None, sigma: Tensor) -> Tensor:
    """Each channel by exp(λa/2) and moved by λσb."""
    assert z is not None
    gain, offset = z[:, :1], z[:, 1:]
    changed = x * (LOG_GAIN * level * gain).exp() + level * sigma * offset
    return torch.where(mask & (level > 0) & (sigma > 0), changed, x)


def _quantise(x: Tensor, mask: Tensor, level: Tensor, _: Tensor | None, sigma: Tensor) -> Tensor:
    """Rounded to multiples of 2λσ; where those are too close for a float32 to count, kept."""
    step = 2 * level * sigma
    some = step > 0
    coarse = (x / torch.where(some, step, torch.ones_like(step))).round() * step
    return torch.where(mask & some & coarse.isfinite(), coarse, x)


def _noise_instead(
    x: Tensor, mask: Tensor, level: Tensor, z: Tensor | None, sigma: Tensor
) -> Tensor:
    """ε ~ N(0, (λσ)² I) on every real step, and nothing else."""
    assert z is not None
    return torch.where(mask & (level > 0), level * sigma * z, torch.zeros_like(x))


def _values(steps: int, width: int) -> tuple[int, ...]:
    return steps, width


def _steps(steps: int, width: int) -> tuple[int, ...]:
    return (steps,)


def _one(steps: int, width: int) -> tuple[int, ...]:
    return (1,)


def _two_by_channel(steps: int, width: int) -> tuple[int, ...]:
    return 2, width


def _nothing(steps: int, width: int) -> tuple[int, ...]:
    return (0,)


_EFFECTS: Mapping[str, Effect] = {
    "noise": Effect("gaussian", "normal", _values, _add_noise),
    "drop": Effect("token", "uniform", _steps, _drop_steps),
    "block": Effect("block", "uniform", _one, _drop_block),
    "shift": Effect("shift", "uniform", _one, _shift),
    "impulse": Effect("impulse", "uniform", _values, _impulse),
    "gain": Effect("gain", "normal", _two_by_channel, _gain),
    "quantise": Effect("", "uniform", _nothing, _quantise),
    "noise instead": Effect("fill", "normal", _values, _noise_instead),
}

EFFECTS: Mapping[NoiseRule, Mapping[Modality, Effect]] = {
    rule: {m: _EFFECTS[name] for m, name in family.does.items() if name in _EFFECTS}
    for rule, family in FAMILIES.items()
}
"""Noise rule -> what it does to each modality that it touches, in the order of the draws. The
effect of a rule that fills makes what stands in a missing modality's place; what a rule does to
transcripts is in :mod:`protocols.rewriting`, and the train mean in :mod:`protocols.degradation`."""
