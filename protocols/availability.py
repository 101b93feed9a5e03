"""Subsets of the modalities, as bit masks: bit 0 text, bit 1 audio, bit 2 vision.

The eight masks index the availability axis of the prediction table; 7 is {t, a, v}, 0 is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from protocols.modalities import LETTERS, MODALITIES, Modality

MASK_COUNT = 2 ** len(MODALITIES)


def mask_of(modalities: Iterable[Modality]) -> int:
    """The bit mask of a set of modalities."""
    chosen = set(modalities)
    return sum(1 << i for i, m in enumerate(MODALITIES) if m in chosen)


def contains(mask: int, modality: Modality) -> bool:
    """Whether ``modality`` is available under ``mask``."""
    return bool(mask >> MODALITIES.index(modality) & 1)


def subsets(present: Iterable[Modality]) -> tuple[int, ...]:
    """Every subset of the modalities that a data set has, the empty one included, ascending."""
    full = mask_of(present)
    return tuple(mask for mask in range(MASK_COUNT) if mask & ~full == 0)


def name_of(mask: int) -> str:
    """The paper's short name of a subset: "tav", "ta", "v"; "none" for the empty one."""
    return "".join(LETTERS[m] for m in MODALITIES if contains(mask, m)) or "none"


def mask_named(name: str) -> int:
    """The inverse of :func:`name_of`. Raises ValueError for anything else."""
    for mask in range(MASK_COUNT):
        if name_of(mask) == name:
            return mask
    raise ValueError(f"'{name}' names no subset of t, a, v")
