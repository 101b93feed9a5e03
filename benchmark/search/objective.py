"""What a search minimises (or maximises): one number, read off a run's validation table.

The conditions are fixed, so every trial of a study meets the same corruption of the same samples.
The missing rate enters as weights on the subsets, exactly; noise is averaged over the draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from benchmark.config import EvaluationConfig, ObjectiveName
from benchmark.errors import unknown
from benchmark.metrics import LOWER_IS_BETTER, PRIMARY
from benchmark.questions import (
    Question,
    clean_question,
    fixed_questions,
    grid_questions,
    noise_questions,
    rows_of,
)
from benchmark.readouts import values
from benchmark.table import PredictionTable, restrict
from protocols.conditions import Condition, Joint
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

    def questions(self) -> list[Question]:
        """What it is the mean of."""
        if self.name == "clean":
            return [clean_question(self.present)]
        if self.name == "I":
            return fixed_questions(self.present)
        found: list[Question] = []
        for rule in self.noise_rules:
            if self.name == "II":
                found += noise_questions(rule, self.present, SEARCH_LEVELS)
            elif self.name == "III":
                found.append(Question("III", rule, "bernoulli", joint=self.joint))
            else:
                found += grid_questions(rule, "bernoulli", SEARCH_LEVELS)
        return found

    def conditions(self) -> tuple[Condition, ...]:
        """The rows of the validation table that it is read off, in canonical order."""
        draws = [rows_of(question, self.draws, self.present) for question in self.questions()]
        return tuple(sorted({row for one in draws for rows in one for row in rows}))

    def value(self, table: PredictionTable) -> float:
        """The number. Raises KeyError where the table lacks some of :meth:`conditions`.

        Other rows of the table (another search's) do not change it.
        """
        own = restrict(table, self.conditions())
        return float(np.mean(values(own, self.metric, self.questions())))


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
