"""What a system's reliability scores do: r_m under noise and when modality m is missing.

The paper says of r_m that it falls as modality m degrades (Section 3, Eq. 6). Nothing in its
equations forces it, so it is measured: Spearman's correlation of r_m with λ, everything available,
and the AUROC of 1 - r_m for m being missing, without noise, over every availability subset alike.
Each is over the samples that have m by nature: the others lack it in every row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.mixtures import weighted_rows
from benchmark.questions import fixed_questions, noise_questions
from benchmark.table import PredictionTable
from protocols.availability import contains, subsets
from protocols.conditions import at_level
from protocols.modalities import MODALITIES, Modality
from protocols.rules import harmed
from reports.answer import Found, Key, answer_of, ordered
from reports.reliability.claims import verdict_of
from reports.results import Results, System
from reports.statistics.inference import Array, Estimate, estimate
from reports.statistics.ranks import auroc, level_correlation
from reports.views import AUROC, MISSING, RHO, VALUE, view

CLEAN, NOISY = "clean", "noisy"

Parts = dict[str, tuple[float, Array]]
"""By name: a run's number, and the (N,) influences of its test samples on it."""


def scores(results: Results) -> Found:
    """How the score of each modality follows its quality, system by system and noise rule by rule:
    its mean on clean input, at the highest λ and where it is missing, ρ and the AUROC."""
    fixed = ordered(fixed_questions(results.present))
    found: Found = {}
    for system, rule, modality in product(results.systems, noise_rules(results), results.present):
        by_seed = follows(system, rule, modality)
        along = noise_questions(rule, results.present)
        asked = {CLEAN: along[:1], NOISY: along[-1:], RHO: along, MISSING: fixed, AUROC: fixed}
        needed = {RHO: (0.0, False), AUROC: (0.5, True)}
        for name, one in estimates(by_seed).items():
            if name == RHO and not harmed(rule, [modality]):
                continue
            quantity = VALUE if name in (CLEAN, NOISY) else name
            metric = f"r_{modality}"
            verdict = verdict_of(one, *needed[name]) if name in needed else ""
            found[Key(system.key, ordered(asked[name]), metric, quantity)] = replace(
                answer_of(one, tuple(by_seed), view(metric, quantity).bounds), verdict=verdict
            )
    return found


def estimates(by_seed: Mapping[int, Parts]) -> dict[str, Estimate]:
    """By name, over the runs."""
    runs = list(by_seed.values())
    return {
        name: estimate(np.stack([run[name][0] + run[name][1] for run in runs]))
        for name in (runs[0] if runs else ())
    }


def noise_rules(results: Results) -> list[str]:
    """The noise rules along which every level was evaluated with everything available."""
    rules = {rule for name in ("II", "grid") for (rule,) in results.variants(name, "noise_rule")}
    return sorted(rules)


def scored(system: System) -> list[PredictionTable]:
    """The tables of a system's runs that have reliability scores."""
    return [r.table for r in system.records if r.table.reliability is not None]


def follows(system: System, noise_rule: str, modality: Modality) -> dict[int, Parts]:
    """How a modality's score follows its quality, for each seed that was evaluated on it."""
    found = {}
    for record in system.records:
        if record.table.reliability is not None:
            try:
                found[record.spec.seed] = _of_run(record.table, noise_rule, modality)
            except KeyError:
                continue
    return found


def _of_run(table: PredictionTable, noise_rule: str, modality: Modality) -> Parts:
    """Over the samples that have the modality by nature.

    Of the N drawn they are as many as chance has it, so each one's influence is larger by N over
    their number, and the others have none.
    """
    by_draw = levels(table, noise_rule, modality)
    without_noise, lacks = by_subset(table, modality)
    has = having(table, modality)
    weight = np.full(int(has.sum()), 1 / int(has.sum()))
    ranked = [level_correlation(values, weight) for values in by_draw]
    parts = {
        RHO: (float(np.mean([x for x, _ in ranked])), np.mean([one for _, one in ranked], axis=0)),
        AUROC: auroc(1 - without_noise, lacks, weight),
    }
    for name, of_samples in (
        (CLEAN, by_draw[:, 0].mean(axis=0)),
        (NOISY, by_draw[:, -1].mean(axis=0)),
        (MISSING, without_noise[lacks].mean(axis=0)),
    ):
        mean = float(of_samples.mean())
        parts[name] = mean, of_samples - mean
    return {name: (value, among(has, one)) for name, (value, one) in parts.items()}


def among(has: NDArray[np.bool_], influences: Array) -> Array:
    """(N,) influences of all samples from those of the N' that have a modality."""
    whole = np.zeros(len(has))
    whole[has] = influences * (len(has) / len(influences))
    return whole


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
