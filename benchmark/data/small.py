"""Small random samples of any shape of data: what a model can be tried on in a moment."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.interface import DataSpec
from protocols.modalities import MODALITIES, Modalities, Modality, Task

WIDTHS: dict[Modality, int] = {"text": 12, "audio": 5, "vision": 7}
LENGTHS: dict[Modality, int] = {"text": 6, "audio": 9, "vision": 4}


def make_spec(
    task: Task = "regression",
    classes: int = 1,
    present: tuple[Modality, ...] = MODALITIES,
) -> DataSpec:
    """Data of different widths and lengths; one step of width 1 stands for an absent modality."""
    return DataSpec(
        {m: WIDTHS[m] if m in present else 1 for m in MODALITIES},
        {m: LENGTHS[m] if m in present else 1 for m in MODALITIES},
        present,
        task,
        classes if task == "classification" else 1,
    )


def make_batch(size: int, spec: DataSpec | None = None, seed: int = 0) -> Modalities:
    """Right-padded sequences of random lengths; the label depends on all modalities."""
    spec = spec or make_spec()
    generator = torch.Generator().manual_seed(seed)
    features: dict[Modality, Tensor] = {}
    masks: dict[Modality, Tensor] = {}
    signal = torch.zeros(size)
    for m in MODALITIES:
        shape = (size, spec.lengths[m], spec.widths[m])
        if m not in spec.present:
            features[m] = torch.zeros(shape)
            masks[m] = torch.zeros(shape[:2], dtype=torch.bool)
            continue
        lengths = torch.randint(2, spec.lengths[m] + 1, (size, 1), generator=generator)
        masks[m] = torch.arange(spec.lengths[m]) < lengths
        features[m] = torch.randn(shape, generator=generator) * masks[m][..., None]
        signal += features[m].sum(dim=(1, 2)) / lengths[:, 0]
    label = (signal / 2).clamp(-3, 3)
    if spec.task == "classification":
        label = torch.bucketize(signal, torch.linspace(-3, 3, spec.classes - 1)).long()
    available = torch.tensor([[m in spec.present for m in MODALITIES]]).expand(size, 3)
    return Modalities(features, masks, available.clone(), label)
