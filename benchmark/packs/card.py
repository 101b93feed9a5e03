"""The card of a submission: ``card.json``, typed, and read strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from benchmark.errors import BenchmarkError
from benchmark.hygiene import one_line
from benchmark.readouts import Metrics, summarise
from benchmark.records import RunRecord
from benchmark.tracking.summary import summary
from protocols.settings import Settings

FORMAT = 1
"""Of the pack: raised whenever a reader of the former one would misread it."""
CARD = "card.json"
NOT_STATED = "not stated"

Short = Annotated[str, Field(max_length=300)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Read(BaseModel):
    """What is read of anybody's card: further keys, of a later version, are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class File(_Read):
    """A file of a pack.

    ``url`` is where it is, for one that is too large to be in the pack.
    """

    bytes: int = Field(ge=0)
    sha256: Sha256
    url: Short = ""


class Facts(Settings):
    """What only the submitter knows; a YAML file for ``benchmark pack --card``."""

    licence: Short = Field("", description="of predictions and checkpoint")
    paper: Short = Field("", description="title, or address")
    year: int | None = Field(None, ge=1950, le=2100)
    links: dict[Short, Short] = Field(default_factory=dict, description="name -> address")
    bibtex: str = Field("", max_length=4000)
    training_data: Short = Field("", description="what the model was trained on")
    selection: Short = Field("", description="by what the checkpoint was selected")
    notes: str = Field("", max_length=4000)
    claims: dict[Short, float] = Field(
        default_factory=dict,
        description="grid_mae: 1.15, say, in raw units; by default what is measured",
    )

    @field_validator("claims")
    @classmethod
    def _finite(cls, values: dict[str, float]) -> dict[str, float]:
        for name, value in values.items():
            if not math.isfinite(value):
                raise ValueError(f"{name} is no number")
        return values


class System(_Read):
    """Runs that differ in their seed, and what is claimed of their mean."""

    name: Short
    dataset: Short
    data_sha256: Sha256
    runs: tuple[Annotated[str, Field(pattern="^[0-9a-f]{12}$")], ...] = Field(
        (), max_length=100, description="none where only numbers are claimed"
    )
    seeds: tuple[int, ...] = ()
    parameters: int | None = None
    training_data: Short = NOT_STATED
    selection: Short = NOT_STATED
    model: dict[str, Any] = Field(default_factory=dict, description="the model's card")
    claims: dict[Short, float]


class Card(_Read):
    """A submission's card."""

    format: int
    title: Short
    systems: tuple[System, ...] = Field(min_length=1, max_length=500)
    facts: Facts = Field(default_factory=lambda: Facts.model_validate({}))
    files: dict[str, File] = Field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The content of ``card.json``; the same card always gives the same bytes."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True).encode()


def read_card(content: bytes, where: str) -> Card:
    """A card from its file. Raises BenchmarkError, naming what does not fit."""
    try:
        values = json.loads(content)
        if isinstance(values, dict) and values.get("format") != FORMAT:
            raise BenchmarkError(
                f"{where}: a pack of form {one_line(values.get('format'), 20)}; this version reads "
                f"form {FORMAT}"
            )
        return Card.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        why = f"{one_line(place, 80)}: {one_line(first['msg'], 160)}"
    except (ValueError, RecursionError) as error:
        why = one_line(error, 200)
    raise BenchmarkError(f"{where}: {CARD} is no card of a submission: {why}")


def measured(records: Sequence[RunRecord]) -> Metrics:
    """What a claim is compared with: the mean over seeds of each number of the overview.

    Names as tracking has them: ``clean_mae``, ``protocol_III_acc7``, ``grid_mae``. A number that
    not every run has is left out. They come from the prediction tables, not from ``metrics.json``.
    """
    found = [summary(summarise(record.table), record.spec.task) for record in records]
    shared = [name for name in found[0] if all(name in one for one in found)]
    return {
        name.removeprefix("test/"): sum(one[name] for one in found) / len(found) for name in shared
    }


def decimals(claim: float) -> int:
    """The digits after the point that a claim is written with."""
    digits = format(claim, "f") if "e" in repr(claim) else repr(claim)
    return len(digits.rstrip("0").partition(".")[2])


def stands(claim: float, value: float) -> bool:
    """Whether a value, rounded as the claim is, is the claim."""
    return abs(claim - value) <= 0.5 * 10.0 ** -decimals(claim) + 1e-9
