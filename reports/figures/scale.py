"""Scales that landscapes share: their colours, contour lines and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import Colormap
from matplotlib.ticker import MaxNLocator

from reports.figures.style import INK, colour_map
from reports.floors import Floor
from reports.surface import Landscape, Surfaces
from reports.views import View, view

_FILLED, MANY_LINES = 32, 8
"""Colour steps, and contour lines where there is room; about so many."""
_ROUND = [1, 2, 2.5, 5, 10]


@dataclass(frozen=True)
class Scale:
    """One scale for every landscape of a data set and metric.

    Attributes:
        shown: the metric.
        filled: the edges of the colour steps.
        lines: the contour lines, each with a label.
        floor: the value of the best constant prediction; None where there is none.
        signed: whether the values are differences, and the scale is symmetric about zero.
    """

    shown: View
    filled: np.ndarray
    lines: np.ndarray
    floor: float | None
    signed: bool = False

    @property
    def colours(self) -> Colormap:
        """Bright is good; of differences, one hue is better and the other worse."""
        return colour_map(self.shown.higher_is_better, self.signed)

    @property
    def ink(self) -> str:
        """The colour of lines and labels: light on the dark map, dark on that of differences."""
        return INK if self.signed else "white"

    def value(self, value: float) -> str:
        """A value as it is written on a landscape."""
        text = f"{value:{'+' if self.signed else ''}.{self.shown.decimals}f}"
        return text.replace("-", "−")

    def label(self, level: float) -> str:
        """A contour line's label, with as many decimals as the distance to the next line needs."""
        step = float(self.lines[1] - self.lines[0])
        decimals = next(d for d in range(8) if abs(round(step, d) - step) < 1e-9)
        if self.signed and abs(level) < 1e-9:
            return "0"
        return f"{level:{'+' if self.signed else ''}.{decimals}f}".replace("-", "−")

    @property
    def floor_is_on_it(self) -> bool:
        """Whether some landscape may reach the floor."""
        return self.floor is not None and self.filled[0] <= self.floor <= self.filled[-1]


def in_units(found: Surfaces, metric: str) -> Surfaces:
    """The landscapes in the metric's printed unit."""
    scale = view(metric).scale
    return [(s, Landscape(one.intensities, one.rates, one.values * scale)) for s, one in found]


def common_scale(
    metric: str, found: Surfaces, floors: Sequence[Floor], lines: int = MANY_LINES
) -> Scale:
    """The scale that holds every surface, with about so many contour lines."""
    shown = view(metric)
    values = np.concatenate([one.values.ravel() for _, one in found])
    filled, drawn = round_levels(values, shown, lines)
    constants = [floor.metrics[metric] * shown.scale for floor in floors]
    best = max if shown.higher_is_better else min
    return Scale(shown, filled, drawn, best(constants) if constants else None)


def round_levels(values: np.ndarray, shown: View, lines: int) -> tuple[np.ndarray, np.ndarray]:
    """Colour steps, and about so many lines: levels at round numbers that hold all values."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9:  # a model that ignores its input: keep a scale with some width
        low, high = low - 0.5 * shown.scale / 100, high + 0.5 * shown.scale / 100
    filled, drawn = (MaxNLocator(about, steps=_ROUND) for about in (_FILLED, lines))
    return np.array(filled.tick_values(low, high)), np.array(drawn.tick_values(low, high))


def differences(found: Surfaces, reference: str) -> Surfaces:
    """Each system's landscape minus that of the reference model under the same training.

    Args:
        found: the landscapes.
        reference: the reference model's title.

    Returns:
        The systems of other models whose training the reference has too; empty without it.
    """
    base = {
        system.training: one for system, one in found if system.title == reference and system.plain
    }
    return [
        (system, Landscape(one.intensities, one.rates, one.values - base[system.training].values))
        for system, one in found
        if system.title != reference and system.training in base
    ]


def signed_scale(metric: str, found: Surfaces, lines: int = MANY_LINES) -> Scale:
    """The scale that holds every difference, symmetric about zero."""
    shown = view(metric)
    largest = max(float(np.abs(one.values).max()) for _, one in found)
    ends = np.array([-1.0, 1.0]) * max(largest, 0.5 * shown.scale / 100)
    filled, drawn = round_levels(ends, shown, lines)
    return Scale(shown, filled, drawn, None, signed=True)
