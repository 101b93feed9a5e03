"""What a search minimises (or maximises): one number, read off a run's validation table.

The conditions are fixed, so every trial of a study meets the same corruption of the same samples.
The missing rate enters as weights on the subsets, exactly; noise is averaged over the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from benchmark.config import EvaluationConfig, ObjectiveName
from benchmark.errors import unknown
from benchmark.metrics import LOWER_IS_BETTER, PRIMARY
from benchmark.readouts import at, cell, clean, protocol_three
from benchmark.table import PredictionTable, restrict
from protocols.availability import mask_of, subsets
from protocols.conditions import LEVELS, Condition, Joint, at_joint, at_level
from protocols.modalities import Modality, Task
from protocols.rules import NoiseRule

if TYPE_CHECKING:
    from benchmark.interface import DataSpec

OBJECTIVES: tuple[ObjectiveName, ...] = get_args(ObjectiveName)

SEARCH_LEVELS: tuple[float, ...] = (0.0, 0.2, 0.5, 0.7)
"""Four of the grid's eight noise intensities, with the same mean: half the forward passes."""

VALIDATION_DRAWS = 2


@dataclass(frozen=True)
class Objective:
    """A number to search by: the primary metric (MAE, or accuracy), averaged over conditions.

    Attributes:
        name: ``grid``, the mean over λ in :data:`SEARCH_LEVELS` and η in the grid's levels;
            ``clean``; ``I``, the mean over the fixed non-empty subsets without noise; ``II``, the
            mean over λ with nothing missing; ``III``, each sample at its own (λ, η).
        task: of the data set.
        present: the modalities that the data set has.
        noise_rules: averaged over, where there is noise.
        draws: corruption draws.
        joint: the joint distribution of ``III``.
    """

    name: ObjectiveName
    task: Task
    present: tuple[Modality, ...]
    noise_rules: tuple[NoiseRule, ...] = ("seed_a1",)
    draws: int = VALIDATION_DRAWS
    joint: Joint = "uniform_0.7"

    @property
    def metric(self) -> str:
        """The metric's name."""
        return PRIMARY[self.task]

    @property
    def minimise(self) -> bool:
        """Whether smaller is better."""
        return self.metric in LOWER_IS_BETTER

    @property
    def title(self) -> str:
        """For people: "validation grid MAE"."""
        return f"validation {self.name} {self.metric.upper()}"

    def conditions(self) -> tuple[Condition, ...]:
        """The rows of the validation table that it is read off, in canonical order."""
        full, masks = mask_of(self.present), subsets(self.present)
        if self.name == "clean":
            return (at_level("seed_a1", 0, 0.0, full),)
        if self.name == "I":
            return tuple(sorted({at_level("seed_a1", 0, 0.0, m) for m in masks if m}))
        found = set()
        for rule in self.noise_rules:
            for draw in range(self.draws):
                if self.name == "II":
                    found |= {at_level(rule, draw, level, full) for level in SEARCH_LEVELS}
                elif self.name == "III":
                    found |= {at_joint(rule, draw, self.joint, m) for m in masks}
                else:
                    found |= {at_level(rule, draw, x, m) for x in SEARCH_LEVELS for m in masks}
        return tuple(sorted(found))

    def value(self, table: PredictionTable) -> float:
        """The number. Raises KeyError where the table lacks some of :meth:`conditions`.

        Other rows of the table (another search's) do not change it.
        """
        return float(np.mean([cell[self.metric] for cell in self._cells(table)]))

    def _cells(self, table: PredictionTable) -> Sequence[dict[str, float]]:
        full, own = mask_of(self.present), restrict(table, self.conditions())
        if self.name == "clean":
            return [clean(own)]
        if self.name == "I":
            return [at(own, "seed_a1", 0.0, m) for m in subsets(self.present) if m]
        if self.name == "II":
            return [at(own, rule, x, full) for rule in self.noise_rules for x in SEARCH_LEVELS]
        if self.name == "III":
            return [protocol_three(own, rule, self.joint) for rule in self.noise_rules]
        return [
            cell(own, rule, x, rate)
            for rule in self.noise_rules
            for x in SEARCH_LEVELS
            for rate in LEVELS
        ]


def objective_of(name: ObjectiveName, evaluation: EvaluationConfig, spec: DataSpec) -> Objective:
    """An objective on a data set, with the noise rules and the joint of an evaluation.

    It has the evaluation's draws where those were chosen, but at least two.
    """
    chosen = evaluation.draws if "draws" in evaluation.model_fields_set else VALIDATION_DRAWS
    return Objective(
        name,
        spec.task,
        spec.present,
        evaluation.noise_rules,
        max(VALIDATION_DRAWS, chosen),
        evaluation.joint,
    )


def objective_named(name: str) -> ObjectiveName:
    """An objective's name, checked. Raises BenchmarkError."""
    for known in OBJECTIVES:
        if known.lower() == name.lower():
            return known
    raise unknown("objective", name, OBJECTIVES)
