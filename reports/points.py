"""A condition of a protocol as rows of the prediction table and their weights."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.table import PredictionTable
from protocols.availability import mask_named, mask_of, subsets
from protocols.conditions import Condition, at_joint, at_level
from protocols.missing import availability_weights
from reports.sums import terms

Array = NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Point:
    """One condition, by the key columns of :func:`benchmark.readouts.summarise`.

    Protocol I is told apart by its rule: with a missing rule it is random missing at ``rate``,
    without one exactly the modalities of ``available`` are there.
    """

    protocol: str
    noise_rule: str = ""
    missing_rule: str = ""
    intensity: float = 0.0
    rate: float = 0.0
    available: str = ""

    @property
    def key(self) -> tuple[str, str, str, float, float, str]:
        """The values of the key columns."""
        return astuple(self)


def sample_terms(table: PredictionTable, metric: str, point: Point) -> Array:
    """What each sample adds to a metric at a point, in expectation over what is missing.

    Returns:
        (D, N, K): one slice for each corruption draw that the point needs.

    Raises:
        KeyError: where the table does not cover the point.
    """
    draws = []
    for conditions, weights in _mixtures(table, point):
        rows = terms(metric, table.prediction[[table.row(c) for c in conditions]], table.label)
        draws.append(np.einsum("mn,mnk->nk", weights, rows))
    return np.stack(draws)


def _mixtures(table: PredictionTable, point: Point) -> list[tuple[list[Condition], Array]]:
    """For each draw: conditions, and their (M, N) weights."""
    size, masks = len(table.label), subsets(table.present)
    if point.protocol == "III":
        return [_joint(table, point, draw, masks, size) for draw in range(table.draws)]
    if point.missing_rule:
        share = availability_weights(point.missing_rule, point.rate, table.present).numpy()  # type: ignore[arg-type]
        weights = np.repeat(share[list(masks), None], size, axis=1)
    else:
        name = point.available
        masks = (mask_named(name) if name else mask_of(table.present),)
        weights = np.ones((1, size))
    rule = point.noise_rule or "seed_a1"
    draws = range(table.draws if point.intensity > 0 else 1)
    return [
        ([at_level(rule, d, point.intensity, m) for m in masks], weights)  # type: ignore[arg-type]
        for d in draws
    ]


def _joint(
    table: PredictionTable, point: Point, draw: int, masks: tuple[int, ...], size: int
) -> tuple[list[Condition], Array]:
    joint = point.available
    rates = torch.from_numpy(table.joint_levels[joint, draw][1])
    share = availability_weights(point.missing_rule, rates, table.present).numpy()  # type: ignore[arg-type]
    conditions = [at_joint(point.noise_rule, draw, joint, m) for m in masks]  # type: ignore[arg-type]
    return conditions, share[:, list(masks)].T.reshape(len(masks), size)
