"""Ranks that the statistics support: a place, or the places that a system may have."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics.inference import LEVEL, Estimate, holm


@dataclass(frozen=True, order=True)
class Rank:
    """The places that a system may have; one where every difference to others is shown."""

    best: int
    worst: int

    def __str__(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best}–{self.worst}"


def ranks(found: Sequence[Estimate], higher_is_better: bool) -> list[Rank]:
    """Each system's rank.

    A system is behind those that are shown to be better and before those shown to be worse, by the
    paired model of both errors under Holm's correction over all pairs of the list. The rest are
    ties: with fewer than three seeds of one of two systems their difference is never shown.
    """
    pairs = list(itertools.combinations(range(len(found)), 2))
    differences = [found[i] - found[j] for i, j in pairs]
    shown = holm([float(one.p) for one in differences]) < 1 - LEVEL  # NaN is not
    better = np.zeros((len(found), len(found)), dtype=bool)
    for (i, j), one, holds in zip(pairs, differences, shown, strict=True):
        if holds:
            first = (one.value > 0) == higher_is_better
            better[(i, j) if first else (j, i)] = True
    count = len(found)
    return [Rank(1 + int(better[:, i].sum()), count - int(better[i].sum())) for i in range(count)]
