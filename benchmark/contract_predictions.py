"""The part of the contract that is about predictions: it holds of any model, whoever trained it.

Each check gives its problems, none where it holds. :mod:`benchmark.contract` has the checks of what
is trained here; ``benchmark.evaluate`` asks these of a model that was trained elsewhere. As where
tables are filled, no graph is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmark.contract_cases import mixed, named, zeroed
from benchmark.data.dataset import Split
from benchmark.interface import BranchedModel, DataSpec, MultimodalModel, Output, Progress
from benchmark.predict import fill_table
from protocols.availability import MASK_COUNT, subsets
from protocols.conditions import conditions_of
from protocols.modalities import Modalities

TOLERANCE = 1e-5
"""Between two ways to compute one prediction in single precision; relative above 1."""
FIELDS = ("prediction", "log_variance", "reliability", "routing")

Problems = Iterator[str]


class Subject(Protocol):
    """What predictions are asked of."""

    @property
    def spec(self) -> DataSpec:
        """What the model was told of the data."""

    @property
    def samples(self) -> Modalities:
        """B labelled clean samples."""

    def model(self, seed: int = 0) -> MultimodalModel:
        """The model; one that is built for the check is built from the seed."""


@dataclass(frozen=True)
class Given:
    """A model that was trained elsewhere, on samples of the data that it is evaluated on."""

    trained: MultimodalModel
    spec: DataSpec
    samples: Modalities

    def model(self, seed: int = 0) -> MultimodalModel:
        """The model itself."""
        return self.trained


@torch.inference_mode()
def check_shapes(case: Subject) -> Problems:
    """Outputs have the shapes of :class:`Output`; a reliability lies in (0, 1)."""
    model = case.model().eval()
    for size in (1, len(case.samples)):
        output = model(case.samples.select(slice(size)).without_label())
        classes = (case.spec.classes,) if case.spec.task == "classification" else ()
        shapes = {"prediction": (size, *classes), "log_variance": (size,), "reliability": (size, 3)}
        for name, shape in shapes.items():
            found = getattr(output, name)
            if found is not None and tuple(found.shape) != shape:
                yield f"{name} has shape {tuple(found.shape)}, not {shape}"
        routing, reliability = output.routing, output.reliability
        if routing is not None and (routing.dim() != 3 or routing.shape[:2] != (size, 3)):
            yield f"routing has shape {tuple(routing.shape)}, not ({size}, 3, experts)"
        if reliability is not None and not ((reliability > 0) & (reliability < 1)).all():
            yield "reliability leaves (0, 1)"


@torch.inference_mode()
def check_finite(case: Subject) -> Problems:
    """Predictions are finite whichever modalities are missing."""
    model = case.model().eval()
    for mask, size in itertools.product(subsets(case.spec.present), (1, len(case.samples))):
        output = model(zeroed(case.samples.select(slice(size)), mask).without_label())
        for name, values in _fields(output).items():
            if not values.isfinite().all():
                yield f"{name} is not finite with {named(mask)} in a batch of {size}"


@torch.inference_mode()
def check_neighbours(case: Subject) -> Problems:
    """At evaluation a prediction is its sample's own, whatever else is in the batch."""
    model, batch = case.model().eval(), mixed(case.samples).without_label()
    together = _fields(model(batch))
    rows = range(min(len(batch), MASK_COUNT))  # each subset of the modalities once
    alone = [_fields(model(batch.select(slice(i, i + 1)))) for i in rows]
    for name, values in together.items():
        error = _difference(values[: len(rows)], torch.cat([fields[name] for fields in alone]))
        if error > TOLERANCE:
            yield f"{name} differs by {error:.1e} between a batch of {len(batch)} and batches of 1"


@torch.inference_mode()
def check_prediction_writes(case: Subject) -> Problems:
    """A prediction does not write into the batch, which is others' data too."""
    batch = a_copy(case.samples)
    case.model().eval()(batch)
    yield from (
        f"a prediction writes into the batch's {name}" for name in changed(case.samples, batch)
    )


@torch.inference_mode()
def check_repetition(case: Subject) -> Problems:
    """The same weights give the same prediction."""
    model = case.model().eval()
    twice = [_fields(model(case.samples.without_label())) for _ in range(2)]
    if not all(torch.equal(x, twice[1][name]) for name, x in twice[0].items()):
        yield "a prediction repeated is another one: something is drawn at evaluation"


def check_branches(case: Subject) -> Problems:
    """Branches that run on their own, once per level, give what the whole model gives."""
    model = case.model().eval()
    if not isinstance(model, BranchedModel):
        return
    ids = tuple(f"sample{i}" for i in range(len(case.samples)))
    device = case.samples.device
    sigma = {m: torch.ones(w, device=device) for m, w in case.spec.widths.items()}
    conditions = conditions_of(
        ("I", "II", "III"), case.spec.present, ("seed_a1",), 1, "uniform_0.7"
    )
    branched, whole = (
        torch.from_numpy(
            fill_table(m, Split(ids, case.samples), case.spec, sigma, conditions).prediction
        )
        for m in (model, _Whole(model))
    )
    if (error := _difference(branched, whole)) > TOLERANCE:
        yield f"encode and fuse give predictions that differ by {error:.1e} from forward's"


@torch.inference_mode()
def reads_availability(case: Subject) -> bool:
    """Whether a prediction depends on ``batch.available``."""
    model = case.model().eval()
    hidden = model(without_availability(case.samples))
    return not torch.equal(model(case.samples).prediction, hidden.prediction)


PREDICTION_CHECKS: dict[str, Callable[[Subject], Problems]] = {
    "no writing into the batch": check_prediction_writes,
    "shapes": check_shapes,
    "finite predictions": check_finite,
    "determinism": check_repetition,
    "no batch neighbours": check_neighbours,
    "branches equal the whole": check_branches,
}
"""Name -> check, of a model that is not trained here."""


def a_copy(batch: Modalities) -> Modalities:
    """The same samples in memory of their own."""
    return batch.select(torch.arange(len(batch), device=batch.device))


def without_availability(batch: Modalities) -> Modalities:
    """The same samples with nothing said of what is available."""
    return replace(batch, available=torch.zeros_like(batch.available))


def changed(batch: Modalities, other: Modalities) -> list[str]:
    """The names of the tensors in which two batches differ."""
    return [name for name, x in _parts(batch).items() if not torch.equal(x, _parts(other)[name])]


class _Whole(MultimodalModel):
    """The same model without its branches showing."""

    def __init__(self, model: MultimodalModel) -> None:
        torch.nn.Module.__init__(self)
        self.inner = model

    def forward(self, batch: Modalities) -> Output:
        return self.inner(batch)

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Any:
        return self.inner.loss(output, batch, progress)


def _fields(output: Output) -> dict[str, Tensor]:
    return {n: x.detach() for n in FIELDS if (x := getattr(output, n)) is not None}


def _parts(batch: Modalities) -> Mapping[str, Tensor]:
    """Every tensor of a batch, by name."""
    named = {f"{m} features": x for m, x in batch.features.items()}
    named |= {f"{m} mask": x for m, x in batch.masks.items()}
    assert batch.label is not None
    return {**named, "availability": batch.available, "label": batch.label}


def _difference(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative where values exceed 1; infinite where shapes differ."""
    if one.shape != other.shape:
        return math.inf
    return float(((one - other).abs() / one.abs().clamp_min(1.0)).amax())
