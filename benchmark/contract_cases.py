"""What a model is tried on when its contract is checked: small samples of every kind of data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmark.data.dataset import Dataset
from benchmark.data.small import make_batch, make_spec
from benchmark.interface import DataSpec, ModelConfig, MultimodalModel, Progress
from protocols.availability import MASK_COUNT, contains
from protocols.missing import as_bools
from protocols.modalities import MODALITIES, Modalities

SAMPLES = 15
"""Odd: the signs of an absolute error's gradient then never cancel exactly."""
FIRST, LAST = Progress(0, 2, 1, 4), Progress(1, 2, 3, 4)


@dataclass(frozen=True)
class Case:
    """A model with its settings, on data of one shape.

    Attributes:
        kind: the model's class.
        config: its settings.
        spec: what it is told of the data.
        samples: B labelled clean samples.
    """

    kind: type[MultimodalModel]
    config: ModelConfig
    spec: DataSpec
    samples: Modalities

    def model(self, seed: int = 0) -> MultimodalModel:
        """A new model; torch's generator goes on from the same seed."""
        torch.default_generator.manual_seed(seed)  # a look at each kind of device takes longer
        return self.kind(self.config, self.spec)


def cases(kind: type[MultimodalModel], config: ModelConfig) -> dict[str, Case]:
    """The kinds of data that a model must take: both tasks, and a set without each modality."""
    specs = {"sentiment": make_spec(), "4 classes": make_spec("classification", 4)}
    for absent in MODALITIES:
        present = tuple(m for m in MODALITIES if m != absent)
        specs[f"no {absent}"] = make_spec(present=present)
    return {
        name: Case(kind, config, spec, make_batch(SAMPLES, spec)) for name, spec in specs.items()
    }


def case_on(kind: type[MultimodalModel], config: ModelConfig, data: Dataset) -> Case:
    """A model on the first training samples of a data set."""
    return Case(kind, config, data.spec, data.splits["train"].part(slice(SAMPLES)))


def total_loss(model: MultimodalModel, batch: Modalities, now: Progress = FIRST) -> Tensor:
    """The sum of all phases' losses, active or not."""
    losses = [
        phase.loss(batch, now, **({"clean": batch} if phase.needs_clean else {}))[0]
        for phase in model.phases()
    ]
    return torch.stack(losses).sum()


def zeroed(batch: Modalities, mask: int, rows: slice = slice(None)) -> Modalities:
    """The batch whose samples ``rows`` have only the modalities of the bit mask."""
    available = batch.available.clone()
    available[rows] &= as_bools(mask).to(batch.device)
    features = {
        m: x.masked_fill(~available[:, position, None, None], 0.0)
        for position, (m, x) in enumerate(batch.features.items())
    }
    return replace(batch, features=features, available=available)


def mixed(batch: Modalities) -> Modalities:
    """The batch with samples that have, in turn, each subset of the modalities."""
    for row in range(len(batch)):
        batch = zeroed(batch, row % MASK_COUNT, slice(row, row + 1))
    return batch


def stepless(batch: Modalities) -> Modalities:
    """The batch whose samples have no modality and no real step: everything is padding."""
    nothing = {m: torch.zeros_like(mask) for m, mask in batch.masks.items()}
    return replace(zeroed(batch, 0), masks=nothing)


def named(mask: int) -> str:
    """The modalities of a bit mask, in words."""
    names = [m for m in MODALITIES if contains(mask, m)]
    return f"only {', '.join(names)}" if names else "no modality"
