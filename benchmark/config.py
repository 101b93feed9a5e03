"""The typed settings of training and evaluation: unknown keys are errors that name the key."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from benchmark.errors import BenchmarkError, unknown
from benchmark.hygiene import one_line
from benchmark.strangers import strangers
from protocols.conditions import Joint
from protocols.rules import NoiseRule
from protocols.settings import Settings

Selection = Literal["mae", "acc"]
ObjectiveName = Literal["grid", "clean", "I", "II", "III"]


class TrainingConfig(Settings):
    """How a run is trained. The defaults are the seed paper's common set-up (A.3).

    ``version`` is the trainer's: raised whenever the same settings would train another model, a
    changed default among them. It is part of every run's identity.
    """

    version: ClassVar[int] = 1

    epochs: int = Field(30, ge=1, description="A.3")
    batch_size: int = Field(16, ge=1, description="A.3")
    learning_rate: float = Field(5e-4, gt=0, description="the middle of A.3's grid")
    weight_decay: float = Field(1e-5, ge=0, description="A.3; in Adam's L2 form, or AdamW's")
    optimizer: Literal["adam", "adamw"] = Field(
        "adam", description="A.3; adamw decays the weights apart from the gradient"
    )
    schedule: Literal["cosine", "plateau", "step", "constant"] = Field(
        "cosine", description="A.3: cosine annealing per epoch to zero"
    )
    plateau_factor: float = Field(0.1, gt=0, lt=1, description="used by schedule plateau")
    plateau_patience: int = Field(20, ge=0, description="used by schedule plateau, in epochs")
    step_factor: float = Field(0.1, gt=0, lt=1, description="used by schedule step")
    step_epochs: int = Field(10, ge=1, description="used by schedule step: epochs of one rate")
    clip_norm: float | None = Field(1.0, gt=0, description="A.3; gradient norm")
    clip_value: float | None = Field(None, gt=0, description="largest gradient component")
    select_on: Literal["auto", "mae", "acc"] = Field(
        "auto", description="validation metric of the kept epoch: mae for regression, else acc"
    )

    def idle(self) -> frozenset[str]:
        """The settings of other schedules."""
        return frozenset(
            name
            for name in type(self).model_fields
            if name.startswith(("plateau_", "step_")) and not name.startswith(f"{self.schedule}_")
        )


def selection_metric(config: TrainingConfig) -> Selection:
    """The validation metric that selects the epoch. Raises ValueError while it is "auto"."""
    if config.select_on == "auto":
        raise ValueError("training.select_on must be resolved by the task first")
    return config.select_on


class EvaluationConfig(Settings):
    """What the prediction table covers. More rows can be added to a finished run at any time."""

    noise_rules: tuple[NoiseRule, ...] = Field(
        ("seed_a1",), min_length=1, description="what noise is; rows of its own for each"
    )
    draws: int = Field(3, ge=1, le=1000, description="corruption draws, seeded 0, 1, ...")
    joint: Joint = Field("uniform_0.7", description="Protocol III's P_env (A17)")
    dear: bool = Field(
        False,
        description="ask methods whose answers are dear (their card) for every protocol on a CPU "
        "too, not for Protocol I alone",
    )
    objective: ObjectiveName | None = Field(
        None, description="a search's objective, to be read off the validation split as well"
    )


S = TypeVar("S", bound=BaseModel)


def build(kind: type[S], values: Mapping[str, Any], where: str) -> S:
    """Build settings from user values.

    Args:
        kind: the settings class.
        values: field -> value.
        where: what the fields belong to, for the error ("training", "qamoe's model").

    Raises:
        BenchmarkError: for an unknown field (with near matches) or a value that does not fit.
    """
    for key in values:
        if key not in kind.model_fields:
            raise unknown(f"setting in {where}", key, kind.model_fields)
    with strangers(lambda why: BenchmarkError(f"the settings of {where} cannot be read: {why}")):
        try:
            return kind.model_validate(dict(values))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join((where, *map(str, e['loc'])))}: "
                f"{one_line(e['msg'].removeprefix('Value error, '))}"
                f" (got {one_line(repr(e['input']), 80)}){_meant(kind, e['loc'], values, where)}"
                for e in error.errors()
            )
            raise BenchmarkError(f"the settings do not fit: {problems}") from None


def _meant(
    kind: type[S], place: tuple[int | str, ...], values: Mapping[str, Any], where: str
) -> str:
    """Of a value that a setting does not take: the setting of a near name that takes it."""
    if len(place) != 1 or place[0] not in values:
        return ""
    name = str(place[0])
    for near in difflib.get_close_matches(name, kind.model_fields, n=3, cutoff=0.75):
        if near not in values:
            with contextlib.suppress(ValidationError):
                kind.model_validate({near: values[name]})
                return f". Did you mean {where}.{near}?"
    return ""
