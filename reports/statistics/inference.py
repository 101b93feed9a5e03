"""One model of both errors, test samples and trainings: estimates, intervals, p-values, Holm.

A seed s of a system x answers test sample i with a term (an absolute error, a hit):

    y_xsi = μ_x + a_xi + b_xs + e_xsi

a: how hard the sample is for the system, b: how well the training went, e: what this training makes
of this sample. A system's number estimates μ_x, its mean over new samples and new trainings.
Samples are shared by all systems, so a is paired; trainings are each system's own (an equal seed
number is no pair), so b and e are not. With N samples and S_x seeds the variance of a weighted sum
Σ w_x μ̂_x (one system, a difference, a regret) has two parts, estimated without bias and without
counting the interaction e twice (both the spread over samples and the spread over seeds hold it):

    A = V - Σ E_x             the samples: V = var_i(Σ w_x ȳ_x·i) / N
    B = Σ B_x                 the trainings: B_x = w_x² var_s(ȳ_xs·) / S_x
    E_x = w_x² MS_e,x / (S_x N)   the interaction's share in V, from the two-way residuals

A is known with N - 1 degrees of freedom, B with few: by Satterthwaite, with the terms B_x² replaced
by their unbiased estimates, ν = B² / Σ (B_x² / (S_x + 1)) - 2, at most Σ (S_x - 1). So the error is
that of a sum, √A · normal + √B · t_ν, whose tail is an integral over the χ²_ν that B was divided by
(:func:`tail`). One Satterthwaite degree of freedom for A + B instead calls too many differences in
a table's tails. ``python -m reports.statistics.simulate`` prints coverage and false calls.

Numbers that are no means (F1, a correlation, an AUROC) are replaced by their linear parts
(:func:`benchmark.readouts.linear_terms`), for which the same holds.

**Undefined is NaN.** What is undefined for a draw or a seed is undefined: the number stays as the
engine gives it, has no interval and no p, is on no side of anything, and nothing that is compared
with it is marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv, gammaln, stdtr, stdtrit

Array = NDArray[np.float64]

LEVEL = 0.95
SEEDS_NEEDED = 3
"""With fewer seeds of a system, nothing is said of its trainings: there is no p and no verdict."""

_ROUNDING = 1e-9
"""A number that nothing moves has an interval of no width, up to rounding."""

_ROUNDS = 60
_CLOSE = 1e-3
"""A step this small leaves less error than its square, and less than the nodes do."""

_DRAWS = 4000
_GENERATOR_SEED = 20260101

# Nodes over the probabilities of χ², denser towards 0, where the far tail comes from.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_PROBABILITIES = ((_NODES + 1) / 2) ** 6
_SHARES = _WEIGHTS / 2 * 6 * ((_NODES + 1) / 2) ** 5


@dataclass(frozen=True)
class Estimate:
    """Numbers of one system, or sums and differences of several systems' numbers.

    Attributes:
        by_sample: (..., N) what each sample adds, averaged over seeds; its mean is the number.
        deviations: for each system (S, ...): how far each seed is from the system's mean.
        interaction: (...) Σ E_x, the interaction's share in the variance over samples.
    """

    by_sample: Array
    deviations: tuple[Array, ...]
    interaction: Array

    def __add__(self, other: Estimate) -> Estimate:
        """Of systems that were trained apart."""
        return Estimate(
            self.by_sample + other.by_sample,
            self.deviations + other.deviations,
            self.interaction + other.interaction,
        )

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference, paired by sample, of systems that were trained apart."""
        return self + other.times(-1.0)

    def times(self, factor: float) -> Estimate:
        """The numbers in another unit, or weighed."""
        scaled = tuple(factor * one for one in self.deviations)
        return Estimate(factor * self.by_sample, scaled, factor**2 * self.interaction)

    def at(self, place: int | slice | Sequence[int]) -> Estimate:
        """One of several numbers, or some."""
        chosen = tuple(one[:, place] for one in self.deviations)
        return Estimate(self.by_sample[place], chosen, self.interaction[place])

    @cached_property
    def values(self) -> Array:
        """(...) the numbers."""
        return np.asarray(self.by_sample.mean(axis=-1))

    @property
    def value(self) -> float:
        """The number, where it is one."""
        return float(self.values)

    @property
    def seeds(self) -> int:
        """The seeds of the system that has fewest."""
        return min(len(one) for one in self.deviations)

    @property
    def decidable(self) -> bool:
        """Whether every system has the seeds that a verdict needs."""
        return self.seeds >= SEEDS_NEEDED

    @property
    def std(self) -> float | None:
        """The standard deviation over seeds of a number of one system; else, and with one seed,
        None."""
        if len(self.deviations) > 1 or self.seeds < 2:
            return None
        return float((self.deviations[0] ** 2).sum() / (self.seeds - 1)) ** 0.5

    @cached_property
    def parts(self) -> tuple[Array, Array, Array]:
        """A, B and ν, each (...). Below three seeds all is as if these checkpoints were given."""
        size = self.by_sample.shape[-1]
        of_samples = np.asarray(self.by_sample.var(axis=-1, ddof=1) / size)
        if not self.decidable:
            return of_samples, np.zeros_like(of_samples), np.ones_like(of_samples)
        freedom = [len(one) - 1 for one in self.deviations]
        found = [
            (one**2).sum(axis=0) / (nu * (nu + 1))
            for one, nu in zip(self.deviations, freedom, strict=True)
        ]
        total = np.asarray(sum(found))
        squares = sum(one**2 / (nu + 2) for one, nu in zip(found, freedom, strict=True))
        most = float(sum(freedom))
        nu = np.where(total > 0, _quotient(total**2, np.asarray(squares)) - 2, most)
        return np.maximum(of_samples - self.interaction, 0), total, np.minimum(nu, most)

    def half_width(self, level: float = LEVEL) -> Array:
        """(...) the distance from the number to either end of its interval."""
        of_samples, of_seeds, nu = self.parts
        size = self.by_sample.shape[-1]
        errors, total = -stdtrit(size - 1, (1 - level) / 2), of_samples + of_seeds
        if not self.decidable:  # nothing of seeds: a plain t
            return np.asarray(errors * np.sqrt(total))
        # Cochran and Cox's approximation weighs both quantiles by their variances.
        each, place = np.unique(nu, return_inverse=True)  # of one system all are alike
        of_nu = -stdtrit(each, (1 - level) / 2)[place.reshape(nu.shape)]
        width = _quotient(of_samples * errors + of_seeds * of_nu, np.sqrt(total))
        for _ in range(_ROUNDS):  # Newton's in logarithms, where the tail is all but straight
            chance = self.beyond(width)
            fall = width * density(width, self._variances, size)
            moved = np.exp(np.log(chance / (1 - level)) * _quotient(chance, fall))
            width = width * moved
            if not np.any(np.abs(moved - 1) > _CLOSE):
                break
        return np.asarray(width)

    @property
    def intervals(self) -> tuple[Array, Array]:
        """(...) both ends of each number's 95 % interval: over samples and trainings, or over
        samples only where a system has fewer than three seeds."""
        width = self.half_width()
        return self.values - width, self.values + width

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, where it is one number."""
        low, high = self.intervals
        return float(low), float(high)

    @property
    def p(self) -> Array:
        """(...) two-sided p-values of being 0: below 0.05 where the 95 % interval excludes 0.

        NaN where a system has fewer than three seeds.
        """
        if not self.decidable:
            return np.full_like(self.values, np.nan)
        return self.beyond(np.abs(self.values))

    @cached_property
    def _variances(self) -> Array:
        return variances(*self.parts)

    def beyond(self, distance: Array) -> Array:
        """(...) the chance that each number is off by more than a distance, either way."""
        return tail(distance, self._variances, self.by_sample.shape[-1])

    def side_of(self, threshold: float = 0.0) -> int:
        """On which side of a threshold the whole interval lies: 1 above, -1 below, 0 undecided.

        0 also where a system has fewer than three seeds.
        """
        low, high = self.interval
        above, below = low > threshold + _ROUNDING, high < threshold - _ROUNDING
        return int(self.decidable) * (int(above) - int(below))

    def band(self, level: float = LEVEL) -> tuple[Array, Array]:
        """A band that holds all Q numbers at once: ± c standard errors, in the same model.

        c is the level's quantile of the largest studentised error over the numbers, drawn with
        their dependence over samples and over seeds, so the band is narrower than Bonferroni's.
        """
        of_samples, of_seeds, nu = self.parts
        generator = np.random.default_rng(_GENERATOR_SEED)
        size = self.by_sample.shape[-1]
        spread = self.by_sample - self.values[:, None]
        errors = generator.standard_normal((_DRAWS, size)) @ spread.T
        drawn = float(nu.min())
        errors *= np.sqrt(_quotient(of_samples, (spread**2).sum(axis=-1)))
        if self.decidable:
            divisor = np.sqrt(generator.chisquare(drawn, (_DRAWS, 1)) / drawn)
            for one in self.deviations:
                scale = 1 / np.sqrt(len(one) * (len(one) - 1))
                errors += generator.standard_normal((_DRAWS, len(one))) @ one * scale / divisor
        error = np.sqrt(of_samples + of_seeds)
        largest = _quotient(np.abs(errors), error).max(axis=1)
        width = np.quantile(largest, level) * error
        return self.values - width, self.values + width


def estimate(terms: Array) -> Estimate:
    """The numbers of one system.

    Args:
        terms: (S, ..., N) what each sample adds to each number of each seed, scaled so that the
            number is the mean over samples (its linear part, for what is no mean).
    """
    seeds, size = len(terms), terms.shape[-1]
    by_sample, by_seed = terms.mean(axis=0), terms.mean(axis=-1)
    deviations = by_seed - by_seed.mean(axis=0)
    residual = terms - by_sample
    residual -= deviations[..., None]
    freedom = (seeds - 1) * (size - 1)
    squares = np.vecdot(residual, residual).sum(axis=0)
    interaction = squares / (freedom * seeds * size) if freedom else np.zeros_like(squares)
    return Estimate(by_sample, (deviations,), interaction)


def variances(of_samples: Array, of_seeds: Array, nu: Array) -> Array:
    """A + B ν / χ²_ν at the nodes over χ²_ν's probabilities: (...) A, B and ν to (..., nodes)."""
    each, place = np.unique(nu, return_inverse=True)  # of one system all are alike
    half = each[:, None] / 2
    inverse = (half / gammaincinv(half, _PROBABILITIES))[place.reshape(nu.shape)]
    seeds_part = of_seeds[..., None] * inverse
    return np.asarray(of_samples[..., None] + seeds_part)


def tail(distance: Array, variance: Array, size: int) -> Array:
    """The chance that an estimate is off by more than a distance, either way.

    Given χ²_ν the error is a t of N - 1 degrees of freedom times the root of the variance; the
    chance is the mean over χ²_ν. Where nothing varies only a distance of 0 is within the error.

    Args:
        distance: (...) at least 0.
        variance: (..., nodes) from :func:`variances`.
        size: N.
    """
    error = np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny))
    outside = 2 * stdtr(size - 1, -np.asarray(distance)[..., None] / error)
    return np.minimum(outside @ _SHARES, 1.0)


def density(distance: Array, variance: Array, size: int) -> Array:
    """How fast :func:`tail` falls at a distance; 0 where nothing varies."""
    nu = size - 1
    error = np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny))
    at = np.asarray(distance)[..., None] / error
    height = np.exp(gammaln((nu + 1) / 2) - gammaln(nu / 2)) / np.sqrt(nu * np.pi)
    found = 2 * height * np.exp(-(nu + 1) / 2 * np.log1p(at**2 / nu)) / error
    return np.asarray(np.where(variance.max(axis=-1) > 0, found @ _SHARES, 0.0))


def holm(p_values: Sequence[float]) -> Array:
    """Holm's step-down correction over one family: p-values to adjusted p-values, same order.

    A test without a p-value (NaN) is in no family and stays NaN.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]
    steps = np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def marks(found: Sequence[Estimate | None], higher_is_better: bool) -> list[str]:
    """Which of several systems may be called best and second: "best", "second" or "".

    The best is marked where its difference to every other system is shown (as all of these must
    be, no correction is needed); the second where the best is marked and its own difference to
    every system below it is shown (so never with fewer than three). A missing system is compared
    with nobody; one with fewer than three seeds is not told apart from any.
    """
    sign = 1 if higher_is_better else -1
    present = [(sign * one.value, place) for place, one in enumerate(found) if one is not None]
    ranked = [place for _, place in sorted(present, key=lambda pair: (-pair[0], pair[1]))]
    result = [""] * len(found)
    for rank, mark in enumerate(("best", "second")):
        below = ranked[rank + 1 :]
        if not below or not all(_differ(found[ranked[rank]], found[other]) for other in below):
            break
        result[ranked[rank]] = mark
    return result


def _differ(one: Estimate | None, other: Estimate | None) -> bool:
    assert one is not None
    assert other is not None
    return bool((one - other).p < 1 - LEVEL)


def _quotient(numerator: Array, denominator: Array) -> Array:
    """0 where the denominator is."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.zeros(shape), where=denominator > 0)
