"""A metric over the whole (λ, η) plane, from one prediction table.

Along η the values are exact at any rate, since a rate only weighs the availability subsets. Along
λ they are exact at the table's levels and interpolated between them (by a monotone cubic, which
passes through every level and makes no peaks of its own).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from benchmark.table import PredictionTable, RowIndex
from protocols.availability import subsets
from protocols.conditions import LEVELS, at_level
from reports.statistics.points import subset_weights
from reports.statistics.sums import combine, terms

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Landscape:
    """A metric at levels λ and rates η.

    Attributes:
        intensities: (L,) λ.
        rates: (E,) η.
        values: (L, E), a mean over seeds.
    """

    intensities: Array
    rates: Array
    values: Array

    def refined(self, steps: int) -> Landscape:
        """The same surface at ``steps`` values of λ, interpolated between the levels."""
        fine = np.linspace(self.intensities[0], self.intensities[-1], steps)
        surface = PchipInterpolator(self.intensities, self.values, axis=0)
        return Landscape(fine, self.rates, np.asarray(surface(fine)))

    def at(self, intensity: float, rate: float) -> float:
        """The value at a level and at the rate that is nearest to ``rate``."""
        column = int(np.abs(self.rates - rate).argmin())
        surface = PchipInterpolator(self.intensities, self.values[:, column])
        return float(surface(intensity))


def surface(
    table: PredictionTable, metric: str, noise_rule: str, missing_rule: str, rates: Array
) -> Array | None:
    """A metric at every level λ and at any rates η; None where the table has no grid.

    Returns:
        (8, len(rates)), equal to :func:`benchmark.readouts.cell` at each point.
    """
    masks = subsets(table.present)
    rows = _grid_rows(table.index, noise_rule, masks)
    if rows is None:
        return None
    shares = subset_weights(missing_rule, rates, table.present)[:, list(masks)]
    sums = terms(metric, table.prediction[rows], table.label).sum(axis=-2)
    return np.asarray(combine(metric, shares @ sums).mean(axis=1))


@lru_cache(maxsize=64)
def _grid_rows(index: RowIndex, noise_rule: str, masks: tuple[int, ...]) -> NDArray[np.intp] | None:
    """(8, D, M) rows by level, draw and subset; None where one is missing."""
    cells = product(LEVELS, range(index.draws), masks)
    conditions = [at_level(noise_rule, draw, level, mask) for level, draw, mask in cells]  # type: ignore[arg-type]
    if not index.rows.keys() >= set(conditions):
        return None
    rows = np.array([index.rows[condition] for condition in conditions])
    return rows.reshape(len(LEVELS), index.draws, len(masks))


def landscape(
    tables: Sequence[PredictionTable],
    metric: str,
    noise_rule: str,
    missing_rule: str = "bernoulli",
    steps: int = 57,
) -> Landscape | None:
    """The mean over seeds of a metric's surface; None where no table has the grid.

    Args:
        tables: one for each seed.
        metric: a metric's name.
        noise_rule: what noise is.
        missing_rule: what a missing rate means.
        steps: the number of rates between the lowest and the highest level.
    """
    rates = np.linspace(LEVELS[0], LEVELS[-1], steps)
    found = [surface(table, metric, noise_rule, missing_rule, rates) for table in tables]
    present = [values for values in found if values is not None]
    if not present:
        return None
    return Landscape(np.array(LEVELS), rates, np.mean(present, axis=0))
