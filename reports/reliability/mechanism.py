"""Whether reliability means anything: the scores, the log-variance, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Mapping

from benchmark.questions import Question
from reports.answer import Answer, Found, Key
from reports.reliability.claims import claims_of, conclusion
from reports.reliability.scores import noise_rules, scored, scores
from reports.reliability.uncertainty import worths
from reports.results import Results, System
from reports.views import MECHANISM


def mechanism(results: Results, known: Mapping[Key, Answer]) -> Found:
    """What the scores and log-variances of the systems that are compared are worth, and of each
    system with scores whether the paper's mechanism holds.

    Args:
        results: all systems.
        known: the answers so far; the other side of a gate may be no system that is compared.
    """
    compared = results.compared
    found = scores(compared) | worths(compared)
    known = {**known, **found}
    for rule in noise_rules(compared):
        for system in filter(scored, compared.systems):
            verdict = conclusion(claims_of(results, system, rule, known))
            none = Answer(math.nan, None, math.nan, math.nan, (), (), verdict=verdict)
            found[concluded(system, rule)] = none
    return found


def concluded(system: System, noise_rule: str) -> Key:
    """The key of the verdict on the mechanism as a whole."""
    return Key(system.key, (Question("II", noise_rule),), "", MECHANISM)
