"""Uneven sensors: each modality missing at a rate of its own, and what each of them is worth.

Any (η_t, η_a, η_v) is another weighting of the availability subsets, so everything here is read off
the rows that Protocol I already has, exactly.

What a modality is worth is its Shapley value: how much it improves the metric where it joins the
others, averaged over the orders in which they may join. The values of all modalities add up to what
everything is worth over nothing. How even they are is an index from 0, one modality gives all, to
1, all give the same: the entropy of their shares over the logarithm of their number.

MissBench (Pham et al., 2026) asks the same of a model with its Modality Equity Index, higher where
modalities contribute more evenly over the missing configurations. Its formula is not in what could
be read of it (the abstract, and summaries by others); this one is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from math import factorial, log

import numpy as np

from benchmark.metrics import LOWER_IS_BETTER, combine, terms
from benchmark.mixtures import row_weights
from benchmark.questions import Question
from benchmark.readouts import covers, linearised
from benchmark.records import RunRecord
from benchmark.table import PredictionTable
from protocols.availability import MASK_COUNT, mask_of, name_of, subsets
from protocols.expectation import uneven_weights
from protocols.modalities import MODALITIES, Modality
from reports.answer import Asked, Found, Key, answer_of, answers_of, ordered
from reports.results import Results, System
from reports.statistics.inference import Array, Estimate, estimate
from reports.views import EQUITY, SELECTIONS, SHARE, WORST_LOSS, view

Rates = tuple[float, float, float]
"""η_t, η_a, η_v."""

MEAN_RATE, LOW_RATE = 0.3, 0.1
"""Of the named failures: the rate averaged over the sensors, and that of those which do not fail
most. The comparison with even failure is then at an equal share of missing data."""


@dataclass(frozen=True)
class Worth:
    """What a system's modalities are worth by one metric, better being positive.

    Attributes:
        present: the M modalities that there are.
        shares: (M,) the Shapley value of each, in the metric's raw unit.
        equity: from 0, one gives all, to 1, all give the same; a modality that does harm gives
            nothing. Undefined (NaN) where none gives anything.
        losses: (M,) what is lost where one alone is always missing.
        told_apart: whether the modality that costs most to lose costs more than every other one
            for new test samples and new trainings.
    """

    present: tuple[Modality, ...]
    shares: Estimate
    equity: Estimate
    losses: Estimate
    told_apart: bool

    @property
    def named_worst(self) -> str:
        """The worst modality to lose, in words that say no more than the intervals."""
        return self.worst if self.told_apart else f"{self.worst} (undecided)"

    @property
    def worst(self) -> Modality:
        """The modality that costs most to lose; by the mean over seeds."""
        return self.present[self.place]

    @property
    def place(self) -> int:
        """Where the worst modality to lose is among those that there are."""
        return int(self.losses.values.argmax())


def named_failures(present: tuple[Modality, ...]) -> dict[str, Rates]:
    """Even failure, and each sensor failing most at the same share of missing data."""
    found = {"even": _rates(dict.fromkeys(present, MEAN_RATE))}
    high = round(MEAN_RATE * len(present) - LOW_RATE * (len(present) - 1), 10)
    for failing in present:
        found[f"{failing} fails"] = _rates({m: high if m == failing else LOW_RATE for m in present})
    return found


def _rates(by_modality: Mapping[Modality, float]) -> Rates:
    text, audio, vision = (by_modality.get(m, 0.0) for m in MODALITIES)
    return text, audio, vision


def uneven(results: Results, rates: Sequence[Rates] = ()) -> Found:
    """Every system where its sensors fail unevenly, and what its modalities are worth.

    Args:
        results: of the systems.
        rates: further (η_t, η_a, η_v) that were asked for.
    """
    found: Found = {}
    if len(results.present) < 2:
        return found
    asked = subset_questions(results.present)
    every = [*named_failures(results.present).values(), *rates]
    for system in results.systems:
        seeds = tuple(r.spec.seed for r in covered(system))
        for metric in SELECTIONS[results.task].grid if seeds else ():
            at, own = at_rates(system, metric, every), worth(system, metric)
            assert at is not None
            assert own is not None
            bounds = view(metric).bounds
            made = dict(zip(map(at_name, every), answers_of(at, seeds, bounds), strict=True))
            made |= {
                worth_name(m): replace(one, reference=f"without {m}")
                for m, one in zip(own.present, answers_of(own.shares, seeds), strict=True)
            }
            made[EQUITY] = answer_of(own.equity, seeds, SHARE)
            worst = answer_of(own.losses.at(own.place), seeds)
            made[WORST_LOSS] = replace(
                worst, verdict=own.named_worst, reference=f"without {own.worst}"
            )
            found |= {Key(system.key, asked, metric, name): one for name, one in made.items()}
    return found


def subset_questions(present: tuple[Modality, ...]) -> Asked:
    """What all of it is read off: every subset without noise, the empty one included."""
    return ordered(Question("I", available=name_of(mask)) for mask in subsets(present))


def at_name(rates: Rates) -> str:
    """The quantity of a metric at these rates."""
    return f"At η = ({', '.join(f'{rate:g}' for rate in rates)})"


def worth_name(modality: Modality) -> str:
    """The quantity of what a modality is worth."""
    return f"Worth of {modality}"


def covered(system: System) -> list[RunRecord]:
    """A system's runs that have every availability subset without noise."""
    return [r for r in system.records if covers(r.table, subset_questions(r.table.present))]


def _subset_terms(table: PredictionTable, metric: str) -> Array:
    """(8, N, K) the terms of every sample under each subset, by bit mask; 0 for impossible ones.

    Raises:
        KeyError: where the table lacks one.
    """
    masks = subsets(table.present)
    alone = (Question("I", available=name_of(mask)) for mask in masks)
    rows = [row_weights(table.index, table.present, one)[0][0] for one in alone]
    found = terms(metric, table.prediction[rows], table.label)
    whole = np.zeros((MASK_COUNT, *found.shape[1:]))
    whole[list(masks)] = found
    return whole


def at_rates(system: System, metric: str, rates: Sequence[Rates]) -> Estimate | None:
    """A metric where the sensors fail at these rates, one number for each; None without Protocol I.

    Exact: the expectation over what is missing, without noise.
    """
    tables = [record.table for record in covered(system)]
    if not tables:
        return None
    shares = uneven_weights(np.array(rates), tables[0].present)
    return estimate(np.stack([_linear_terms(table, metric, shares) for table in tables]))


def means_at(system: System, metric: str, rates: Sequence[Rates]) -> Array:
    """(Q,) the numbers of :func:`at_rates` alone: means over seeds. NaN without Protocol I."""
    found = []
    for record in covered(system):
        sums = _subset_terms(record.table, metric).sum(axis=1)
        shares = uneven_weights(np.array(rates), record.table.present)
        found.append(combine(metric, shares @ sums))
    return np.mean(found, axis=0) if found else np.full(len(rates), np.nan)


def _linear_terms(table: PredictionTable, metric: str, shares: Array) -> Array:
    """(Q, N) linear terms of the metric under (Q, 8) probabilities of the subsets."""
    mixed = np.einsum("qm,mnk->qnk", shares, _subset_terms(table, metric))
    return linearised(metric, mixed)


@lru_cache(maxsize=512)  # a table and a figure ask for the same
def worth(system: System, metric: str) -> Worth | None:
    """What each modality is worth; None without Protocol I, or with fewer than two modalities."""
    tables = [record.table for record in covered(system)]
    if not tables or len(tables[0].present) < 2:
        return None
    present = tables[0].present
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    there = list(subsets(present))  # of an impossible subset no metric is defined
    alone = np.eye(MASK_COUNT)[there]
    by_run = np.zeros((len(tables), MASK_COUNT, len(tables[0].label)))
    by_run[:, there] = [sign * _linear_terms(table, metric, alone) for table in tables]
    shapley = np.einsum("ms,rsn->rmn", shapley_weights(present), by_run)
    full = mask_of(present)
    others = [mask_of(set(present) - {m}) for m in present]
    lost = by_run[:, [full]] - by_run[:, others]
    values, losses = estimate(shapley), estimate(lost)
    most = int(losses.values.argmax())
    rest = [place for place in range(len(present)) if place != most]
    apart = all(estimate(lost[:, most] - lost[:, place]).side_of() > 0 for place in rest)
    equities = estimate(np.stack([_equity_terms(run) for run in shapley]))
    return Worth(present, values, equities, losses, apart)


def shapley_weights(present: tuple[Modality, ...]) -> Array:
    """(M, 8): the Shapley value of each present modality as weights on the subsets' values."""
    size = len(present)
    weights = np.zeros((size, MASK_COUNT))
    for place, m in enumerate(present):
        others = [other for other in present if other != m]
        for count in range(size):
            weight = factorial(count) * factorial(size - count - 1) / factorial(size)
            for before in combinations(others, count):
                weights[place, mask_of({*before, m})] += weight
                weights[place, mask_of(before)] -= weight
    return weights


def equity(values: Array) -> float:
    """The entropy of the shares of (M,) contributions over log M; NaN where none is positive."""
    positive = np.maximum(values, 0)
    if not positive.sum() > 0:
        return float("nan")
    shares = positive[positive > 0] / positive.sum()
    return float(-(shares * np.log(shares)).sum() / log(len(values)))


def _equity_terms(terms: Array) -> Array:
    """(N,) linear terms of the index from those of (M, N) Shapley values: the delta method."""
    values = terms.mean(axis=-1)
    index, positive = equity(values), np.maximum(values, 0)
    if np.isnan(index):
        return np.full(terms.shape[-1], np.nan)
    shares = positive / positive.sum()
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    slope = np.where(shares > 0, -logs / log(len(values)) - index, 0.0) / positive.sum()
    return np.asarray(index + slope @ (terms - values[:, None]))
