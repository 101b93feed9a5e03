"""The robustness summary: each system's λ×η grid in a few numbers, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from benchmark.questions import Question, grid_questions
from protocols.conditions import LEVELS
from reports import captions
from reports.results import System
from reports.statistics.functionals import Functional, answers, area, linearised, mean, one
from reports.statistics.inference import Estimate, estimate
from reports.statistics.summaries import (
    Place,
    cliff,
    non_monotone,
    relative_drop,
    steps_of,
    worst_cell,
)
from reports.tables.robustness import Sources, table_name
from reports.tables.table import Cell, Column, Row, Table
from reports.views import SELECTIONS, View, view

_CORNER = f"({LEVELS[-1]:g}, {LEVELS[-1]:g})"
_COLUMNS = (
    Column("Grid mean"),
    Column("Area in λ"),
    Column("Area in η"),
    Column(f"Drop at {_CORNER}, %"),
    Column("value", "Worst cell"),
    Column("(λ, η)", "Worst cell"),
    Column("loss", "Steepest step"),
    Column("(λ, η) → (λ, η)", "Steepest step"),
    Column("Non-monotone steps"),
)
_MEANING = (
    "Area: under the curve in λ with nothing missing, and in η without noise, divided by its "
    "width. Drop: relative loss against clean. Steepest step and non-monotone steps: between "
    "neighbouring cells, away from clean; a step is non-monotone where more degradation scores "
    f"better, of {steps_of(np.zeros((len(LEVELS),) * 2))}. Worst cell and steps are of the mean "
    "over seeds; the intervals are of that cell and that step, not of the choice."
)


def summary_tables(everything: Sources) -> list[Table]:
    """A table for each variant of the grid that runs were evaluated on."""
    sources = everything.compared
    variants = sources.results.variants("grid", "noise_rule", "missing_rule")
    return [_table(sources, *variant) for variant in variants]


def _table(sources: Sources, noise_rule: str, missing_rule: str) -> Table:
    results = sources.results
    metrics = SELECTIONS[results.task].grid
    made = []
    for metric in metrics:
        for system in results.systems:
            cells = _cells(sources, system, metric, noise_rule, missing_rule)
            seeds = len(system.records)
            made.append(Row(system.label, cells, section=view(metric).heading, seeds=seeds))
        for floor in sources.floors:
            cells = _constant(floor.metrics[metric], view(metric))
            made.append(Row(floor.label, cells, "floor", view(metric).heading))
    return Table(
        table_name("robustness-summary", noise_rule, missing_rule),
        "Robustness summary of the λ×η grid",
        (
            *captions.common(results, grid_questions(noise_rule, missing_rule)),
            _MEANING,
            captions.INTERVALS,
            *captions.metric_note(metrics),
            *captions.floor_note(bool(sources.floors)),
        ),
        _COLUMNS,
        tuple(made),
    )


def _cells(
    sources: Sources,
    system: System,
    metric: str,
    noise_rule: str,
    missing_rule: str,
) -> tuple[Cell, ...]:
    shown = view(metric)
    grid = grid_questions(noise_rule, missing_rule)
    whole = answers(system, metric, mean(grid))
    found = answers(system, metric, *_functionals(grid))
    surface = [sources.answers.get(system, (question,), metric) for question in grid]
    if whole is None or found is None or None in surface:
        return (Cell(decimals=shown.decimals),) * len(_COLUMNS)
    estimates = [whole.estimate.at(0), *(found.estimate.at(q) for q in (_IN_LAMBDA, _IN_ETA))]
    ends = np.moveaxis(found.terms[:, [_CLEAN, _CORNER_CELL]], 1, -1)
    drop = estimate(linearised(partial(_drop, shown.higher_is_better), ends))
    values = np.array([one.value for one in surface if one]).reshape(len(LEVELS), len(LEVELS))
    return (
        *(_with_interval(one, shown.scale, shown.decimals) for one in estimates),
        _with_interval(drop, 100.0, 1),
        *_of_surface(system, grid, values, shown),
    )


_IN_LAMBDA, _IN_ETA, _CLEAN, _CORNER_CELL = range(4)


def _functionals(grid: Sequence[Question]) -> list[Functional]:
    """Area in λ, area in η, clean, corner."""
    width = len(LEVELS)
    return [area(grid[::width]), area(grid[:width]), one(grid[0]), one(grid[-1])]


def _drop(higher_is_better: bool, ends: np.ndarray) -> np.ndarray:
    """(..., 2) values at the clean and at the other end."""
    return relative_drop(ends[..., 0], ends[..., 1], higher_is_better)


def _of_surface(
    system: System, grid: Sequence[Question], surface: np.ndarray, shown: View
) -> tuple[Cell, ...]:
    worst = worst_cell(surface, shown.higher_is_better)
    step = cliff(surface, shown.higher_is_better)

    def at(place: Place) -> Question:
        return grid[place[0] * len(LEVELS) + place[1]]

    sign = -1.0 if shown.higher_is_better else 1.0
    loss: Functional = ((at(step.end), sign), (at(step.start), -sign))
    found = answers(system, shown.name, one(at(worst)), loss)
    assert found is not None  # as the surface has every cell
    value, lost = (found.estimate.at(q) for q in range(2))
    rises = float(non_monotone(surface, shown.higher_is_better))
    return (
        _with_interval(value, shown.scale, shown.decimals),
        Cell(text=_at(worst)),
        _with_interval(lost, shown.scale, shown.decimals),
        Cell(text=f"{_at(step.start)} → {_at(step.end)}"),
        Cell(rises, None, len(found.per_seed), decimals=0),
    )


def _constant(value: float, shown: View) -> tuple[Cell, ...]:
    """A floor: the same everywhere."""
    same, empty = Cell(value * shown.scale, decimals=shown.decimals), Cell(text="–")
    zero = Cell(0.0, decimals=shown.decimals)
    return (same, same, same, Cell(0.0), same, empty, zero, empty, Cell(0.0, decimals=0))


def _with_interval(found: Estimate, scale: float, decimals: int) -> Cell:
    scaled = found.times(scale)
    return Cell(scaled.value, scaled.std, scaled.seeds, decimals=decimals, interval=scaled.interval)


def _at(place: Place) -> str:
    return f"({LEVELS[place[0]]:g}, {LEVELS[place[1]]:g})"
