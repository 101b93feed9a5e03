"""A system's λ×η grid in a few numbers with intervals: areas, drop, worst cell, steepest step."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.conditions import LEVELS
from reports.answer import Answer, answer_of
from reports.statistics.inference import Array, estimate
from reports.statistics.summaries import (
    Place,
    Step,
    cliff,
    drop_terms,
    non_monotone,
    trapezoid,
    worst_cell,
)


@dataclass(frozen=True)
class GridSummary:
    """The grid of one system and metric, in the metric's raw unit.

    Attributes:
        area_in_intensity: mean height of the curve along λ with nothing missing.
        area_in_rate: the same along η without noise.
        drop: the relative loss from the clean to the most degraded cell.
        worst, worst_at: the cell with the worst mean over seeds, and where it is.
        loss, step: what the steepest step between neighbours costs, and where it is.
        rises: how many steps to a more degraded neighbour make the metric better.
    """

    area_in_intensity: Answer
    area_in_rate: Answer
    drop: Answer
    worst: Answer
    worst_at: Place
    loss: Answer
    step: Step
    rises: int


def grid_summary(terms: Array, seeds: tuple[int, ...], higher_is_better: bool) -> GridSummary:
    """The summary of a grid that all seeds were asked.

    The intervals of the worst cell and the steepest step are of that cell and that step, not of the
    choice.

    Args:
        terms: (S, 8, 8, N) linear terms by seed, λ and η.
        seeds: the S seeds.
        higher_is_better: the metric's direction.
    """
    surface = terms.mean(axis=(0, -1))
    worst, step = worst_cell(surface, higher_is_better), cliff(surface, higher_is_better)
    sign = -1.0 if higher_is_better else 1.0
    (x, y), (from_x, from_y) = step.end, step.start
    shares = trapezoid(LEVELS)

    def said(of_samples: Array) -> Answer:
        return answer_of(estimate(of_samples), seeds)

    return GridSummary(
        said(shares @ terms[:, :, 0]),
        said(shares @ terms[:, 0]),
        said(drop_terms(terms[:, 0, 0], terms[:, -1, -1], higher_is_better)),
        said(terms[:, worst[0], worst[1]]),
        worst,
        said(sign * (terms[:, x, y] - terms[:, from_x, from_y])),
        step,
        non_monotone(surface, higher_is_better),
    )
