"""The leaderboard: every system's headline metrics across the protocols, one number for each."""

from __future__ import annotations

from dataclasses import replace

from benchmark.questions import OVERVIEW_MEANING
from reports import captions
from reports.sources import Sources
from reports.tables.robustness import table_name
from reports.tables.rows import Average, column, floor_rows
from reports.tables.table import Cell, Column, Row, Table
from reports.views import SELECTIONS, View, view


def leaderboard_tables(everything: Sources) -> list[Table]:
    """Systems by protocols, a table for each headline metric."""
    sources = everything.compared
    return [_table(sources, view(metric)) for metric in SELECTIONS[sources.results.task].grid]


def _table(sources: Sources, shown: View) -> Table:
    results = sources.results
    asked = results.overview
    averages = [Average(shown.name, one.questions) for one in asked]
    columns = [_column(sources, average) for average in averages]
    made = [
        Row(system.label, tuple(column[place] for column in columns), seeds=len(system.records))
        for place, system in enumerate(results.systems)
    ]
    made.sort(key=lambda row: _rank(row.cells[-1].value, shown))
    made += floor_rows(sources.answers, averages)
    questions = [question for one in asked for question in one.questions]
    return Table(
        table_name("leaderboard", shown.title),
        f"Leaderboard: {shown.heading}",
        (
            *captions.common(results, questions),
            OVERVIEW_MEANING,
            f"Ordered by {asked[-1].title}, best first, which alone supports no difference.",
            *captions.metric_note(results, (shown.name,)),
            *captions.floor_note(bool(sources.floors)),
            captions.MARKS if len(results.systems) > 1 else captions.ONE_SYSTEM,
        ),
        tuple(Column(one.title) for one in asked),
        tuple(made),
    )


def _rank(value: float | None, shown: View) -> tuple[bool, float]:
    """Best first, missing last; systems that tie keep their order."""
    sign = -1 if shown.higher_is_better else 1
    return value is None, sign * (value or 0.0)


def _column(sources: Sources, average: Average) -> list[Cell]:
    """Without published numbers, which stand beside the tables of their protocols."""
    found = column(sources.answers, sources.results.systems, average)
    return [replace(one, published=None) for one in found]
