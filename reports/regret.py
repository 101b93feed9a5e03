"""One-checkpoint regret: what a single spectrum checkpoint gives up against per-rate specialists.

At missing rate η the specialist was trained for it (regime ``missing`` at that rate; ``clean`` at
rate 0), the spectrum checkpoint for everything. Regret is the spectrum checkpoint's loss minus the
specialist's at η, without noise: positive where specialising pays.
"""

from __future__ import annotations

from benchmark.questions import random_questions
from reports.answer import Found, Key, between, ordered
from reports.measured import Measured
from reports.results import System
from reports.specialists import Specialists
from reports.views import REGRET, SELECTIONS, view

Pair = tuple[System, Specialists]
"""A spectrum checkpoint, and the specialists that share all else with it."""


def pairs(measured: Measured, missing_rule: str) -> list[Pair]:
    """Spectrum systems that have a specialist for some rate above 0 under the rule."""
    found = [
        s for s in measured.specialists if (s.degradation, s.rule) == ("missing", missing_rule)
    ]
    by_setting = {one.setting: one for one in found}
    return [
        (system, by_setting[setting])
        for system in measured.results.systems
        if system.regime.kind == "spectrum"
        and (setting := system.records[0].spec.apart_from("regime")) in by_setting
    ]


def regrets(measured: Measured) -> Found:
    """Regret at each rate that has a specialist, and its mean over those above 0."""
    results = measured.results
    found: Found = {}
    for rule in sorted({one.rule for one in measured.specialists if one.degradation == "missing"}):
        for system, trained in pairs(measured, rule):
            asked = [ordered([question]) for question in random_questions(rule)]
            asked.append(ordered(trained.beyond_clean(results.present)))
            for metric in SELECTIONS[results.task].grid:
                sign = -1.0 if view(metric).higher_is_better else 1.0
                for questions in asked:
                    own = measured.estimate(system, questions, metric)
                    theirs = measured.estimate(trained, questions, metric)
                    if own is not None and theirs is not None:
                        key = Key(system.key, questions, metric, REGRET)
                        found[key] = between((own - theirs).times(sign), trained.label)
    return found
