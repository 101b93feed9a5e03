"""Landscapes for the page: each system's 64 cells as coloured squares that say their value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Colormap

from benchmark.questions import grid_questions
from protocols.conditions import LEVELS
from reports.figures.landscapes import STAR
from reports.figures.style import colour_map
from reports.results import Results, System
from reports.sources import Sources
from reports.tables.robustness import table_name
from reports.tables.rows import Average, cell
from reports.tables.table import Cell
from reports.views import SELECTIONS, View, view


@dataclass(frozen=True)
class Square:
    """One cell of a landscape.

    Attributes:
        colour: "#rrggbb" on the scale that all systems share.
        more: what it says when it is pointed at.
        star: whether the paper's figures put their star here.
    """

    colour: str
    more: str
    star: bool


@dataclass(frozen=True)
class Heatmap:
    """A system's landscape.

    Attributes:
        label: the system.
        anchor: the id of the element that tells where its numbers come from.
        rows: squares by missing rate, the highest first, and by noise intensity.
    """

    label: str
    anchor: str
    rows: tuple[tuple[Square, ...], ...]


@dataclass(frozen=True)
class Board:
    """The landscapes of one metric under one noise and missing rule.

    Attributes:
        name: its id.
        title: the metric, with the rules where there are several.
        low, high: the ends of the scale as they are printed; high is good.
        ramp: colours from low to high.
        maps: a landscape for each system.
    """

    name: str
    title: str
    low: str
    high: str
    ramp: tuple[str, ...]
    maps: tuple[Heatmap, ...]


def boards(everything: Sources) -> list[Board]:
    """Every board that the records allow: systems that are compared, for each headline metric."""
    sources = everything.compared
    results = sources.results
    variants = results.variants("grid", "noise_rule", "missing_rule")
    made = [
        _board(sources, metric, variant, len(variants) > 1)
        for variant in variants
        for metric in SELECTIONS[results.task].grid
    ]
    return [board for board in made if board is not None]


def _board(sources: Sources, metric: str, variant: tuple[str, ...], several: bool) -> Board | None:
    shown, results = view(metric), sources.results
    found: list[tuple[System, list[Cell]]] = []
    for system in results.systems:
        noise_rule, missing_rule = variant
        questions = grid_questions(noise_rule, missing_rule)
        cells = [cell(sources.answers, system, Average(metric, (q,))) for q in questions]
        if all(one.value is not None for one in cells):
            found.append((system, cells))
    if not found:
        return None
    values = [one.value or 0.0 for _, cells in found for one in cells]
    low, high = min(values), max(values)
    colours = colour_map(shown.higher_is_better)

    def scale(value: float) -> float:
        return (value - low) / max(high - low, 1e-9)

    rules = f" ({', '.join(variant)})" if several else ""
    bad, good = (low, high) if shown.higher_is_better else (high, low)
    ramp = _hex(colours, [scale(bad + (good - bad) * step / 12) for step in range(13)])
    return Board(
        table_name("board", *variant, shown.title),
        shown.heading + rules,
        f"{bad:.{shown.decimals}f}",
        f"{good:.{shown.decimals}f}",
        tuple(ramp),
        tuple(
            Heatmap(
                system.label,
                anchor_of(results, system),
                _squares(cells, shown, _hex(colours, [scale(c.value or 0.0) for c in cells])),
            )
            for system, cells in found
        ),
    )


def _hex(colours: Colormap, places: Sequence[float]) -> list[str]:
    """Places on a colour map as "#rrggbb"; all at once, as one by one they take a second."""
    levels = np.rint(255 * colours(np.array(places))[:, :3]).astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in levels.tolist()]


def _squares(cells: list[Cell], shown: View, colours: list[str]) -> tuple[tuple[Square, ...], ...]:
    width = len(LEVELS)
    return tuple(
        tuple(
            Square(
                colours[row * width + column],
                _says(cells[row * width + column], shown, intensity, rate),
                (intensity, rate) == STAR,
            )
            for row, intensity in enumerate(LEVELS)
        )
        for column, rate in reversed(list(enumerate(LEVELS)))
    )


def _says(cell: Cell, shown: View, intensity: float, rate: float) -> str:
    spread = "" if cell.std is None else f" ± {cell.std:.{shown.decimals}f}"
    value = f"{cell.value:.{shown.decimals}f}{spread}"
    return f"λ = {intensity:g}, η = {rate:g}: {shown.unit} {value}"


def anchor_of(results: Results, system: System) -> str:
    """The id of the part of the page that tells where a system's numbers come from."""
    return f"runs-{system.key}"
