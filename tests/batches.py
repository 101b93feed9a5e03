"""Small random batches and data sets for tests."""

from __future__ import annotations

import torch

from benchmark.contract_cases import zeroed
from benchmark.data.dataset import Dataset, Split
from benchmark.data.small import LENGTHS, WIDTHS, make_batch, make_spec
from protocols.modalities import MODALITIES, Modalities, Modality, Task

__all__ = ["LENGTHS", "WIDTHS", "make_batch", "make_dataset", "make_spec", "with_zeroed"]


def make_dataset(
    sizes: tuple[int, int, int] = (48, 16, 20),
    task: Task = "regression",
    classes: int = 3,
    present: tuple[Modality, ...] = MODALITIES,
) -> Dataset:
    spec = make_spec(task, classes, present)
    splits = {
        name: Split(
            tuple(f"{name}${i}" for i in range(size)), make_batch(size, spec, seed=position)
        )
        for position, (name, size) in enumerate(zip(("train", "valid", "test"), sizes, strict=True))
    }
    return Dataset("toy", "0" * 64, spec, splits, {m: torch.tensor(1.0) for m in MODALITIES})


def with_zeroed(batch: Modalities, mask: int) -> Modalities:
    """The batch with only the modalities of the bit mask available."""
    return zeroed(batch, mask)
