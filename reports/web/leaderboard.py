"""The leaderboard: every system's headline metrics across the protocols, one number for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from protocols.conditions import LEVELS
from reports import captions
from reports.results import Results
from reports.statistics.functionals import Functional, answers, grid_points, mean, one
from reports.statistics.inference import marks
from reports.statistics.points import Point
from reports.tables.robustness import Sources, full_name, table_name
from reports.tables.table import Cell, Column, Row, Table
from reports.views import SELECTIONS, View, view

_MEANING = (
    "I, fixed: mean over the non-empty subsets of modalities. I, random: mean over missing rates "
    "0.1 to 0.7. II: mean over noise intensities 0.1 to 0.7. III: each sample at its own λ and η. "
    "Grid: mean over the 64 cells of λ×η."
)


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
    points = [point for functional in asked.values() for point, _ in functional]
    return Table(
        table_name("leaderboard", shown.title),
        f"Leaderboard: {shown.heading}",
        (
            *captions.common(results, points),
            _MEANING,
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
    found: dict[str, Functional] = {"Clean": one(Point("clean", available=full_name(results)))}
    if results.variants("I", "protocol"):
        names = captions.subset_names(results)
        found["I, fixed"] = mean([Point("I", available=name) for name in names])
    rules = [rule for (rule,) in results.variants("I", "missing_rule") if rule]
    for rule in rules:
        points = [Point("I", "", rule, rate=rate) for rate in LEVELS[1:]]
        found["I, random" + _unless_only(rules, rule)] = mean(points)
    noises = [rule for (rule,) in results.variants("II", "noise_rule")]
    for rule in noises:
        full = full_name(results)
        points = [Point("II", rule, intensity=level, available=full) for level in LEVELS[1:]]
        found["II" + _unless_only(noises, rule)] = mean(points)
    thirds = results.variants("III", "noise_rule", "missing_rule", "available")
    for noise, missing, joint in thirds:
        named = _unless_only(thirds, f"{noise}, {missing}, {joint}")
        found["III" + named] = one(Point("III", noise, missing, available=joint))
    grids = results.variants("grid", "noise_rule", "missing_rule")
    for noise, missing in grids:
        points = grid_points(noise, missing)
        found["Grid" + _unless_only(grids, f"{noise}, {missing}")] = mean(points)
    return found


def _unless_only(rules: Sequence[object], name: str) -> str:
    return f" ({name})" if len(rules) > 1 else ""


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
    estimates = [None if answer is None else answer.estimate.at(0) for answer in found]
    marked = marks(estimates, shown.higher_is_better)
    return [replace(cell, mark=mark) for cell, mark in zip(cells, marked, strict=True)]
