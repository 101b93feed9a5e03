"""What is asked of a run: one condition of a protocol, from the plan to the printed page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from protocols.availability import mask_named, mask_of, name_of, subsets
from protocols.conditions import JOINTS, LEVELS, Condition, at_joint, at_level
from protocols.modalities import Modality


class Question(NamedTuple):
    """What a checkpoint scores under one condition of a protocol.

    Attributes:
        protocol: "clean", "I", "II", "III" or "grid".
        noise_rule: what noise is; "" without noise.
        missing_rule: what a missing rate means: the exact expectation over what is missing at
            ``rate``. "" where exactly the modalities of ``available`` are there.
        intensity: λ.
        rate: η, any in [0, 1].
        available: the modalities that are there, by their short name: "ta"; "" with a missing rule.
        joint: the joint distribution of Protocol III, whose samples have λ and η of their own.
    """

    protocol: str
    noise_rule: str = ""
    missing_rule: str = ""
    intensity: float = 0.0
    rate: float = 0.0
    available: str = ""
    joint: str = ""


KEYS = Question._fields
"""The columns that say what a row of a tidy frame is about."""

question_of = lru_cache(maxsize=4096)(Question._make)
"""The question with these keys: one object for all runs."""


def rows_of(
    question: Question, draws: int, present: tuple[Modality, ...]
) -> tuple[tuple[Condition, ...], ...]:
    """For each corruption draw that matters, the rows of a table that a question mixes.

    Args:
        question: what is asked.
        draws: the number of draws that its noise rule and joint have; one matters without noise.
        present: the modalities that the data set has.
    """
    rule, masks = question.noise_rule or "seed_a1", subsets(present)
    if question.joint:
        return tuple(
            tuple(at_joint(rule, d, question.joint, m) for m in masks)  # type: ignore[arg-type]
            for d in range(draws)
        )
    if not question.missing_rule:
        masks = (mask_named(question.available) if question.available else mask_of(present),)
    return tuple(
        tuple(at_level(rule, d, question.intensity, m) for m in masks)  # type: ignore[arg-type]
        for d in range(draws if question.intensity > 0 else 1)
    )


def clean_question(present: tuple[Modality, ...]) -> Question:
    """λ = 0, everything available."""
    return Question("clean", available=name_of(mask_of(present)))


def fixed_questions(present: tuple[Modality, ...]) -> list[Question]:
    """Protocol I with every non-empty subset; single modalities first, the complete input last."""
    names = [name_of(mask) for mask in subsets(present) if mask]
    names.sort(key=lambda name: (len(name), ["tav".index(letter) for letter in name]))
    return [Question("I", available=name) for name in names]


def random_questions(missing_rule: str) -> list[Question]:
    """Protocol I at every missing rate of the grid."""
    return [Question("I", missing_rule=missing_rule, rate=rate) for rate in LEVELS]


def noise_questions(
    noise_rule: str, present: tuple[Modality, ...], levels: Sequence[float] = LEVELS
) -> list[Question]:
    """Protocol II at every noise intensity."""
    full = name_of(mask_of(present))
    return [Question("II", noise_rule, intensity=level, available=full) for level in levels]


def grid_questions(
    noise_rule: str, missing_rule: str, levels: Sequence[float] = LEVELS
) -> list[Question]:
    """The cells of the λ×η grid, λ by λ: 64 with all the levels."""
    return [Question("grid", noise_rule, missing_rule, x, rate) for x in levels for rate in LEVELS]


@lru_cache(maxsize=64)
def protocol_questions(
    noise_rules: tuple[str, ...], missing_rules: tuple[str, ...], present: tuple[Modality, ...]
) -> tuple[tuple[Question, ...], ...]:
    """Everything that a table may be asked, in groups that it answers as a whole or not at all."""
    groups: list[list[Question]] = [[clean_question(present)]]
    groups.append(
        [
            *fixed_questions(present),
            *(q for missing in missing_rules for q in random_questions(missing)),
        ]
    )
    for rule in noise_rules:
        groups.append(noise_questions(rule, present))
        groups.append([q for missing in missing_rules for q in grid_questions(rule, missing)])
        groups += [
            [Question("III", rule, missing, joint=joint) for missing in missing_rules]
            for joint in JOINTS
        ]
    return tuple(tuple(group) for group in groups)


@dataclass(frozen=True)
class Headline:
    """One number of an overview: the mean over one or more questions.

    Attributes:
        title: what people read; the rules are in brackets where there are several.
        name: a stable name for machines; a rule is part of it where it is not the usual one.
        questions: what it is the mean of.
    """

    title: str
    name: str
    questions: tuple[Question, ...]


_USUAL = frozenset({"", "seed_a1", "bernoulli", "uniform_0.7"})

OVERVIEW_MEANING = (
    "Protocol I, fixed: mean over the non-empty subsets of modalities; random: over missing rates "
    "0.1 to 0.7. Protocol II: mean over noise intensities 0.1 to 0.7. Protocol III: each sample at "
    "its own λ and η. Grid mean: over the 64 cells of λ×η."
)


def overview(answered: Iterable[Question]) -> list[Headline]:
    """The few numbers that sum a system up: terminal, tracking and page say these, in these words.

    Every noise rule, missing rule and joint has numbers of its own: none is a mean over several.

    Args:
        answered: the questions that have an answer, of one run or of several.
    """
    by_title: dict[str, dict[tuple[str, ...], list[Question]]] = {}
    for question in sorted(set(answered), key=_place):
        title = _TITLES[question.protocol]
        if question.protocol == "I":
            title += ", random" if question.missing_rule else ", fixed"
        degraded = question.intensity > 0 or question.rate > 0
        if degraded or title not in _WITHOUT_CLEAN:
            rules = (question.noise_rule, question.missing_rule, question.joint)
            by_title.setdefault(title, {}).setdefault(rules, []).append(question)
    return [
        Headline(_titled(title, rules, list(groups)), _named(title, rules), tuple(questions))
        for title, groups in by_title.items()
        for rules, questions in groups.items()
    ]


_TITLES: Mapping[str, str] = {
    "clean": "Clean test",
    "I": "Protocol I",
    "II": "Protocol II",
    "III": "Protocol III",
    "grid": "Grid mean",
}
_WITHOUT_CLEAN = frozenset({"Protocol I, random", "Protocol II"})
"""Means along one axis, whose undegraded end is the clean test and has its own number."""


def _place(question: Question) -> tuple[object, ...]:
    """Protocols in their order, fixed subsets before random rates."""
    return (list(_TITLES).index(question.protocol), bool(question.missing_rule), question)


def _titled(title: str, rules: tuple[str, ...], every: Sequence[tuple[str, ...]]) -> str:
    return f"{title} ({', '.join(filter(None, rules))})" if len(every) > 1 else title


def _named(title: str, rules: tuple[str, ...]) -> str:
    short = {"Clean test": "clean", "Grid mean": "grid"}.get(title)
    base = short or title.replace(",", "").replace("Protocol", "protocol").replace(" ", "_")
    return "_".join([base, *(rule for rule in rules if rule not in _USUAL)])
