"""Reliability landscapes: a metric over noise intensity and missing rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from scipy.interpolate import PchipInterpolator

from protocols.conditions import LEVELS
from reports.figures.layout import Heading, axes_at, inches, new_figure, whole_words
from reports.figures.look import PAGE, Look
from reports.figures.scale import MANY_LINES, Scale
from reports.figures.style import INK, MUTED, points, shrink, subtitle
from reports.results import Results
from reports.surface import Landscape, Surfaces

STAR = (0.3, 0.2)
"""(λ, η) of the star in the paper's figures."""

LAMBDA, ETA = "noise intensity λ", "missing rate η"
_FLOOR_INK = "#ffb000"  # light, as floors lie where the colours are dark; dashed for greyscale
_FLOOR_LINE: dict[str, Any] = {"linewidths": 1.6, "linestyles": [(0, (3, 1.5))]}
_FINE = 57
_SIDE, _GAP, _LEFT, _BELOW, _TITLE = 2.45, 0.3, 0.62, 0.5, 0.2
"""Inches: a panel, what stands between two, left of the first, below, and a line of title."""

_LEAST_SIDE, _SMALL, _COLUMNS = 0.78, 1.8, 4
"""Inches: a panel is no smaller, and a smaller one has fewer lines and ticks; panels in a row."""

_BORDER_ROOM, _LABEL_ROOM, _BESIDE = 0.16, 0.3, 0.32
"""Inches from a contour's label to the border and to another label; the star's number beside it."""

_TICK = 3 / 72
_TICK_LINE: dict[str, Any] = {"color": MUTED, "linewidth": 0.8}
_LOW, _HIGH = LEVELS[0], LEVELS[-1]


@dataclass(frozen=True)
class Sheet:
    """Where the panels of a figure of some width stand, in inches."""

    width: float
    columns: int
    side: float
    left: float
    gap: float

    @staticmethod
    def of(count: int, look: Look, signed: bool) -> Sheet:
        """As many panels in a row as there is room for, as large as there is room for."""
        left, gap, bar = (x * shrink() for x in (_LEFT, _GAP, 0.97 if signed else 0.87))
        columns = min(_COLUMNS, count)
        if look.width is None:
            width = left + columns * _SIDE + (columns - 1) * gap + bar
            return Sheet(width, columns, _SIDE, left, gap)
        gap *= 0.6  # small panels have no last tick whose name could touch the next panel's first
        room = look.width - left - bar + gap
        columns = max(1, min(columns, int(room / (_LEAST_SIDE + gap))))
        return Sheet(look.width, columns, min(_SIDE, room / columns - gap), left, gap)


def lines_for(count: int, look: Look) -> int:
    """How many contour lines a panel has room for, where there are so many panels."""
    return MANY_LINES // 2 if Sheet.of(count, look, signed=False).side < _SMALL else MANY_LINES


def combined_figure(
    results: Results,
    found: Surfaces,
    scale: Scale,
    title: str = "Reliability landscapes",
    look: Look = PAGE,
) -> Figure:
    """All systems side by side on one colour scale."""
    at = Sheet.of(len(found), look, scale.signed)
    lines = math.ceil(len(found) / at.columns)
    titles = [whole_words(s.label, max(8, int(13 * at.side / shrink()))) for s, _ in found]
    title_line, below = _TITLE * shrink(), _BELOW * shrink()
    down = at.side + 0.18 + title_line * max(map(len, titles))
    facts = subtitle(results, [system for system, _ in found]) + _floor_notes([scale])
    head = Heading(f"{title}: {scale.shown.title}", facts, at.width, look.titles)
    figure = new_figure(at.width, below + down * lines + head.band)
    panels(figure, found, ["\n".join(title) for title in titles], scale, at, (below, down))
    head.put_on(figure)
    return figure


def panels(
    figure: Figure,
    found: Surfaces,
    titles: Sequence[str],
    scale: Scale,
    at: Sheet,
    up: tuple[float, float],
) -> None:
    """Draw landscapes in rows, with the names of the axes at the outer ones and a colour bar.

    Args:
        figure: where they are put.
        found, titles: the landscapes, and what stands above each.
        scale: what they share.
        at: where they stand across.
        up: inches from the figure's lower edge to the last row, and from one row to the next.
    """
    sheet = inches(figure)
    lines = math.ceil(len(found) / at.columns)
    for place, (_, one) in enumerate(found):
        line, column = divmod(place, at.columns)
        left = at.left + (at.side + at.gap) * column
        square = Square(left, up[0] + up[1] * (lines - 1 - line), at.side)
        drawn = _draw(sheet, square, one, scale)
        top = square.top + 0.06
        sheet.text(square.left, top, titles[place], fontsize=points(10), va="bottom")
        if place + at.columns >= len(found):
            _ticks_below(sheet, square)
        if column == 0:
            _ticks_left(sheet, square)
        if place == at.columns - 1:  # beside the first row, exactly as high as its panels
            bar = axes_at(figure, square.right + 0.1, square.bottom, 0.12 * shrink(), at.side)
            _colour_bar(bar, drawn, scale)


def _floor_notes(scales: Sequence[Scale]) -> str:
    if any(scale.floor_is_on_it for scale in scales):
        return " · dashed: as good as the best constant prediction"
    return ""


@dataclass(frozen=True)
class Square:
    """A panel on a sheet that is measured in inches; λ to the right, η up."""

    left: float
    bottom: float
    side: float

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.left + self.side

    @property
    def top(self) -> float:
        """Its upper edge."""
        return self.bottom + self.side

    def place(self, levels: np.ndarray) -> np.ndarray:
        """(..., 2) pairs (λ, η) to inches on the sheet."""
        return np.asarray((levels - _LOW) / (_HIGH - _LOW) * self.side + (self.left, self.bottom))


def between_levels(one: Landscape) -> PchipInterpolator:
    """λ -> (E,) values at the rates: a monotone cubic, which passes through every level and makes
    no peaks of its own."""
    return PchipInterpolator(one.intensities, one.values, axis=0)


def _draw(sheet: Axes, square: Square, one: Landscape, scale: Scale) -> QuadContourSet:
    between, fine = between_levels(one), np.linspace(_LOW, _HIGH, _FINE)
    x = square.place(np.stack([fine] * 2, axis=-1))[:, 0]
    y = square.place(np.stack([one.rates] * 2, axis=-1))[:, 1]
    z = between(fine).T
    drawn = sheet.contourf(x, y, z, levels=scale.filled, cmap=scale.colours)
    drawn.set_edgecolor("face")  # no white hairlines between the steps in a PDF
    # Zero is drawn thicker: in greyscale both ends of a map of differences look alike.
    widths = [1.8 if scale.signed and abs(level) < 1e-9 else 0.9 for level in scale.lines]
    ink, around = scale.ink, "white" if scale.signed else INK
    lines = sheet.contour(x, y, z, levels=scale.lines, colors=ink, linewidths=widths, alpha=0.9)
    halo = [withStroke(linewidth=2.2, foreground=around, alpha=0.75)]
    style: dict[str, Any] = {"color": ink, "fontweight": "bold", "path_effects": halo}
    if scale.floor is not None and scale.floor_is_on_it:
        sheet.contour(x, y, z, levels=[scale.floor], colors=_FLOOR_INK, **_FLOOR_LINE)
    frame = Rectangle((square.left, square.bottom), square.side, square.side, fill=False)
    sheet.add_patch(frame).set(edgecolor=MUTED, linewidth=0.8, zorder=4)
    star = square.place(np.array(STAR))
    places = label_places(lines, square, [star, star + np.array([_BESIDE * shrink(), 0.0])])
    for text in sheet.clabel(lines, fontsize=points(8), fmt=scale.label, manual=places):
        text.set(**style)
    sheet.plot(
        *star,
        marker="*",
        markersize=13 * min(1.0, square.side / _SMALL),
        color="white",
        markeredgecolor=INK,
        zorder=5,
    )
    value = scale.value(between(STAR[0])[np.abs(one.rates - STAR[1]).argmin()])
    beside = 0.125 * min(1.0, square.side / _SMALL)
    where: dict[str, Any] = {"va": "center", "zorder": 6, "fontsize": points(9)}
    sheet.text(star[0] + beside, star[1], value, **where, **style)
    return drawn


def _named(square: Square, level: float) -> bool:
    """Whether a tick has its number: where there is little room, every other one has."""
    return square.side >= _SMALL or round(10 * level) % 2 == 0


def _ticks_below(sheet: Axes, square: Square) -> None:
    for level in LEVELS:
        x = float(square.place(np.array([level, 0.0]))[0])
        sheet.plot([x, x], [square.bottom, square.bottom - _TICK], **_TICK_LINE)
        if _named(square, level):
            below = square.bottom - 0.09 * shrink()
            sheet.text(x, below, f"{level:g}", ha="center", va="top", fontsize=points(9))
    middle, below = square.left + square.side / 2, square.bottom - 0.25 * shrink()
    sheet.text(middle, below, LAMBDA, ha="center", va="top", fontsize=points(10))


def _ticks_left(sheet: Axes, square: Square) -> None:
    for level in LEVELS:
        y = float(square.place(np.array([0.0, level]))[1])
        sheet.plot([square.left, square.left - _TICK], [y, y], **_TICK_LINE)
        if _named(square, level):
            left = square.left - 0.09 * shrink()
            sheet.text(left, y, f"{level:g}", ha="right", va="center", fontsize=points(9))
    middle = square.bottom + square.side / 2
    where: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center"}
    left = square.left - 0.36 * shrink()
    sheet.text(left, middle, ETA, fontsize=points(10), **where)


def label_places(
    lines: QuadContourSet, square: Square, taken: Sequence[np.ndarray]
) -> list[tuple[float, float]]:
    """A place for the label of each contour line: on it, clear of the borders and of others.

    A line that has no such place (it only cuts a corner) gets no label.
    """
    occupied = list(taken)
    low, high = np.array([square.left, square.bottom]), np.array([square.right, square.top])
    places = []
    for segments in lines.allsegs:
        points = np.concatenate([*segments, np.empty((0, 2))])
        to_border = np.minimum(points - low, high - points).min(axis=1)
        to_others = np.min([np.linalg.norm(points - o, axis=1) for o in occupied], axis=0)
        room = np.minimum(to_border / _BORDER_ROOM, to_others / _LABEL_ROOM)
        if len(points) and room.max() >= 1:
            # Of the places with room the one nearest to the diagonal: labels then form a ladder.
            off_diagonal = np.abs(np.diff(points - low, axis=1)[:, 0])
            chosen = points[np.where(room >= 1, off_diagonal, np.inf).argmin()]
            occupied.append(chosen)
            places.append((float(chosen[0]), float(chosen[1])))
    return places


def _colour_bar(axes: Axes, drawn: QuadContourSet, scale: Scale) -> None:
    bar = axes.figure.colorbar(drawn, cax=axes, ticks=scale.lines)
    bar.set_label(f"{scale.shown.unit}, difference" if scale.signed else scale.shown.unit)
    bar.outline.set_visible(False)
    if not scale.shown.higher_is_better:
        bar.ax.invert_yaxis()  # good is up, whatever the metric
    if scale.floor is not None and scale.floor_is_on_it:
        bar.ax.axhline(scale.floor, color=_FLOOR_INK, linewidth=2)
