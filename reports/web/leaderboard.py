"""The leaderboard: every system's headline metrics across the protocols, one number for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from benchmark.questions import OVERVIEW_MEANING
from reports import captions
from reports.results import Results
from reports.statistics.functionals import Functional, answers, mean
from reports.statistics.resampling import marks
from reports.tables.robustness import Sources, table_name
from reports.tables.table import Cell, Column, Row, Table
from reports.views import SELECTIONS, View, view


def leaderboard_tables(everything: Sources) -> list[Table]:
    """Systems by protocols, a table for each headline metric."""
    sources = everything.compared
    return [_table(sources, view(metric)) for metric in SELECTIONS[sources.results.task].grid]


def _table(sources: Sources, shown: View) -> Table:
    results = sources.results
    asked = protocols(results)
    columns = [_column(results, shown, functional) for functional in asked.values()]
    made = [
        Row(system.label, tuple(column[place] for column in columns), seeds=len(system.records))
        for place, system in enumerate(results.systems)
    ]
    made.sort(key=lambda row: _rank(row.cells[-1].value, shown))
    for floor in sources.floors:
        constant = Cell(floor.metrics[shown.name] * shown.scale, decimals=shown.decimals)
        made.append(Row(floor.label, (constant,) * len(asked), "floor"))
    questions = [question for functional in asked.values() for question, _ in functional]
    return Table(
        table_name("leaderboard", shown.title),
        f"Leaderboard: {shown.heading}",
        (
            *captions.common(results, questions),
            OVERVIEW_MEANING,
            f"Ordered by {list(asked)[-1]}, best first, which alone supports no difference.",
            *captions.metric_note((shown.name,)),
            *captions.floor_note(bool(sources.floors)),
            captions.MARKS if len(results.systems) > 1 else captions.ONE_SYSTEM,
        ),
        tuple(Column(name) for name in asked),
        tuple(made),
    )


def _rank(value: float | None, shown: View) -> tuple[bool, float]:
    """Best first, missing last; systems that tie keep their order."""
    sign = -1 if shown.higher_is_better else 1
    return value is None, sign * (value or 0.0)


def protocols(results: Results) -> Mapping[str, Functional]:
    """A column's heading -> what it averages; only what some run was evaluated on."""
    return {h.title: mean(h.questions) for h in results.overview}


def _column(results: Results, shown: View, functional: Functional) -> list[Cell]:
    found = [answers(system, shown.name, functional) for system in results.systems]
    cells = []
    for answer in found:
        if answer is None:
            cells.append(Cell(decimals=shown.decimals))
            continue
        values = answer.per_seed[:, 0] * shown.scale
        std = float(values.std(ddof=1)) if len(values) > 1 else None
        cells.append(Cell(float(values.mean()), std, len(values), decimals=shown.decimals))
    samples = [None if answer is None else answer.samples[:, 0] for answer in found]
    marked = marks([cell.value for cell in cells], samples, shown.name)
    return [replace(cell, mark=mark) for cell, mark in zip(cells, marked, strict=True)]
