"""Specialists: one model for each level of one degradation, as Tables 3 and 4 train them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmark.questions import Question, noise_questions, random_questions
from benchmark.records import RunRecord
from benchmark.systems import slug
from protocols.modalities import Modality
from reports.results import Results, System

PER_RATE = "one model per rate"
PER_INTENSITY = "one model per intensity"

Degradation = Literal["missing", "noise"]


@dataclass(frozen=True)
class Specialists:
    """A model's runs, each of which answers only at the level that it was trained for.

    Attributes:
        degradation: what the levels are of.
        rule: the missing or noise rule.
        by_level: missing rate or noise intensity -> the system trained for it; at 0 the clean one.
    """

    degradation: Degradation
    rule: str
    by_level: Mapping[float, System]

    @property
    def _any(self) -> System:
        return self.by_level[max(self.by_level)]

    @property
    def key(self) -> str:
        """Short and unique."""
        return slug(f"{self.label} {self.rule}")

    @property
    def label(self) -> str:
        """The row's name; settings that depart from the preset are in it."""
        system, level = self._any, self._any.training
        named_by_table = (f"regime.{name}" for name in ("missing_rule", "noise_rule"))
        changes = {k: v for k, v in system.changes.items() if k not in named_by_table}
        details = ", ".join(f"{key.split('.')[-1]}={value}" for key, value in changes.items())
        title = system.label.partition(f" · {level}")[0]
        return f"{title} · {self.training}" + (f" ({details})" if details else "")

    @property
    def setting(self) -> str:
        """What they share: everything but regime and seed."""
        return self._any.records[0].spec.apart_from("regime")

    @property
    def title(self) -> str:
        """The model's."""
        return self._any.title

    @property
    def plain(self) -> bool:
        """Whether every setting but the rule of the degradation is its preset's."""
        return not any(key.startswith("model.") for key in self._any.changes)

    @property
    def training(self) -> str:
        """How they were trained."""
        return PER_RATE if self.degradation == "missing" else PER_INTENSITY

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that some level has."""
        return tuple(sorted({seed for system in self.by_level.values() for seed in system.seeds}))

    def system_at(self, question: Question) -> System | None:
        """The system trained for the condition's level; None where nobody was, and for conditions
        that are not about the degradation."""
        if self.degradation == "missing":
            about = ("I", self.rule) == (question.protocol, question.missing_rule)
            return self.by_level.get(question.rate) if about else None
        about = ("II", self.rule) == (question.protocol, question.noise_rule)
        return self.by_level.get(question.intensity) if about else None

    def beyond_clean(self, present: tuple[Modality, ...]) -> list[Question]:
        """The degraded conditions that some system was trained for."""
        if self.degradation == "missing":
            asked = random_questions(self.rule)
        else:
            asked = noise_questions(self.rule, present)
        return [q for q in asked if q.rate + q.intensity > 0 and self.system_at(q)]

    def runs_at(self, question: Question) -> tuple[RunRecord, ...]:
        """The runs trained for the condition's level."""
        found = self.system_at(question)
        return found.records if found else ()


def specialists(results: Results, degradation: Degradation, rule: str) -> list[Specialists]:
    """The specialists for one degradation under one missing or noise rule, a group per setting."""
    trained: dict[str, dict[float, System]] = defaultdict(dict)
    clean: dict[str, System] = {}
    for system in results.systems:
        regime = system.regime
        if regime.kind == "clean":
            clean[system.records[0].spec.apart_from("regime")] = system
        elif regime.kind == degradation == "missing" and regime.missing_rule == rule:
            trained[system.records[0].spec.apart_from("regime")][regime.rate] = system
        elif regime.kind == degradation == "noise" and regime.noise_rule == rule:
            trained[system.records[0].spec.apart_from("regime")][regime.intensity] = system
    return [
        Specialists(degradation, rule, ({0.0: clean[setting]} if setting in clean else {}) | levels)
        for setting, levels in trained.items()
    ]
