"""Rank statistics with their influence functions: AUROC, Spearman with λ, area under risk–coverage.

A sample's influence is how fast the statistic moves as that sample's weight grows. To first order
the statistic of other samples is its value plus the mean of their influences, so it has the errors
of a mean (:mod:`reports.statistics.inference`). Every function takes the samples' weights, which is
what the tests differentiate by.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mid_cdf(values: Array, weights: Array) -> Array:
    """The share of the weight that lies below each value, half of what is equal counted.

    Args:
        values: (P,) values.
        weights: (K, P) weights, one row for each distribution over the same values.

    Returns:
        (K, P) of each distribution at each value; in units of the weights.
    """
    _, group = np.unique(values, return_inverse=True)
    sums = np.stack([np.bincount(group, weights=w) for w in weights])
    below = np.cumsum(sums, axis=1) - sums / 2
    return np.asarray(below[:, group])


def auroc(score: Array, positive: NDArray[np.bool_], weight: Array) -> tuple[float, Array]:
    """How well a score tells positive rows from negative ones; each sample is in every row.

    Args:
        score: (R, N); high should mean positive.
        positive: (R,) which rows are.
        weight: (N,) of the samples, summing to 1.

    Returns:
        The chance that a positive scores above a negative (a tie counts half), and the (N,)
        influences (the placements of DeLong et al., summed over a sample's rows).
    """
    share = (
        np.where(positive, 1 / positive.sum(), 0.0),
        np.where(~positive, 1 / (~positive).sum(), 0),
    )
    rows = np.stack(share)[:, :, None] * weight  # (2, R, N)
    below = mid_cdf(score.ravel(), rows.reshape(2, -1)).reshape(2, *score.shape)
    as_positive = (share[0][:, None] * below[1]).sum(axis=0)
    as_negative = (share[1][:, None] * (1 - below[0])).sum(axis=0)
    value = float(as_positive @ weight)
    return value, np.asarray(as_positive + as_negative - 2 * value)


def level_correlation(values: Array, weight: Array) -> tuple[float, Array]:
    """Spearman's correlation of values with the level that they were measured at.

    Args:
        values: (L, N) by level, ascending, of the same samples at every level.
        weight: (N,) of the samples, summing to 1.

    Returns:
        The correlation over all (level, sample) pairs, 0 where the values are constant, and the
        (N,) influences (the spread of the ranks taken as fixed, which it is without ties).
    """
    levels, _ = values.shape
    centred = np.arange(levels) - (levels - 1) / 2
    every = np.broadcast_to(weight / levels, values.shape)
    tilted = centred[:, None] * every
    below = mid_cdf(values.ravel(), np.stack([every.ravel(), tilted.ravel()]))
    pooled, by_level = below.reshape(2, *values.shape)
    variance = float((every * (pooled - 0.5) ** 2).sum())
    if variance < 1e-15:
        return 0.0, np.zeros(len(weight))
    scale = (variance * float((centred**2).mean())) ** -0.5
    covariance = float((tilted * pooled).sum())
    influence = (centred[:, None] * pooled - by_level).mean(axis=0)
    return covariance * scale, np.asarray(scale * (influence - influence @ weight))


def spearman(first: Array, second: Array, weight: Array) -> float:
    """Spearman's correlation of weighted pairs; 0 where one of them is constant."""
    total = weight / weight.sum()
    ranks = [mid_cdf(values, total[None])[0] - 0.5 for values in (first, second)]
    spread = float((total * ranks[0] ** 2).sum()) * float((total * ranks[1] ** 2).sum())
    return float((total * ranks[0] * ranks[1]).sum()) / spread**0.5 if spread > 1e-30 else 0.0


def risk_coverage(risk: Array, uncertainty: Array, weight: Array) -> tuple[Array, Array]:
    """The mean risk of what is kept as the least certain are refused, one after the other.

    Args:
        risk: (P,) the error of each answer.
        uncertainty: (P,) what they are ranked by, the lowest kept longest; equal ones are kept or
            refused together, at their mean risk.
        weight: (P,).

    Returns:
        Coverage in (0, 1], ascending, and the risk at it.
    """
    _, share, ranked = _ranked(risk, uncertainty, weight)
    coverage = _above_zero(np.cumsum(share))
    return coverage, np.cumsum(share * ranked) / coverage


def aurc(risk: Array, uncertainty: Array, weight: Array) -> tuple[float, Array]:
    """The area under the risk–coverage curve, and the (P,) influences of the pairs.

    The mean over answers of the risk at the coverage that just includes them (Geifman and El-Yaniv,
    2017); the mean risk where the uncertainty says nothing.
    """
    order, share, ranked = _ranked(risk, uncertainty, weight)
    coverage = _above_zero(np.cumsum(share))
    kept = np.cumsum(share * ranked) / coverage
    value = float(share @ kept)
    later = np.cumsum((share / coverage)[::-1])[::-1]  # how much of the area this answer is in
    crowding = np.cumsum((share * kept / coverage)[::-1])[::-1]
    influence = np.empty_like(risk)
    influence[order] = ranked * later + kept - crowding - value
    return value, influence


def _above_zero(coverage: Array) -> Array:
    """The most certain answers may have no weight: nothing is covered by them, at no risk."""
    return np.maximum(coverage, np.finfo(np.float64).tiny)


def _ranked(
    risk: Array, uncertainty: Array, weight: Array
) -> tuple[NDArray[np.intp], Array, Array]:
    """The order by uncertainty; in it the weights, summing to 1, and the risks, shared by ties."""
    total = weight / weight.sum()
    order = np.argsort(uncertainty)
    share, ranked = total[order], risk[order]
    starts = np.flatnonzero(np.diff(uncertainty[order], prepend=-np.inf))
    if len(starts) < len(risk):
        sums = np.add.reduceat(share, starts)
        means = np.add.reduceat(share * ranked, starts) / np.where(sums > 0, sums, 1)
        ranked = np.repeat(means, np.diff(starts, append=len(risk)))
    return order, share, ranked
