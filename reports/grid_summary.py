"""A system's λ×η grid in a few numbers with intervals: areas, drop, worst cell, steepest step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from benchmark.questions import Question, grid_questions
from protocols.conditions import LEVELS
from reports.answer import Answer, Found, Key, answers_of, ordered
from reports.statistics.inference import Array, estimate
from reports.statistics.summaries import (
    Place,
    cliff,
    drop_terms,
    non_monotone,
    trapezoid,
    worst_cell,
)
from reports.views import (
    AREA_IN_INTENSITY,
    AREA_IN_RATE,
    DROP,
    RISES,
    STEEPEST,
    WORST,
    view,
)


def grid_summary(
    system: str, noise: str, missing: str, metric: str, terms: Array, seeds: tuple[int, ...]
) -> Found:
    """The summary of a grid that all seeds were asked, in the metric's raw unit.

    Areas are the mean height of the curve along λ with nothing missing, and along η without noise;
    the drop is the relative loss from the clean to the most degraded cell. The intervals of the
    worst cell and the steepest step are of that cell and that step, not of the choice; a step's
    reference is the cell that it starts at.

    Args:
        system: its key.
        noise, missing: the rules of the grid.
        metric: its name.
        terms: (S, 8, 8, N) linear terms by seed, λ and η.
        seeds: the S seeds.
    """
    shown = view(metric)
    higher = shown.higher_is_better
    surface = terms.mean(axis=(0, -1))
    worst, step = worst_cell(surface, higher), cliff(surface, higher)
    sign = -1.0 if higher else 1.0
    (x, y), (from_x, from_y) = step.end, step.start
    shares = trapezoid(LEVELS)

    def cell(place: Place) -> Question:
        return Question("grid", noise, missing, LEVELS[place[0]], LEVELS[place[1]])

    lost = sign * (terms[:, x, y] - terms[:, from_x, from_y])
    dropped = drop_terms(terms[:, 0, 0], terms[:, -1, -1], higher)
    scores = shares @ terms[:, :, 0], shares @ terms[:, 0], terms[:, worst[0], worst[1]]
    in_intensity, in_rate, lowest = answers_of(
        estimate(np.stack(scores, axis=1)), seeds, shown.bounds
    )
    fall, leap = answers_of(estimate(np.stack([dropped, lost], axis=1)), seeds)
    found = {
        AREA_IN_INTENSITY: in_intensity,
        AREA_IN_RATE: in_rate,
        DROP: fall,
        WORST: replace(lowest, at=cell(worst)),
        STEEPEST: replace(leap, at=cell(step.end), reference=named(cell(step.start))),
        RISES: Answer(float(non_monotone(surface, higher)), None, math.nan, math.nan, seeds, ()),
    }
    grid = ordered(grid_questions(noise, missing))
    return {Key(system, grid, metric, quantity): one for quantity, one in found.items()}


def named(cell: Question) -> str:
    """A cell as tables write it: "(0.1, 0.3)"."""
    return f"({cell.intensity:g}, {cell.rate:g})"
