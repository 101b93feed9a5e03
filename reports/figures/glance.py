"""The suite's story in one picture: what a clean score hides.

Systems on clean input beside the same systems averaged over the λ×η grid, and the landscapes of
the two that are best on either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.questions import Question
from reports.answers import Answers
from reports.figures.landscapes import Sheet, panels
from reports.figures.layout import Heading, axes_at, new_figure, size_of, whole_words
from reports.figures.look import Look
from reports.figures.scale import common_scale, in_units
from reports.figures.style import COLOURS, INK, MUTED, points, shrink, subtitle
from reports.results import System
from reports.sources import Sources
from reports.views import View, view

_WIDTH, _STACKED, _SIDE, _SLOPE, _LINES = 11.0, 8.0, 2.3, 1.7, 5
"""Inches: the page's figure, below what the landscapes stand under the slopes; their
sides; the height of such slopes."""

_NAMED = 4
"""As many systems are named at the right of the slopes."""
_LONG = 24
"""Characters: a longer name takes two lines."""


@dataclass(frozen=True)
class Glance:
    """What is on the picture.

    Attributes:
        shown: the metric.
        variant: (noise rule, missing rule) of the grid.
        ends: system -> its value on clean input and its grid mean, in the printed unit.
        clean, grid: the best system by either.
    """

    shown: View
    variant: tuple[str, str]
    ends: dict[System, tuple[float, float]]
    clean: System
    grid: System

    def order(self, side: int) -> list[System]:
        """Systems, best first, by clean input (0) or the grid (1)."""
        sign = -1 if self.shown.higher_is_better else 1
        return sorted(self.ends, key=lambda system: sign * self.ends[system][side])

    @property
    def loses(self) -> System:
        """The system that loses most from clean input to the grid."""
        sign = 1 if self.shown.higher_is_better else -1
        return max(self.ends, key=lambda one: sign * (self.ends[one][0] - self.ends[one][1]))

    @property
    def words(self) -> str:
        """The picture for who cannot see it."""
        digits, parts = self.shown.decimals, []
        for system in self.order(1):
            clean, grid = self.ends[system]
            parts.append(f"{system.label} {clean:.{digits}f} and {grid:.{digits}f}")
        return f"{self.shown.unit} on clean input and averaged over the grid: {'; '.join(parts)}."

    @property
    def finding(self) -> str:
        """Which system is best where, and which place the one has on the other side."""
        if self.clean is self.grid:
            return f"{self.grid.label} is ahead on clean input and over the grid"
        place = self.order(1).index(self.clean) + 1
        return (
            f"Ahead on clean input: {self.clean.label}, place {place} of {len(self.ends)} over the "
            f"grid. Ahead over the grid: {self.grid.label}"
        )


def glance_of(answers: Answers, systems: Sequence[System], metric: str) -> Glance | None:
    """The picture's numbers; None where fewer than two systems have clean test and grid."""
    overview = {one.title: one.questions for one in answers.results.overview}
    clean = next((q for title, q in overview.items() if title.startswith("Clean")), None)
    grid = answers.results.overview[-1].questions
    shown = view(metric)
    ends: dict[System, tuple[float, float]] = {}
    if clean is None or not _is_grid(grid):
        return None
    for system in systems:
        both = [answers.get(system, asked, metric) for asked in (clean, grid)]
        if all(one is not None for one in both):
            values = [one.value * shown.scale for one in both if one is not None]
            ends[system] = (values[0], values[1])
    if len(ends) < 2:
        return None
    best = max if shown.higher_is_better else min
    tops = [best(ends, key=lambda system: ends[system][side]) for side in (0, 1)]
    variant = (grid[0].noise_rule, grid[0].missing_rule)
    return Glance(shown, variant, ends, tops[0], tops[1])


def _is_grid(asked: Sequence[Question]) -> bool:
    return {question.protocol for question in asked} == {"grid"}


def glance_figure(sources: Sources, glance: Glance, look: Look) -> Figure:
    """Slopes from clean input to the grid mean; beside them a landscape or two."""
    results, room = sources.results, shrink()
    metric = glance.shown.name
    if glance.clean is glance.grid:
        pair = {"best on clean input and over the grid": glance.grid}
        if glance.loses is not glance.grid:
            pair["loses most"] = glance.loses
    else:
        pair = {"best on clean input": glance.clean, "best over the grid": glance.grid}
    every = dict(in_units(sources.answers.surface(metric, *glance.variant), metric))
    found = [(system, every[system]) for system in pair.values()]
    scale = common_scale(metric, found, sources.floors, _LINES)
    width = look.width or _WIDTH
    facts = f"{glance.finding} · {subtitle(results, list(glance.ends))}"
    head = Heading(f"What a clean score hides: {glance.shown.heading}", facts, width, look.titles)
    left, names, bar, gap = 0.65 * room, 1.9 * room, 0.9 * room, 0.3 * room
    below = 0.55 * room
    stacked = width < _STACKED
    slope_wide = width - left - names - 0.1 if stacked else 0.34 * width
    taken = 0.0 if stacked else slope_wide + left + names
    side = min(_SIDE, (width - taken - left - bar - gap * (len(found) - 1)) / len(found))
    labels = [
        whole_words(f"{said}: {system.label}", max(8, int(13 * side / room)))
        for said, system in pair.items()
    ]
    titles = (0.1 + 0.19 * max(map(len, labels))) * room
    row, legend = below + side + titles, 0.3 * room
    high = _SLOPE if stacked else row - below - legend
    above = row if stacked else 0.0
    top = above + below + high + legend
    figure = new_figure(width, max(row, top) + head.band)
    slope = axes_at(figure, left, above + below, slope_wide, high)
    _slopes(slope, glance)
    at = Sheet(width, len(found), side, taken + left, gap)
    panels(figure, found, ["\n".join(lines) for lines in labels], scale, at, (below, row))
    head.put_on(figure)
    return figure


def _slopes(axis: Axes, glance: Glance) -> None:
    """A line for each system from its clean value to its mean over the grid."""
    trainings = list(dict.fromkeys(system.training for system in glance.ends))
    top = {glance.clean, glance.grid}
    for system, ends in glance.ends.items():
        place = trainings.index(system.training)
        colour = COLOURS[place % len(COLOURS)]
        dash = "-" if place == 0 else (0, (4, 1.6))
        width = 2.4 if system in top else 1.1
        marker = "o" if place == 0 else "s"
        axis.plot(
            (0, 1),
            ends,
            color=colour,
            linestyle=dash,
            marker=marker,
            markersize=4,
            linewidth=width * shrink(),
            alpha=1 if system in top else 0.65,
            label=f"{'' if place else 'trained on '}{system.training}"
            if system is _first(glance, system.training)
            else "_",
        )
    if not glance.shown.higher_is_better:
        axis.invert_yaxis()
    axis.set_xlim(-0.08, 1.05)
    axis.set_xticks((0, 1), ("clean input", "mean over the grid"))
    axis.set_ylabel(glance.shown.unit)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": 3}
    axis.legend(fontsize=points(8.5), handlelength=2.6, borderaxespad=0.1, **where)
    _names(axis, glance)


def _first(glance: Glance, training: str) -> System:
    return next(system for system in glance.ends if system.training == training)


def _names(axis: Axes, glance: Glance) -> None:
    """The best over the grid and the best on clean input by name, clear of each other."""
    order = glance.order(1)
    named = [s for s in order if s in order[:_NAMED] or s is glance.clean]
    bottom, top = axis.get_ylim()
    step = 0.17 * shrink() / size_of(axis)[1]
    places = [(glance.ends[system][1] - bottom) / (top - bottom) for system in named]
    names = ["\n".join(whole_words(system.label, _LONG)) for system in named]
    tall = [step * (1 + name.count("\n")) for name in names]
    for one in range(1, len(places)):  # the best is above, each next one clear of the one before
        places[one] = min(places[one], places[one - 1] - (tall[one - 1] + tall[one]) / 2)
    lowest = 0.0  # and none below the axis
    for one in reversed(range(len(places))):
        places[one] = max(places[one], lowest + tall[one] / 2)
        lowest = places[one] + tall[one] / 2
    for system, name, place in zip(named, names, places, strict=True):
        bold = "bold" if system in (glance.clean, glance.grid) else "normal"
        ink = INK if bold == "bold" else MUTED
        leader = {"arrowstyle": "-", "color": MUTED, "lw": 0.6, "shrinkA": 1, "shrinkB": 4}
        axis.annotate(
            name,
            (1, glance.ends[system][1]),
            (1.035, place),
            textcoords="axes fraction",
            arrowprops={**leader, "relpos": (0, 0.5)},
            color=ink,
            fontweight=bold,
            fontsize=points(8.5),
            va="center",
        )
