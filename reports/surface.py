"""A metric over the whole (λ, η) plane, from one prediction table.

Along η the values are exact at any rate, since a rate only weighs the availability subsets. Along
λ they are exact at the table's levels; figures interpolate between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.questions import Question
from benchmark.readouts import covers, values
from benchmark.table import PredictionTable
from protocols.conditions import LEVELS
from reports.results import Results, System

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


Surfaces = Sequence[tuple[System, Landscape]]


def surfaces(results: Results, metric: str, noise_rule: str, missing_rule: str) -> Surfaces:
    """The landscape of every system that was evaluated on the grid, in the metric's raw unit."""
    found = []
    for system in results.systems:
        tables = [record.table for record in system.records]
        one = landscape(tables, metric, noise_rule, missing_rule)
        if one is not None:
            found.append((system, one))
    return found


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
    asked = [
        Question("grid", noise_rule, missing_rule, level, rate)
        for level in LEVELS
        for rate in rates.tolist()
    ]
    found = [values(table, metric, asked) for table in tables if covers(table, asked)]
    if not found:
        return None
    return Landscape(np.array(LEVELS), rates, np.mean(found, axis=0).reshape(len(LEVELS), -1))
