"""What a λ×η surface says in one number: worst cell, relative drop, steepest step, monotonicity.

A surface is (8, 8): noise intensity λ down, missing rate η across, a metric's mean over seeds.
Every loss is signed so that positive is worse, whichever way the metric points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Place = tuple[int, int]
"""Row (λ) and column (η) of a cell."""


@dataclass(frozen=True)
class Step:
    """A step between neighbouring cells, away from the clean corner.

    Attributes:
        loss: what it costs.
        start, end: the cells.
    """

    loss: float
    start: Place
    end: Place


def relative_drop(clean: Array, degraded: Array, higher_is_better: bool) -> Array:
    """(m(0,0) - m(λ,η)) / m(0,0); for a metric that should be low, the relative rise.

    NaN where clean is 0.
    """
    sign = 1 if higher_is_better else -1
    undefined = np.full(np.broadcast_shapes(np.shape(clean), np.shape(degraded)), np.nan)
    return np.divide(sign * (clean - degraded), clean, out=undefined, where=clean != 0)


def drop_terms(clean: Array, degraded: Array, higher_is_better: bool) -> Array:
    """The linear terms of the relative drop, from those of both ends: (S, N) each.

    Its value plus each sample's influence; NaN where clean is 0.
    """
    c, d = clean.mean(axis=-1, keepdims=True), degraded.mean(axis=-1, keepdims=True)
    value = relative_drop(c, d, higher_is_better)
    kept = 1 - value if higher_is_better else 1 + value  # d / c
    moved = relative_drop(c, degraded - kept * (clean - c), higher_is_better)
    return np.asarray(moved)


def trapezoid(levels: Sequence[float]) -> Array:
    """The weights of values at ascending levels in the area under the curve through them.

    Divided by the width, so it is the curve's mean height, in the metric's own unit.
    """
    x = np.asarray(levels)
    widths = np.diff(x) / 2 / (x[-1] - x[0])
    weights = np.zeros(len(x))
    weights[:-1] += widths
    weights[1:] += widths
    return weights


def worst_cell(surface: Array, higher_is_better: bool) -> Place:
    """The cell with the worst value; of equals the one nearest to clean."""
    losses = -surface if higher_is_better else surface
    row, column = np.unravel_index(losses.argmax(), losses.shape)
    return int(row), int(column)


def cliff(surface: Array, higher_is_better: bool) -> Step:
    """The steepest descent: the step to a neighbour with more noise or more missing that costs
    most."""
    return max(_steps(surface, higher_is_better), key=lambda step: step.loss)


def non_monotone(surface: Array, higher_is_better: bool) -> int:
    """How many steps to a more degraded neighbour make the metric better."""
    scale = float(np.abs(surface).max())
    return sum(step.loss < -1e-9 * scale for step in _steps(surface, higher_is_better))


def steps_of(surface: Array) -> int:
    """The number of steps between neighbours: 112 on an 8 by 8 grid."""
    rows, columns = surface.shape
    return (rows - 1) * columns + rows * (columns - 1)


def _steps(surface: Array, higher_is_better: bool) -> list[Step]:
    losses = -surface if higher_is_better else surface
    found = []
    for axis in (0, 1):
        difference = np.diff(losses, axis=axis)
        for row, column in np.ndindex(difference.shape):
            end = (row + 1, column) if axis == 0 else (row, column + 1)
            found.append(Step(float(difference[row, column]), (row, column), end))
    return found
