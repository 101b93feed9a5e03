"""Coverage and false calls of the reports' statistics, where the truth is known.

    python -m reports.statistics.simulate [--families 200]

simulates pairs of systems, and tables of 36 systems against one reference, none of which is truly
better (about two minutes): every system has its own samples that it finds hard beside those that
all do, every seed its own luck, and the seeds of a system disagree on single samples. Ratio is the
part of the seeds in a difference's variance over that of the samples, both at the number of seeds
at hand. Printed, in per cent, are how often the 95 % interval holds the truth (of a difference; of
the reference's own number), how often a test is called better or worse, how often a table of 36 has
any call after Holm, and how often a true difference of three standard errors is called (alone, not
in a family). Below three seeds the interval is over samples only and covers as little as it says.
Beside them stand the same of the method that reports had before: a percentile bootstrap over
samples and S - 1 of S seeds, and a permutation of samples, both of which had to agree.

Three kinds of terms: absolute errors, hits (0 or 1), and uneven: normal terms where the reference's
trainings vary three times as much as the others'.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from reports.statistics.inference import LEVEL, Array, Estimate, estimate, holm

Kind = Literal["errors", "hits", "uneven"]

SIZES = {"errors": 400, "hits": 686, "uneven": 400}
SEEDS = (1, 2, 3, 5, 10)
RATIOS = (0.0, 0.25, 1.0, 2.0, 4.0)
TESTS = 36
EFFECT = 3.0
"""The true difference whose detection is counted, in standard errors."""

_SHARED, _OWN, _INTERACTION = 0.6, 0.15, 0.25
"""Variance of a sample's difficulty for all systems, for one system, and for one training."""

_THRESHOLD = 0.8
_BATCH = 400
"""Systems that are simulated at a time."""

PAIRS = 2000
_RESAMPLED_SEEDS = 200


@dataclass(frozen=True)
class Counts:
    """What became of the tests of one setting, in per cent.

    Attributes:
        covered: intervals of differences that hold 0.
        covered_own: intervals of the reference's number that hold its true mean; NaN for the old.
        called: tests called better or worse.
        families: tables with a call after Holm.
        power: true differences that are called.
    """

    covered: float
    covered_own: float
    called: float
    families: float
    power: float


@dataclass(frozen=True)
class Setting:
    """What is simulated.

    Attributes:
        kind: of terms.
        seeds: of every system.
        ratio: the seeds' part over the samples' part of a difference's variance.
        spread: the standard deviation over trainings of a system other than the reference.
        error: the true standard error of a difference.
    """

    kind: Kind
    seeds: int
    ratio: float
    spread: float
    error: float

    @property
    def mean(self) -> float:
        """The reference's true mean over samples and trainings."""
        if self.kind == "hits":
            return float(norm.cdf(_THRESHOLD / np.hypot(1, self.spread)))
        return float(np.sqrt(2 / np.pi)) if self.kind == "errors" else 0.0


def setting(kind: Kind, seeds: int, ratio: float) -> Setting:
    """The spread of trainings that has the ratio, from the samples' part without any spread."""
    still = Setting(kind, seeds, 0.0, 0.0, 0.0)
    terms = draw(still, 200, 1, np.random.default_rng(1))
    difference = (terms[:, :, 1:] - terms[:, :, :1]).mean(axis=0)
    samples = float(difference.var(axis=-1, ddof=1).mean()) / SIZES[kind]
    slope = norm.pdf(_THRESHOLD) if kind == "hits" else 1.0
    trainings = 1 + (9 if kind == "uneven" else 1)
    spread = np.sqrt(ratio * samples * seeds / trainings) / slope
    return Setting(kind, seeds, ratio, float(spread), float(np.sqrt(samples * (1 + ratio))))


def draw(chosen: Setting, families: int, tests: int, generator: np.random.Generator) -> Array:
    """(S, families, 1 + tests, N) terms of tables; the reference is the first system."""
    size, systems = SIZES[chosen.kind], 1 + tests

    def normal(*shape: int) -> Array:
        return generator.standard_normal(shape, dtype=np.float32)  # type: ignore[return-value]

    terms = normal(chosen.seeds, families, systems, size) * np.float32(_INTERACTION**0.5)
    terms += normal(families, systems, size) * np.float32(_OWN**0.5)
    terms += normal(families, 1, size) * np.float32(_SHARED**0.5)
    luck = normal(chosen.seeds, families, systems, 1) * np.float32(chosen.spread)
    if chosen.kind == "uneven":
        luck[:, :, 0] *= 3
    if chosen.kind == "errors":
        return np.abs(terms) + luck
    return (
        (terms + luck > -_THRESHOLD).astype(np.float32) if chosen.kind == "hits" else terms + luck
    )


def simulated(chosen: Setting, families: int, tests: int) -> tuple[Counts, Counts]:
    """What the reports' method and the one before it make of tables without differences."""
    generator = np.random.default_rng([tests, chosen.seeds, round(100 * chosen.ratio)])
    new, old = [], []
    batch = _BATCH // (1 + tests)
    for start in range(0, families, batch):
        terms = draw(chosen, min(batch, families - start), tests, generator)
        reference, others = estimate(terms[:, :, :1]), estimate(terms[:, :, 1:])
        difference = others - reference
        moved = replace(difference, by_sample=difference.by_sample + EFFECT * chosen.error)
        # An interval holds the truth where being off by as much is not too improbable.
        inside = difference.beyond(np.abs(difference.values)) >= 1 - LEVEL
        own = reference.beyond(np.abs(reference.values - chosen.mean)) >= 1 - LEVEL
        new.append((inside, own, difference.p, moved.p))
        rows = [_before(one) for one in (difference, moved)]
        old.append((rows[0][0], own * np.nan, rows[0][1], rows[1][1]))
    return _counted(new), _counted(old)


def _before(difference: Estimate) -> tuple[Array, Array]:
    """Whether the old interval holds 0, and the old p: 1 where the interval does."""
    size = difference.by_sample.shape[-1]
    error = difference.by_sample.std(axis=-1) / np.sqrt(size)
    generator = np.random.default_rng(0)
    values = np.repeat(difference.values[..., None], _RESAMPLED_SEEDS, axis=-1)
    for one in difference.deviations:
        count = len(one)
        if count > 1:
            even = np.full(count, 1 / count)
            shares = generator.multinomial(count - 1, even, _RESAMPLED_SEEDS) / (count - 1)
            values = values + np.moveaxis(one, 0, -1) @ shares.T
    below = norm.cdf(-values / error[..., None]).mean(axis=-1)
    inside = np.minimum(below, 1 - below) >= (1 - LEVEL) / 2
    swapped = np.sqrt((difference.by_sample**2).sum(axis=-1)) / size  # under random signs
    p = 2 * norm.sf(np.abs(difference.values) / swapped)
    return inside, np.where(inside, 1.0, p)


def _counted(rows: Sequence[tuple[NDArray[Any], ...]]) -> Counts:
    inside, own, p, moved = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    alpha = 1 - LEVEL
    families = [bool(np.nanmin(holm(table), initial=1.0) < alpha) for table in p]
    shares = (inside.mean(), own.mean(), (p < alpha).mean(), np.mean(families))
    return Counts(*(100 * float(share) for share in (*shares, (moved < alpha).mean())))


def lines(families: int) -> Iterator[str]:
    """The printed table."""
    heads = ("cover", "own", "call", "family", "power")
    for kind in get_args(Kind):
        yield f"\n{kind}, {SIZES[kind]} samples{'':27}now{'':29}before"
        yield "seeds ratio  " + "".join(f"{head:>8}" for head in (*heads, "cover", *heads[2:]))
        for seeds in SEEDS:
            for ratio in RATIOS:
                chosen = setting(kind, seeds, ratio)
                pairs = simulated(chosen, PAIRS, 1)
                tables = simulated(chosen, families, TESTS)
                found = [
                    value
                    for one, all_of in zip(pairs, tables, strict=True)
                    for value in (
                        *(one.covered, one.covered_own, one.called),
                        *(all_of.families, one.power),
                    )
                    if not np.isnan(value)
                ]
                yield f"{seeds:5} {ratio:5g}  " + "".join(f"{value:8.1f}" for value in found)


def main() -> None:
    """Print coverage and false calls."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--families", type=int, default=200, help="tables simulated per line")
    for line in lines(parser.parse_args().families):
        print(line, flush=True)


if __name__ == "__main__":
    main()
