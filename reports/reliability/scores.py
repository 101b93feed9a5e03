"""What a system's reliability scores do: r_m under noise and when modality m is missing.

The paper says of r_m that it falls as modality m degrades (Section 3, Eq. 6). Nothing in its
equations forces it, so it is measured: Spearman's correlation of r_m with λ, everything available,
and the AUROC of 1 - r_m for m being missing, without noise, over every availability subset alike.
Each is over the samples that have m by nature: the others lack it in every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.questions import noise_questions
from benchmark.readouts import weighted_rows
from benchmark.table import PredictionTable
from protocols.availability import contains, subsets
from protocols.conditions import at_level
from protocols.modalities import MODALITIES, Modality
from reports.results import System
from reports.statistics.functionals import Estimate
from reports.statistics.ranks import auroc, level_correlation
from reports.statistics.resampling import over_seeds, resample_counts, stream_of

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Follows:
    """How one modality's score follows its quality; means over runs, with resampled values.

    Attributes:
        clean, noisy, missing: the mean of r_m on clean input, at the highest λ, and where m is
            missing.
        correlation: Spearman's correlation of r_m with λ; the paper says below 0.
        auroc: of 1 - r_m for m being missing; the paper says above 0.5.
    """

    clean: Estimate
    noisy: Estimate
    missing: Estimate
    correlation: Estimate
    auroc: Estimate


def linearised(values: Array, influences: Array, stream: int) -> list[Estimate]:
    """Estimates from each run's values and its samples' influences: (S, K) and (S, K, N)."""
    runs, count, size = influences.shape
    moved = resample_counts(size) @ influences.reshape(-1, size).T / size
    by_seed = values + moved.reshape(-1, runs, count)
    return [Estimate(values[:, k], over_seeds(by_seed[:, :, k], stream)) for k in range(count)]


def scored(system: System) -> list[PredictionTable]:
    """The tables of a system's runs that have reliability scores."""
    return [r.table for r in system.records if r.table.reliability is not None]


@lru_cache(maxsize=512)  # a verdict, a table and a figure ask for the same
def follows(system: System, noise_rule: str, modality: Modality) -> Follows | None:
    """How a modality's score follows its quality; None where no run was evaluated on it."""
    found = []
    for table in scored(system):
        try:
            found.append(_of_run(table, noise_rule, modality))
        except KeyError:
            continue
    if not found:
        return None
    values = np.array([values for values, _ in found])
    influences = np.array([influences for _, influences in found])
    return Follows(*linearised(values, influences, stream_of(system.label)))


def _of_run(
    table: PredictionTable, noise_rule: str, modality: Modality
) -> tuple[list[float], list[Array]]:
    """Values and influences in the order of :class:`Follows`.

    Over the samples that have the modality by nature. In a resample they are as many as are drawn
    of them, so each one's influence is larger by N over their number, and the others have none.
    """
    by_draw = levels(table, noise_rule, modality)
    without_noise, lacks = by_subset(table, modality)
    has = having(table, modality)
    count = int(has.sum())
    weight = np.full(count, 1 / count)
    ranked = [level_correlation(values, weight) for values in by_draw]
    detected = auroc(1 - without_noise, lacks, weight)
    means = [
        by_draw[:, 0].mean(axis=0),
        by_draw[:, -1].mean(axis=0),
        without_noise[lacks].mean(axis=0),
    ]
    values = [float(one.mean()) for one in means]
    correlation = float(np.mean([value for value, _ in ranked]))
    influence = np.mean([one for _, one in ranked], axis=0)
    influences = [*(one - one.mean() for one in means), influence, detected[1]]
    whole = np.zeros((len(influences), len(has)))
    whole[:, has] = np.stack(influences) * (len(has) / count)
    return [*values, correlation, detected[0]], list(whole)


def having(table: PredictionTable, modality: Modality) -> NDArray[np.bool_]:
    """(N,) the samples that have a modality by nature. Raises KeyError where none has."""
    has = table.available[:, MODALITIES.index(modality)]
    if not has.any():
        raise KeyError(f"no sample has {modality}")
    return has


def levels(table: PredictionTable, noise_rule: str, modality: Modality) -> Array:
    """(D, 8, N') scores of a modality by draw and λ, everything available, of the N' samples that
    have it. May raise KeyError."""
    by_level = [weighted_rows(table, q) for q in noise_questions(noise_rule, table.present)]
    draws = max(map(len, by_level))
    # Without noise there is one row for all draws.
    rows = [[one[min(d, len(one) - 1)][0][0] for one in by_level] for d in range(draws)]
    return _scores(table, modality, rows)


def by_subset(table: PredictionTable, modality: Modality) -> tuple[Array, NDArray[np.bool_]]:
    """(M, N') scores without noise under each subset, of the N' samples that have the modality,
    and the (M,) subsets that lack it."""
    masks = subsets(table.present)
    rows = [table.row(at_level("seed_a1", 0, 0.0, mask)) for mask in masks]
    lacks = np.array([not contains(mask, modality) for mask in masks])
    return _scores(table, modality, rows), lacks


def _scores(table: PredictionTable, modality: Modality, rows: Sequence[Any]) -> Array:
    assert table.reliability is not None
    of_modality = table.reliability[..., MODALITIES.index(modality)]
    return np.asarray(of_modality[rows][..., having(table, modality)], dtype=np.float64)
