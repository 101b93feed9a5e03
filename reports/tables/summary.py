"""The robustness summary: each system's λ×η grid in a few numbers, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.questions import grid_questions
from protocols.conditions import LEVELS
from reports import captions
from reports.sources import Sources
from reports.statistics.summaries import steps_of
from reports.tables.robustness import table_name, titled
from reports.tables.rows import Average, Show, floor_rows, pivot
from reports.tables.table import Column, Row, Table
from reports.views import (
    AREA_IN_INTENSITY,
    AREA_IN_RATE,
    DROP,
    RISES,
    SELECTIONS,
    STEEPEST,
    VALUE,
    WORST,
    view,
)

_COLUMNS: Sequence[tuple[Column, str, Show]] = (
    (Column("Grid mean"), VALUE, "interval"),
    (Column(AREA_IN_INTENSITY), AREA_IN_INTENSITY, "interval"),
    (Column(AREA_IN_RATE), AREA_IN_RATE, "interval"),
    (Column(f"{DROP}, %"), DROP, "interval"),
    (Column("value", WORST), WORST, "interval"),
    (Column("(λ, η)", WORST), WORST, "place"),
    (Column("loss", STEEPEST), STEEPEST, "interval"),
    (Column("(λ, η) → (λ, η)", STEEPEST), STEEPEST, "place"),
    (Column(RISES), RISES, "spread"),
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
    grid = tuple(grid_questions(noise_rule, missing_rule))
    made: list[Row] = []
    for metric in metrics:
        heading = view(metric).heading
        averages = [Average(metric, grid, quantity, show) for _, quantity, show in _COLUMNS]
        made += pivot(sources.answers, results.systems, averages, heading)
        made += floor_rows(sources.answers, averages, heading)
    return Table(
        table_name("robustness-summary", noise_rule, missing_rule),
        titled("Robustness summary of the λ×η grid", noise_rule, missing_rule),
        (
            *captions.common(results, grid),
            _MEANING,
            captions.INTERVALS,
            *captions.metric_note(results, metrics),
            *captions.floor_note(bool(sources.floors)),
        ),
        tuple(column for column, _, _ in _COLUMNS),
        tuple(made),
    )
