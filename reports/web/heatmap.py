"""Landscapes for the page: each system's 64 cells as coloured squares that say their value."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.colors import to_hex

from benchmark.questions import grid_questions
from protocols.conditions import LEVELS
from reports.figures.landscapes import STAR
from reports.figures.style import colour_map
from reports.results import Results, System
from reports.sources import Sources
from reports.tables.robustness import table_name
from reports.tables.rows import Average, cell
from reports.tables.table import Cell
from reports.views import View, headlines, view

PALETTE = tuple(
    to_hex(colour) for colour in colour_map(higher_is_better=True)(np.linspace(0, 1, 64))
)
"""The colours of every board, from bad to good: defined once in the page's style."""


@dataclass(frozen=True)
class Square:
    """One cell of a landscape.

    Attributes:
        shade: its place in :data:`PALETTE`, on the scale that all systems share.
        more: its value as it is told when it is pointed at; where it is, its place says.
        star: whether the paper's figures put their star here.
    """

    shade: int
    more: str
    star: bool


@dataclass(frozen=True)
class Heatmap:
    """A system's landscape.

    Attributes:
        label: the system.
        alt: in words, what the squares show.
        anchor: the id of the element that tells where its numbers come from.
        rows: squares by missing rate, the highest first, and by noise intensity.
    """

    label: str
    alt: str
    anchor: str
    rows: tuple[tuple[Square, ...], ...]


@dataclass(frozen=True)
class Board:
    """The landscapes of one metric under one noise and missing rule.

    Attributes:
        name: its id.
        title: the metric, with the rules where there are several.
        unit: the metric as it stands before a value.
        low, high: the ends of the scale as they are printed; high is good.
        maps: a landscape for each system.
    """

    name: str
    title: str
    unit: str
    low: str
    high: str
    maps: tuple[Heatmap, ...]


def boards(everything: Sources) -> list[Board]:
    """Every board that the records allow: systems that are compared, for each headline metric."""
    sources = everything.compared
    results = sources.results
    variants = results.variants("grid", "noise_rule", "missing_rule")
    made = [
        _board(sources, metric, variant, len(variants) > 1)
        for variant in variants
        for metric in headlines(results.task)
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
    bad, good = (low, high) if shown.higher_is_better else (high, low)

    def shade(value: float) -> int:
        share = (value - bad) / (good - bad) if high - low > 1e-9 else 0.5
        return round(share * (len(PALETTE) - 1))

    rules = f" ({', '.join(variant)})" if several else ""
    return Board(
        table_name("board", *variant, shown.title),
        shown.heading + rules,
        shown.unit,
        f"{bad:.{shown.decimals}f}",
        f"{good:.{shown.decimals}f}",
        tuple(
            Heatmap(
                system.label,
                _in_words(system.label, cells, shown),
                anchor_of(results, system),
                _squares(cells, shown, [shade(one.value or 0.0) for one in cells]),
            )
            for system, cells in found
        ),
    )


def _squares(cells: list[Cell], shown: View, shades: list[int]) -> tuple[tuple[Square, ...], ...]:
    width = len(LEVELS)
    return tuple(
        tuple(
            Square(
                shades[row * width + column],
                _says(cells[row * width + column], shown),
                (intensity, rate) == STAR,
            )
            for row, intensity in enumerate(LEVELS)
        )
        for column, rate in reversed(list(enumerate(LEVELS)))
    )


def _says(cell: Cell, shown: View) -> str:
    spread = "" if cell.std is None else f" ± {cell.std:.{shown.decimals}f}"
    return f"{cell.value:.{shown.decimals}f}{spread}"


def _in_words(label: str, cells: list[Cell], shown: View) -> str:
    """A landscape for who cannot see it: its corners, and its value at the star."""
    at = dict(zip(product(LEVELS, LEVELS), cells, strict=True))
    top = LEVELS[-1]
    said = ((0.0, 0.0), (top, 0.0), (0.0, top), (top, top), STAR)
    values = ", ".join(f"{at[x].value:.{shown.decimals}f} at λ {x[0]:g}, η {x[1]:g}" for x in said)
    return f"{label}, {shown.unit}: {values}"


def anchor_of(results: Results, system: System) -> str:
    """The id of the part of the page that tells where a system's numbers come from."""
    return f"runs-{system.key}"
