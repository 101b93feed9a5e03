"""An audit of reliability scores: do they notice, do they matter, is there anything to win?

Notice: Spearman's correlation of r_m with λ (:mod:`reports.reliability.scores`) and the AUROC of
1 - r_m for noise at the highest λ against clean input, family by family. Matter: how much worse the
predictions are where each sample has another one's scores of the same condition. Head room: how
much better they would be with the weights that are best on validation for each cell, which is what
a perfect detector of the degradation could win by weighing. The last two are read off diagnostics
(``benchmark run --diagnose reliability``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from benchmark.diagnostics.kept import GivenScores, given_scores
from benchmark.metrics import PRIMARY
from benchmark.questions import Question, grid_questions, noise_questions
from benchmark.readouts import covers, linear_terms
from benchmark.records import RunRecord
from benchmark.table import PredictionTable, restrict
from protocols.modalities import Modality
from protocols.rules import harmed
from reports.answer import Asked, Found, Key, answer_of, ordered
from reports.reliability.claims import verdict_of
from reports.reliability.scores import (
    Parts,
    among,
    estimates,
    having,
    levels,
    noise_rules,
    scored,
)
from reports.results import Results, System
from reports.statistics.inference import Array, estimate
from reports.statistics.ranks import auroc
from reports.views import DETECTED, HEAD_ROOM, PERMUTED, view


def audit(results: Results) -> Found:
    """What every system with scores makes of noise and of scores that are not its own."""
    found: Found = {}
    for system, rule in product(filter(scored, results.systems), noise_rules(results)):
        for modality in harmed(rule, results.present):
            found |= _detected(results, system, rule, modality)
        for asked in conditions(results, rule):
            found |= _given(results, system, asked)
    return found


def conditions(results: Results, noise_rule: str) -> list[Asked]:
    """What given scores are judged on: the grid, or along λ where it was not evaluated."""
    grids = [
        ordered(grid_questions(noise, missing))
        for noise, missing in results.variants("grid", "noise_rule", "missing_rule")
        if noise == noise_rule
    ]
    return grids or [ordered(noise_questions(noise_rule, results.present)[1:])]


def noisiest(results: Results, noise_rule: str) -> tuple[Question, ...]:
    """The condition that noise is to be noticed at."""
    return ordered(noise_questions(noise_rule, results.present)[-1:])


def _detected(results: Results, system: System, rule: str, modality: Modality) -> Found:
    """The AUROC of 1 - r_m for the highest λ against none, over the samples that have m."""
    by_seed: dict[int, Parts] = {}
    for record in system.records:
        if record.table.reliability is None:
            continue
        try:
            by_draw = levels(record.table, rule, modality)
        except KeyError:
            continue
        has = having(record.table, modality)
        weight = np.full(int(has.sum()), 1 / int(has.sum()))
        noisy = np.array([False, True])
        parts = [auroc(1 - one[[0, -1]], noisy, weight) for one in by_draw]
        value = float(np.mean([value for value, _ in parts]))
        influence = np.mean([one for _, one in parts], axis=0)
        by_seed[record.spec.seed] = {DETECTED: (value, among(has, influence))}
    metric, asked = f"r_{modality}", noisiest(results, rule)
    return {
        Key(system.key, asked, metric, name): replace(
            answer_of(one, tuple(by_seed), view(metric, name).bounds),
            verdict=verdict_of(one, 0.5, above=True),
        )
        for name, one in estimates(by_seed).items()
    }


def _given(results: Results, system: System, asked: Asked) -> Found:
    """What other scores do to the primary metric, better being positive for the own ones in
    :data:`PERMUTED` and for the fixed ones in :data:`HEAD_ROOM`."""
    metric = PRIMARY[results.task]
    sign = 1.0 if view(metric).higher_is_better else -1.0
    seeds, permuted, fixed = [], [], []
    for record in system.records:
        scores = given_scores(record.path.parent, record.run_id)
        if scores is None or not _fits(record, scores, asked):
            continue
        table = restrict(record.table, scores.conditions)
        own = _mean_terms(table, metric, asked)
        others = [_mean_terms(_with(table, one), metric, asked) for one in scores.permuted]
        seeds.append(record.spec.seed)
        permuted.append(sign * (own - np.mean(others, axis=0)))
        fixed.append(sign * (_mean_terms(_with(table, scores.fixed), metric, asked) - own))
    found: Found = {}
    for name, terms, beside in (
        (PERMUTED, permuted, "permuted scores"),
        (HEAD_ROOM, fixed, "fixed weights"),
    ):
        if terms:
            one = estimate(np.stack(terms))
            words = verdict_of(one, 0.0, above=True)
            said = replace(answer_of(one, tuple(seeds)), verdict=words, reference=beside)
            found[Key(system.key, asked, metric, name)] = said
    return found


def _fits(record: RunRecord, scores: GivenScores, asked: Sequence[Question]) -> bool:
    """Whether the diagnostic has what is asked, of rows that the record still has."""
    known = record.table.index.rows
    if not all(condition in known for condition in scores.conditions):
        return False
    return covers(restrict(record.table, scores.conditions), asked)


def _with(table: PredictionTable, prediction: np.ndarray) -> PredictionTable:
    return replace(table, prediction=prediction)


def _mean_terms(table: PredictionTable, metric: str, asked: Sequence[Question]) -> Array:
    return np.asarray(linear_terms(table, metric, asked).mean(axis=0))
