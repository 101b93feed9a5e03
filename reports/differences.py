"""Paired differences to a reference system: interval, p-value, Holm, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.questions import Question
from reports.answer import Found, Key, between, ordered
from reports.measured import Measured
from reports.results import Results, System
from reports.statistics.inference import LEVEL, Estimate, holm
from reports.views import DIFFERENCE, SELECTIONS, view

REFERENCE_MODEL = "qamoe"
Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Section:
    """Systems of one training regime and the one that they are compared with."""

    reference: System
    others: tuple[System, ...]


def sections(results: Results, metric: str) -> list[Section]:
    """The comparisons of a report: like with like, so each regime has its own.

    The reference is QA-MoE at its preset's settings; in a regime without it, the system that is
    best on the clean test.
    """
    regimes = dict.fromkeys(system.regime.name for system in results.systems)
    found = []
    for regime in regimes:
        members = [s for s in results.systems if s.regime.name == regime]
        usual = [s for s in members if s.plain and s.records[0].spec.model == REFERENCE_MODEL]
        reference = max(usual, key=lambda s: len(s.records)) if usual else None
        reference = reference or _best(results, members, metric)
        others = tuple(s for s in members if s.key != reference.key)
        if others:
            found.append(Section(reference, others))
    return found


def _best(results: Results, members: Sequence[System], metric: str) -> System:
    frame = results.frame[results.frame["protocol"] == "clean"]
    means = frame.groupby("system")[metric].mean()
    best = max if view(metric).higher_is_better else min
    return best(members, key=lambda system: float(means[system.key]))


def conditions(results: Results) -> dict[str, tuple[Question, ...]]:
    """What systems are compared on: clean, Protocol III and the grid mean, where evaluated."""
    compared = ("clean", "III", "grid")
    chosen = [h for h in results.overview if h.questions[0].protocol in compared]
    return {headline.title: headline.questions for headline in chosen}


def differences(measured: Measured) -> Found:
    """Each system minus its reference; the tests of one metric are one family."""
    results = measured.results.compared
    found: Found = {}
    for metric in SELECTIONS[results.task].grid:
        made: dict[Key, tuple[Estimate, System]] = {}
        for section in sections(results, metric):
            for questions in conditions(results).values():
                base = measured.estimate(section.reference, questions, metric)
                for system in section.others:
                    own = measured.estimate(system, questions, metric)
                    if own is not None and base is not None:
                        key = Key(system.key, ordered(questions), metric, DIFFERENCE)
                        made[key] = (own - base, section.reference)
        adjusted = holm([float(one.p) for one, _ in made.values()]).tolist()
        for (key, (one, reference)), p in zip(made.items(), adjusted, strict=True):
            verdict = verdict_of(one.value, p, view(metric).higher_is_better)
            found[key] = between(one, reference.label, verdict, p)
    return found


def verdict_of(difference: float, p: float, higher_is_better: bool) -> Verdict:
    """What a (corrected) p supports; the interval excludes zero wherever it is this low."""
    if not p < 1 - LEVEL:
        return "undecided"
    return "better" if (difference > 0) == higher_is_better else "worse"
