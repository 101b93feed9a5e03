"""A condition of a protocol as rows of the prediction table and their weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmark.table import PredictionTable, RowIndex
from protocols.availability import mask_named, mask_of, subsets
from protocols.conditions import Condition, at_joint, at_level
from protocols.expectation import availability_weights
from protocols.modalities import Modality
from reports.statistics.sums import terms

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
        return (
            self.protocol,
            self.noise_rule,
            self.missing_rule,
            self.intensity,
            self.rate,
            self.available,
        )


def sample_terms(table: PredictionTable, metric: str, point: Point) -> Array:
    """What each sample adds to a metric at a point, in expectation over what is missing.

    Returns:
        (D, N, K): one slice for each corruption draw that the point needs.

    Raises:
        KeyError: where the table does not cover the point.
    """
    draws = []
    for rows, weights in weighted_rows(table, point):
        found = terms(metric, table.prediction[rows], table.label)
        draws.append(found[0] if len(rows) == 1 else np.einsum("mn,mnk->nk", weights, found))
    return np.stack(draws)


def expected_terms(table: PredictionTable, metric: str, point: Point) -> Array:
    """The mean of :func:`sample_terms` over draws, in one step: for metrics that are means.

    Returns:
        (N, K).

    Raises:
        KeyError: where the table does not cover the point.
    """
    if point.protocol == "III":  # each sample has weights of its own
        return np.asarray(sample_terms(table, metric, point).mean(axis=0))
    rows, weights = row_weights(table.index, table.present, point)
    found = terms(metric, table.prediction[rows], table.label)
    return np.tensordot(weights, found, axes=1)


def weighted_rows(table: PredictionTable, point: Point) -> list[tuple[list[int], Array]]:
    """For each corruption draw that a point needs, the rows that it mixes and their weights.

    Returns:
        (M rows, (M, N) weights that sum to 1 for each sample) by draw.

    Raises:
        KeyError: where the table does not cover the point.
    """
    return [
        (
            [table.row(condition) for condition in conditions],
            _weights(table, point, draw, [condition.mask for condition in conditions]),
        )
        for draw, conditions in enumerate(_conditions(point, table.draws, table.present))
    ]


@lru_cache(maxsize=2048)  # all the runs of a report have one index, or a few
def row_weights(
    index: RowIndex, present: tuple[Modality, ...], point: Point
) -> tuple[NDArray[np.intp], Array]:
    """A point as weights on rows of a table: its expectation over draws and what is missing.

    Args:
        index: the table's rows.
        present: the modalities that the data set has.
        point: any condition but Protocol III's, where each sample has weights of its own.

    Returns:
        The rows and their weights, which sum to 1; a row may come more than once.

    Raises:
        KeyError: where the table does not cover the point.
    """
    draws = _conditions(point, index.draws, present)
    masks = [condition.mask for condition in draws[0]]
    shares = np.ones(1)
    if point.missing_rule:
        shares = subset_weights(point.missing_rule, np.array([point.rate]), present)[0, masks]
    rows = [index.rows[condition] for conditions in draws for condition in conditions]
    return np.array(rows), np.tile(shares, len(draws)) / len(draws)


@lru_cache(maxsize=1024)
def _conditions(
    point: Point, draws: int, present: tuple[Modality, ...]
) -> tuple[tuple[Condition, ...], ...]:
    """For each draw that matters, the rows that the point mixes."""
    rule, masks = point.noise_rule or "seed_a1", subsets(present)
    if point.protocol == "III":
        return tuple(
            tuple(at_joint(rule, d, point.available, m) for m in masks)  # type: ignore[arg-type]
            for d in range(draws)
        )
    if not point.missing_rule:
        name = point.available
        masks = (mask_named(name) if name else mask_of(present),)
    return tuple(
        tuple(at_level(rule, d, point.intensity, m) for m in masks)  # type: ignore[arg-type]
        for d in range(draws if point.intensity > 0 else 1)
    )


def _weights(table: PredictionTable, point: Point, draw: int, masks: list[int]) -> Array:
    """(M, N) weights of the rows with these masks."""
    size = len(table.label)
    if not point.missing_rule:
        return np.ones((1, size))
    if point.protocol == "III":
        rates = table.joint_levels[point.available, draw][1]
        return subset_weights(point.missing_rule, rates, table.present)[:, masks].T
    rate = np.array([point.rate])
    share = subset_weights(point.missing_rule, rate, table.present)[:, masks].T
    return np.broadcast_to(share, (len(masks), size))


def subset_weights(
    missing_rule: str, rates: NDArray[np.floating], present: tuple[Modality, ...]
) -> Array:
    """The probability of each availability subset at each rate: (E,) -> (E, 8) by bit mask."""
    return _subset_weights(missing_rule, rates.tobytes(), rates.dtype.str, present)


@lru_cache(maxsize=256)  # all the runs of a report ask for the same few
def _subset_weights(
    missing_rule: str, rates: bytes, dtype: str, present: tuple[Modality, ...]
) -> Array:
    values = np.frombuffer(rates, dtype=dtype)
    return availability_weights(missing_rule, values, present)  # type: ignore[arg-type]
