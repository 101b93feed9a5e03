"""The contract that every model keeps, as checks: each gives its problems, none where it holds.

``benchmark check model NAME`` prints them; the suite's own tests call the same functions. A check
builds the model anew on small data, so that none sees what another left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmark.config import TrainingConfig, build
from benchmark.contract_cases import (
    FIRST,
    LAST,
    Case,
    mixed,
    named,
    stepless,
    total_loss,
    zeroed,
)
from benchmark.contract_predictions import (
    Problems,
    a_copy,
    changed,
    check_branches,
    check_finite,
    check_neighbours,
    check_prediction_writes,
    check_repetition,
    check_shapes,
    reads_availability,
    without_availability,
)
from benchmark.errors import BenchmarkError
from benchmark.interface import MultimodalModel, Progress
from benchmark.strangers import strangers
from protocols.availability import subsets
from protocols.modalities import MODALITIES, Modalities

LARGEST_GRADIENT = 1_000.0
"""Norm at initialisation. Sound models are below 30; a hazard gives 1e6 and more."""


def check_gradients(case: Case) -> Problems:
    """Loss and gradient are finite and small, whichever modalities samples lack, or steps.

    One sample that lost all its modalities may dominate a step's gradient by many orders of
    magnitude while everything is finite.
    """
    samples, alone = case.samples, case.samples.select(slice(1))
    yield from hard_gradients(case)
    one = zeroed(samples, 0, slice(1))
    yield from _gradient_problems(case, one, "where one sample has no modality")
    for mask in subsets(case.spec.present):
        for batch, who in ((samples, "all samples have"), (alone, "the only sample has")):
            yield from _gradient_problems(case, zeroed(batch, mask), f"where {who} {named(mask)}")


def hard_gradients(case: Case) -> Problems:
    """The same at the first step and at the last, on the batches that show most."""
    hard = {
        "where each sample lacks others": mixed(case.samples),
        "where no sample has a real step": stepless(case.samples),
    }
    for where, batch in hard.items():
        yield from _gradient_problems(case, batch, where, (FIRST, LAST))


def _gradient_problems(
    case: Case, batch: Modalities, where: str, times: Sequence[Progress] = (FIRST,)
) -> Problems:
    model = case.model()
    for now in times:  # of one model: the last step sees what the first has left
        model.zero_grad()
        loss = total_loss(model, batch, now)
        loss.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        norm = float(torch.nn.utils.get_total_norm(gradients.values()))
        if not loss.isfinite():
            yield f"the loss is not finite {where}"
        elif not math.isfinite(norm):
            bad = [n for n, g in gradients.items() if not g.isfinite().all()]
            yield f"the gradient of {', '.join(bad[:3])} is not finite {where}"
        elif norm > LARGEST_GRADIENT:
            yield f"the gradient's norm is {norm:.1e} {where}, over {LARGEST_GRADIENT:,.0f}"


def check_writes(case: Case) -> Problems:
    """Neither prediction nor loss writes into the batch, which is others' data too."""
    yield from check_prediction_writes(case)
    batch = a_copy(case.samples)
    total_loss(case.model().train(), batch).backward()
    yield from (f"the loss writes into the batch's {name}" for name in changed(case.samples, batch))


def check_phases(case: Case) -> Problems:
    """Every trainable parameter belongs to a phase: no other is ever trained."""
    model = case.model()
    own = {id(p): name for name, p in model.named_parameters()}
    trained = {id(p) for phase in model.phases() for g in phase.groups for p in g["params"]}
    for name, p in model.named_parameters():
        if p.requires_grad and id(p) not in trained:
            yield f"{name} is in no phase: it is never trained"
    if trained - set(own):
        yield "a phase trains a tensor that is no parameter of the model: no checkpoint keeps it"


def check_reach(case: Case) -> Problems:
    """A gradient reaches every trainable parameter, at the first step or at the last.

    Where the data lack a modality nothing is to learn from it: then this is not asked.
    """
    if len(case.spec.present) < len(MODALITIES):
        return
    model, reached = case.model(), set()
    for now in (FIRST, LAST):  # of one model: the last step sees what the first has left
        model.zero_grad()
        total_loss(model, case.samples, now).backward()
        reached |= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    for name, p in model.named_parameters():
        if p.requires_grad and name not in reached:
            yield f"no gradient reaches {name}"


def check_determinism(case: Case) -> Problems:
    """The same seed gives the same gradient, the same weights the same prediction."""

    def gradients() -> list[Tensor]:
        model = case.model(seed=3)
        total_loss(model, case.samples).backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    if not all(map(torch.equal, gradients(), gradients())):
        yield "two models of one seed have different gradients"
    yield from check_repetition(case)


def check_availability(case: Case) -> Problems:
    """Availability is read only by a method whose card says so (COMMON's fairness rule)."""
    if case.kind.card.reads_availability:
        return
    reads = "depends on batch.available, and the card does not say reads_availability"
    if reads_availability(case):
        yield f"a prediction {reads}"
    hidden = without_availability(case.samples)
    if not torch.equal(*(total_loss(case.model(), batch) for batch in (case.samples, hidden))):
        yield f"the loss {reads}"


CHECKS: dict[str, Callable[[Case], Problems]] = {
    "shapes": check_shapes,
    "finite predictions": check_finite,
    "finite and bounded gradients": check_gradients,
    "no batch neighbours": check_neighbours,
    "no writing into the batch": check_writes,
    "parameters in phases": check_phases,
    "gradients reach all": check_reach,
    "determinism": check_determinism,
    "availability": check_availability,
    "branches equal the whole": check_branches,
}
"""Name -> check; each takes a case and gives its problems."""


def check_declaration(kind: type[MultimodalModel]) -> Problems:
    """Card, settings, presets and search space are there and fit one another."""
    for field in ("title", "citation"):
        if not getattr(kind.card, field):
            yield f"the card has no {field}"
    for name, setting in kind.Config.model_fields.items():
        if not setting.description:
            yield f"setting {name} has no description, which says its source"
    sections: dict[str, type[Any]] = {"model": kind.Config, "training": TrainingConfig}
    wanted: list[tuple[str, str, Mapping[str, Any]]] = []
    for name, preset in kind.presets.items():
        wanted.append((f"preset {name}: model", "model", preset.model))
        wanted.append((f"preset {name}: training", "training", preset.training))
    for key, choices in kind.search_space.items():
        section, _, field = key.partition(".")
        if section in sections:
            wanted += [(f"search space: {section}", section, {field: x}) for x in choices]
        else:
            yield f"search space: {key} is neither model. nor training."
    for where, section, values in wanted:
        try:
            build(sections[section], values, where)
        except BenchmarkError as error:
            yield str(error)


@dataclass(frozen=True)
class Finding:
    """What a check found: its name and its problems, none where it holds."""

    check: str
    problems: tuple[str, ...]


def findings(kind: type[MultimodalModel], tried: Mapping[str, Case]) -> Iterator[Finding]:
    """Every check over every case, one at a time.

    Args:
        kind: the model's class.
        tried: what the data are -> the case.
    """
    yield Finding("declaration", tuple(check_declaration(kind)))
    for name, check in CHECKS.items():
        problems = [
            f"{data}: {problem}" for data, case in tried.items() for problem in _tried(check, case)
        ]
        yield Finding(name, tuple(problems))


def _tried(check: Callable[[Case], Problems], case: Case) -> list[str]:
    """The problems that a check finds; what the model raises is one of them."""
    problems: list[str] = []
    try:
        with strangers(BenchmarkError):
            problems.extend(check(case))  # those that came before stay
    except BenchmarkError as error:
        problems.append(str(error))
    return problems
