"""Where things stand on a figure, in inches. Every place is fixed: to have matplotlib find one
(constrained layout, the distance of a label) would double a report's time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reports.figures.style import MUTED, points, shrink

_NAME_BELOW, _NAME_LEFT, _FAR_LEFT = 0.25, 0.38, 0.47
"""Inches from a panel to the names of its axes; the last one beside numbers of four characters."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that belongs to no window and no global state."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def whole_words(text: str, width: int) -> list[str]:
    """Lines of about so many characters: a longer word keeps its line, and is not broken.

    A setting may be, between its name and its value.
    """
    parted = text.replace("=", "= ")
    lines = wrap(parted, width, break_long_words=False, break_on_hyphens=False)
    return [line.replace("= ", "=") for line in lines]


def inches(figure: Figure) -> Axes:
    """Axes over a whole figure, measured in inches and without a mark of their own: many small
    panels on one of these are drawn in two thirds of the time that axes for each would take."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    width, height = figure.get_size_inches()
    axes.set(xlim=(0, width), ylim=(0, height), autoscale_on=False)
    return axes


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes in a fixed place, in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def size_of(axes: Axes) -> tuple[float, float]:
    """Width and height of axes, in inches."""
    figure, place = axes.figure, axes.get_position()
    assert isinstance(figure, Figure)
    across, up = figure.get_size_inches()
    return float(place.width * across), float(place.height * up)


def panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes in a fixed place, in inches, whose names have fixed places too."""
    axes = axes_at(figure, left, bottom, width, height)
    _name_places(axes, width, height, _FAR_LEFT)
    return axes


@dataclass(frozen=True)
class Frame:
    """What stands around a block of panels, in inches.

    Attributes:
        left, below, right, above: from the figure's edges to the block.
        between: from one panel to the next, across and down.
    """

    left: float
    below: float
    right: float
    above: float
    between: tuple[float, float]

    def panels(
        self, figure: Figure, lines: int, columns: int, **shared: Any
    ) -> NDArray[np.object_]:
        """(lines, columns) axes in fixed places, as :meth:`Figure.subplots` makes them.

        Args:
            figure: where they are put.
            lines, columns: how many.
            shared: ``sharex``, ``sharey``.
        """
        across, up = figure.get_size_inches()
        width = (across - self.left - self.right - (columns - 1) * self.between[0]) / columns
        height = (up - self.below - self.above - (lines - 1) * self.between[1]) / lines
        places = {
            "left": self.left / across,
            "right": 1 - self.right / across,
            "bottom": self.below / up,
            "top": 1 - self.above / up,
            "wspace": self.between[0] / width,
            "hspace": self.between[1] / height,
        }
        found = figure.subplots(lines, columns, squeeze=False, gridspec_kw=places, **shared)
        for axes in found.flat:
            _name_places(axes, width, height)
        return np.asarray(found)


def _name_places(axes: Axes, width: float, height: float, left: float = _NAME_LEFT) -> None:
    """Fixed places for the names of axes: to find them is a third of matplotlib's drawing time."""
    axes.xaxis.set_label_coords(0.5, -_NAME_BELOW * shrink() / height)
    axes.yaxis.set_label_coords(-left * shrink() / width, 0.5)
    axes.set_title("")  # takes the style's fixed place, also where no title follows


@dataclass(frozen=True)
class Legend:
    """A legend along the lower edge of a figure.

    Attributes:
        names: what may be in it.
        width: the figure's width in inches.
        handle: the length of a line in it, in font sizes.
    """

    names: Sequence[str]
    width: float
    handle: float = 3.4

    @property
    def _columns(self) -> int:
        widest = (0.75 + max(map(len, self.names)) / 14) * shrink()  # 14 characters to the inch
        return max(1, min(int(self.width / widest), math.ceil(len(self.names) / 2)))

    @property
    def height(self) -> float:
        """The height in inches that it needs."""
        return 0.1 + 0.19 * shrink() * math.ceil(len(self.names) / self._columns)

    def put_on(self, figure: Figure, axes: Axes) -> None:
        """Draw it, of what these axes have."""
        handles, names = axes.get_legend_handles_labels()
        figure.legend(
            handles,
            names,
            loc="lower left",
            ncols=self._columns,
            fontsize=points(9),
            handlelength=self.handle,
            borderaxespad=0.2,
        )


@dataclass(frozen=True)
class Heading:
    """A title and lines of facts for the upper left of a figure.

    Attributes:
        title: what the figure shows.
        facts: what it was made of.
        width: the figure's width in inches, to which both are wrapped.
        shown: whether they are written; a paper says both in its caption.
    """

    title: str
    facts: str
    width: float
    shown: bool = True

    @property
    def _wrapped(self) -> tuple[list[str], list[str]]:
        wide = self.width / shrink()
        return wrap(self.title, int(10.5 * wide)), wrap(self.facts, int(13.5 * wide))

    @property
    def band(self) -> float:
        """The height in inches that it needs."""
        if not self.shown:
            return 0.1
        title, facts = self._wrapped
        return 0.14 + (0.22 * len(title) + 0.17 * len(facts)) * shrink()

    def put_on(self, figure: Figure) -> None:
        """Write it, where it is shown."""
        if not self.shown:
            return
        width, height = figure.get_size_inches()
        title, facts = self._wrapped
        left, top = 0.08 / width, 1 - 0.08 / height
        below = top - 0.22 * shrink() * len(title) / height
        size = points(12.5)
        figure.text(left, top, "\n".join(title), va="top", fontsize=size, fontweight="bold")
        figure.text(left, below, "\n".join(facts), va="top", color=MUTED)
