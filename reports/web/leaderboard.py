"""The leaderboard: every system's headline metrics across the protocols, one number for each."""

from __future__ import annotations

from dataclasses import replace

from benchmark.questions import OVERVIEW_MEANING
from reports import captions
from reports.results import System
from reports.sources import Sources
from reports.tables.robustness import table_name
from reports.tables.rows import Average, rows
from reports.tables.table import DASH, Cell, Column, Row, Table
from reports.views import View, headlines, view

_FACTS = (Column("Training"), Column("Parameters"))


def leaderboard_tables(everything: Sources) -> list[Table]:
    """Systems by protocols, a table for each headline metric; the one that selects leads."""
    sources = everything.compared
    return [_table(sources, view(metric)) for metric in headlines(sources.results.task)]


def _table(sources: Sources, shown: View) -> Table:
    results = sources.results
    asked = results.overview
    averages = [Average(shown.name, one.questions, beside="nothing") for one in asked]
    made = rows(sources.answers, results.systems, averages)
    made.sort(key=lambda row: _rank(row, shown))
    systems = {system.key: system for system in results.systems}
    questions = [question for one in asked for question in one.questions]
    columns = (*_FACTS, *(Column(one.title) for one in asked))
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
        columns,
        tuple(_with_facts(row, systems.get(row.about)) for row in made),
        corner="Model",
        ordered=(len(columns) - 1, shown.higher_is_better),
    )


def _with_facts(row: Row, system: System | None) -> Row:
    """The row with what the system was trained on, which its label no longer says, and its size."""
    if system is None:
        return replace(row, cells=(Cell(text=DASH), Cell(text=DASH), *row.cells))
    model, _, training = system.label.rpartition(" · ")
    facts = (Cell(text=training), Cell(text=_size(system)))
    return replace(row, label=model, cells=(*facts, *row.cells))


def _size(system: System) -> str:
    """How many parameters its runs have, in millions; a dash where no record says it."""
    found = {record.environment.get("parameters") for record in system.records}
    count = found.pop() if len(found) == 1 else None
    return f"{count / 1e6:.2f} M" if isinstance(count, int) else DASH


def _rank(row: Row, shown: View) -> tuple[bool, bool, float]:
    """Best first, missing last, then the floors; what ties keeps its order."""
    value, floor = row.cells[-1].value, row.kind == "floor"
    sign = -1 if shown.higher_is_better else 1
    return floor, value is None, 0.0 if floor else sign * (value or 0.0)
