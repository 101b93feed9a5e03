"""The robustness summary: each system's λ×η grid in a few numbers, with intervals."""

from __future__ import annotations

import numpy as np

from benchmark.questions import grid_questions
from protocols.conditions import LEVELS
from reports import captions
from reports.answer import Answer
from reports.results import System
from reports.statistics.summaries import Place, steps_of
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
            *captions.metric_note(results, metrics),
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
    whole = sources.answers.get(system, grid, metric)
    found = sources.answers.summaries.get((system.key, noise_rule, missing_rule, metric))
    if whole is None or found is None:
        return (Cell(decimals=shown.decimals),) * len(_COLUMNS)
    return (
        *(_cell(one, shown) for one in (whole, found.area_in_intensity, found.area_in_rate)),
        _cell(found.drop, _PER_CENT),
        _cell(found.worst, shown),
        Cell(text=_at(found.worst_at)),
        _cell(found.loss, shown),
        Cell(text=f"{_at(found.step.start)} → {_at(found.step.end)}"),
        Cell(float(found.rises), None, len(found.worst.seeds), decimals=0),
    )


_PER_CENT = View("drop", "Drop", 100.0, 1, higher_is_better=False)


def _constant(value: float, shown: View) -> tuple[Cell, ...]:
    """A floor: the same everywhere."""
    same, empty = Cell(value * shown.scale, decimals=shown.decimals), Cell(text="–")
    zero = Cell(0.0, decimals=shown.decimals)
    return (same, same, same, Cell(0.0), same, empty, zero, empty, Cell(0.0, decimals=0))


def _cell(found: Answer, shown: View) -> Cell:
    std = None if found.std is None else found.std * shown.scale
    ends = (found.low * shown.scale, found.high * shown.scale)
    value, count = found.value * shown.scale, len(found.seeds)
    return Cell(value, std, count, decimals=shown.decimals, interval=ends)


def _at(place: Place) -> str:
    return f"({LEVELS[place[0]]:g}, {LEVELS[place[1]]:g})"
