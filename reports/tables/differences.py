"""Paired differences to a reference system, as a table for each headline metric."""

from __future__ import annotations

import math

from reports import captions
from reports.differences import conditions, sections
from reports.sources import Sources
from reports.statistics.inference import LEVEL, SEEDS_NEEDED
from reports.tables.robustness import table_name
from reports.tables.rows import Average, Show, pivot
from reports.tables.table import Column, Row, Table
from reports.views import DIFFERENCE, SELECTIONS, view

_COLUMNS: dict[str, Show] = {
    **{"difference": "interval", "p": "p", "Holm p": "holm", "verdict": "verdict"}
}
_UNIT = (
    "Each difference is the system minus the reference of its section, paired by test sample; "
    "better and worse claim that it holds for new test samples and new trainings: p is two-sided, "
    f"from the model of the interval, and its Holm correction must be below {1 - LEVEL:.2g}. "
    "Undecided: this is not shown, or one of the two has fewer than "
    f"{SEEDS_NEEDED} seeds, so that nothing is known of new trainings and there is no p."
)


def difference_tables(everything: Sources) -> list[Table]:
    """A table for each headline metric; none where nothing can be compared."""
    sources = everything.compared
    tables = [_table(sources, metric) for metric in SELECTIONS[sources.results.task].grid]
    return [table for table in tables if table.rows]


def _table(sources: Sources, metric: str) -> Table:
    results, asked = sources.results, conditions(sources.results)
    averages = [
        Average(metric, questions, DIFFERENCE, show)
        for questions in asked.values()
        for show in _COLUMNS.values()
    ]
    made: list[Row] = []
    for one in sections(results, metric):
        heading = f"{one.reference.title} · {one.reference.regime.name} is the reference"
        made += pivot(sources.answers, one.others, averages, heading)
    family = [
        key
        for key, answer in sources.answers.rows.items()
        if (key.metric, key.quantity) == (metric, DIFFERENCE) and not math.isnan(answer.p)
    ]
    return Table(
        table_name("paired-differences", view(metric).title),
        f"Paired differences in {view(metric).heading}",
        (
            *captions.common(results, [q for questions in asked.values() for q in questions]),
            _UNIT,
            f"Holm's correction over the {len(family)} tests of this table.",
            captions.INTERVALS,
            *captions.metric_note(results, (metric,)),
        ),
        tuple(Column(title, name) for name in asked for title in _COLUMNS),
        tuple(made),
    )
