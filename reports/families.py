"""Seen and unseen families: does training on some degradations help under others?

A family is seen where training meets it. Families differ in how harsh they are, so that a system's
scores under seen and unseen ones are no comparison; its gain over the same model trained on clean
input is one, family by family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from benchmark.questions import Question, noise_questions
from protocols.modalities import Modality
from protocols.rules import FAMILIES, is_met
from reports.answer import Found, Key, answer_of, between, ordered
from reports.reliability.gate import system_terms
from reports.results import Results, System
from reports.statistics.inference import Estimate, estimate
from reports.views import GAIN_SEEN, GAIN_UNSEEN, SEEN, SELECTIONS, UNSEEN, view


@dataclass(frozen=True)
class Split:
    """The families that a system was evaluated on, by whether its training met them."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...]


def evaluated(results: Results) -> list[str]:
    """The families that some run was evaluated on with nothing missing, but those of fills."""
    rules = {rule for name in ("II", "grid") for (rule,) in results.variants(name, "noise_rule")}
    return [rule for rule, family in FAMILIES.items() if rule in rules and not family.fills]


def split_of(results: Results, system: System) -> Split:
    """What a system has seen of what it was evaluated on."""
    every, met = evaluated(results), set(system.regime.families)
    return Split(tuple(r for r in every if r in met), tuple(r for r in every if r not in met))


def met_in_part(results: Results) -> dict[str, list[Modality]]:
    """Family that some training has not seen -> the modalities to which it does what that met."""
    found: dict[str, list[Modality]] = {}
    for m, system in product(results.present, held_out(results)):
        for rule in split_of(results, system).unseen:
            if is_met(rule, m, system.regime.families) and m not in found.get(rule, []):
                found.setdefault(rule, []).append(m)
    return found


def family_questions(results: Results, rule: str) -> tuple[Question, ...]:
    """Every level above 0 of one family, nothing missing."""
    return ordered(noise_questions(rule, results.present)[1:])


def held_out(results: Results) -> list[System]:
    """The systems that have both seen and unseen families among what they were evaluated on."""
    found = []
    for system in results.systems:
        split = split_of(results, system)
        if split.seen and split.unseen:
            found.append(system)
    return found


def clean_trained(results: Results, system: System) -> System | None:
    """The same model and settings trained on clean input; None where nobody ran it."""
    own = system.records[0].spec.apart_from("regime")
    for other in results.systems:
        if other.regime.kind == "clean" and other.records[0].spec.apart_from("regime") == own:
            return other
    return None


def families(results: Results) -> Found:
    """Each system's mean over its seen and unseen families, and under each; gains over clean."""
    found: Found = {}
    if len(evaluated(results)) < 2:
        return found
    for system in results.systems:
        split, base = split_of(results, system), clean_trained(results, system)
        seeds = tuple(record.spec.seed for record in system.records)
        groups = {SEEN: split.seen, UNSEEN: split.unseen}
        gains = {SEEN: GAIN_SEEN, UNSEEN: GAIN_UNSEEN}
        for metric in SELECTIONS[results.task].grid:
            for name, rules in groups.items():
                asked = asked_of(results, rules)
                own = _mean(system, metric, asked)
                if own is None:
                    continue
                found[Key(system.key, asked, metric, name)] = answer_of(
                    own, seeds, view(metric).bounds
                )
                theirs = _mean(base, metric, asked) if base and base is not system else None
                if base is not None and theirs is not None:
                    sign = 1.0 if view(metric).higher_is_better else -1.0
                    gain = (own - theirs).times(sign)
                    words = ("undecided", "better", "worse")[gain.side_of()]
                    key = Key(system.key, asked, metric, gains[name])
                    found[key] = between(gain, base.label, words)
    return found


def asked_of(results: Results, rules: Sequence[str]) -> tuple[Question, ...]:
    """Every level above 0 of several families."""
    return ordered(q for rule in rules for q in family_questions(results, rule))


def _mean(system: System, metric: str, asked: tuple[Question, ...]) -> Estimate | None:
    """The mean over what is asked; None where some run was not asked it, or nothing is."""
    terms = system_terms(system, metric, asked) if asked else None
    if terms is None or len(terms) != len(system.records):
        return None
    return estimate(terms.mean(axis=1))


def marked(split: Split) -> Mapping[str, str]:
    """Family -> a sign where training met it."""
    return {**dict.fromkeys(split.unseen, ""), **dict.fromkeys(split.seen, "•")}
