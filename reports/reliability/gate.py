"""Gate on against gate off: QA-MoE with its quality gate, and the same without, cell by cell.

The pair is found in the records: two systems that differ in nothing but the gate (and the seed).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmark.questions import grid_questions
from reports.answers import system_terms
from reports.results import Results, System
from reports.statistics.inference import Estimate, estimate

Array = NDArray[np.float64]

SETTING, ON, OFF = "model.ablation", "none", "no_gate"
"""QA-MoE's setting, and its values with and without the gate."""


@dataclass(frozen=True)
class Pair:
    """A system with the gate and the one without."""

    on: System
    off: System


@dataclass(frozen=True)
class Effect:
    """What the gate does to a metric: on minus off, in the metric's raw unit.

    Attributes:
        mean: over the grid.
        cells: (8, 8) by λ and η.
        low, high: (8, 8), a 95 % band that holds all 64 cells at once.
    """

    mean: Estimate
    cells: Array
    low: Array
    high: Array

    def better(self, higher_is_better: bool) -> NDArray[np.bool_]:
        """(8, 8) the cells in which the gate helps, as far as the band can tell.

        None with fewer than three seeds of a side.
        """
        helps = self.low > 0 if higher_is_better else self.high < 0
        return helps & self.mean.decidable

    def worse(self, higher_is_better: bool) -> NDArray[np.bool_]:
        """(8, 8) the cells in which it hurts."""
        return self.better(not higher_is_better)


def pairs(results: Results) -> list[Pair]:
    """Every pair among the systems, in their order."""
    off = {_apart_from_gate(s): s for s in results.systems if _gate(s) == OFF}
    return [
        Pair(system, off[_apart_from_gate(system)])
        for system in results.systems
        if _gate(system) == ON and _apart_from_gate(system) in off
    ]


def _gate(system: System) -> object:
    return system.records[0].spec.setting(SETTING)


def _apart_from_gate(system: System) -> str:
    return system.records[0].spec.apart_from(SETTING)


@lru_cache(maxsize=64)  # a verdict, a table and a figure ask for the same
def effect(pair: Pair, metric: str, noise_rule: str, missing_rule: str) -> Effect | None:
    """What the gate does on a grid; None where a side was not evaluated there."""
    grid = grid_questions(noise_rule, missing_rule)
    on, off = (system_terms(system, metric, grid) for system in (pair.on, pair.off))
    if on is None or off is None:
        return None
    difference = _with_mean(on) - _with_mean(off)
    cells = difference.at(slice(1, None))
    side = round(len(grid) ** 0.5)
    parts = (cells.values, *cells.band())
    return Effect(difference.at(0), *(part.reshape(side, side) for part in parts))


def _with_mean(terms: Array) -> Estimate:
    """The mean over the grid, then its cells."""
    return estimate(np.concatenate([terms.mean(axis=1, keepdims=True), terms], axis=1))
