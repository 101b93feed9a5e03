"""The leaderboard: every system's headline metrics across the protocols, one number for each."""

from __future__ import annotations

from benchmark.questions import OVERVIEW_MEANING
from reports import captions
from reports.sources import Sources
from reports.tables.robustness import table_name
from reports.tables.rows import Average, rows
from reports.tables.table import Column, Row, Table
from reports.views import SELECTIONS, View, view


def leaderboard_tables(everything: Sources) -> list[Table]:
    """Systems by protocols, a table for each headline metric."""
    sources = everything.compared
    return [_table(sources, view(metric)) for metric in SELECTIONS[sources.results.task].grid]


def _table(sources: Sources, shown: View) -> Table:
    results = sources.results
    asked = results.overview
    averages = [Average(shown.name, one.questions, beside="nothing") for one in asked]
    made = rows(sources.answers, results.systems, averages)
    made.sort(key=lambda row: _rank(row, shown))
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


def _rank(row: Row, shown: View) -> tuple[bool, bool, float]:
    """Best first, missing last, then the floors; what ties keeps its order."""
    value, floor = row.cells[-1].value, row.kind == "floor"
    sign = -1 if shown.higher_is_better else 1
    return floor, value is None, 0.0 if floor else sign * (value or 0.0)
