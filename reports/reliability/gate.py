"""Gate on against gate off: QA-MoE with its quality gate, and the same without, cell by cell.

The pair is found in the records: two systems that differ in nothing but the gate (and the seed).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.questions import Question, grid_questions
from benchmark.readouts import covers, linear_terms
from reports.answer import Answer, Asked, Found, Key, between, ordered
from reports.results import Results, System
from reports.statistics.inference import Array, Estimate, estimate
from reports.views import BETTER, GATE, SELECTIONS, WORSE, view

SETTING, ON, OFF = "model.ablation", "none", "no_gate"
"""QA-MoE's setting, and its values with and without the gate."""


@dataclass(frozen=True)
class Pair:
    """A system with the gate and the one without."""

    on: System
    off: System


def pairs(results: Results) -> list[Pair]:
    """Every pair among the systems, in their order."""
    off = {_apart_from_gate(s): s for s in results.systems if _switch(s) == OFF}
    return [
        Pair(system, off[_apart_from_gate(system)])
        for system in results.systems
        if _switch(system) == ON and _apart_from_gate(system) in off
    ]


def _switch(system: System) -> object:
    return system.records[0].spec.setting(SETTING)


def _apart_from_gate(system: System) -> str:
    return system.records[0].spec.apart_from(SETTING)


def gates(results: Results) -> Found:
    """What the gate does on each grid: on minus off, in the metric's raw unit.

    The grid mean has its own 95 % interval. Cells have a 95 % band that holds all 64 at once, and a
    verdict by it; so many are better or worse.
    """
    found: Found = {}
    for pair in pairs(results):
        for noise, missing in results.variants("grid", "noise_rule", "missing_rule"):
            for metric in SELECTIONS[results.task].grid:
                found |= _gate(pair, metric, ordered(grid_questions(noise, missing)))
    return found


def _gate(pair: Pair, metric: str, grid: Asked) -> Found:
    """One grid; nothing where a side was not evaluated there."""
    on, off = (system_terms(system, metric, grid) for system in (pair.on, pair.off))
    if on is None or off is None:
        return {}
    difference = _with_mean(on) - _with_mean(off)
    mean, cells = difference.at(0), difference.at(slice(1, None))
    better = 1 if view(metric).higher_is_better else -1

    def said(side: int) -> str:
        return ("undecided", "better", "worse")[side * better]

    whole = between(mean, pair.off.label, said(mean.side_of()))
    low, high = cells.band()
    sides = mean.decidable * ((low > 0).astype(int) - (high < 0))
    found = {Key(pair.on.key, grid, metric, GATE): whole}
    for place, question in enumerate(grid):
        one = replace(
            between(cells.at(place), pair.off.label, said(int(sides[place]))),
            low=float(low[place]),
            high=float(high[place]),
            p=math.nan,
        )
        found[Key(pair.on.key, (question,), metric, GATE)] = one
    for quantity, side in ((BETTER, better), (WORSE, -better)):
        count = float((sides == side).sum())
        found[Key(pair.on.key, grid, metric, quantity)] = replace(_COUNT, value=count)
    return found


_COUNT = Answer(math.nan, None, math.nan, math.nan, (), ())


def system_terms(system: System, metric: str, questions: Sequence[Question]) -> Array | None:
    """(S, Q, N) linear terms of the runs that cover every question; None where none does."""
    tables = [record.table for record in system.records if covers(record.table, questions)]
    return np.stack([linear_terms(one, metric, questions) for one in tables]) if tables else None


def _with_mean(terms: Array) -> Estimate:
    """The mean over the grid, then its cells."""
    return estimate(np.concatenate([terms.mean(axis=1, keepdims=True), terms], axis=1))
