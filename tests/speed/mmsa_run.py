"""MMSA's own run, for ``plans_vs_mmsa``: by path, in the interpreter that has the package.

    mmsa_run.py MODEL PACKAGE FOLDER EPOCHS THREADS SEED...

What is changed of the package is what keeps it from running here: a CPU is no CUDA device, the
present torch has no ``verbose`` schedulers, and BERT's states are looked up in the package's
features. Its early stop is replaced by a number of epochs.
"""

from __future__ import annotations

import functools
import pickle
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

WITH_BERT = ("misa", "mmim")


class Features(nn.Module):
    """Stands for the package's BERT: the features of the samples whose places it is given."""

    rows: Tensor

    def __init__(self, **_: object) -> None:
        super().__init__()

    def forward(self, tokens: Tensor) -> Tensor:
        return Features.rows[tokens[:, 0, 0].long()]


class After:
    """Compared once after every epoch: it is enough after so many."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.passed = epochs, 0

    def __le__(self, _: int) -> bool:
        self.passed += 1
        return self.passed % self.epochs == 0


def quietly(kind: type) -> object:
    """A scheduler that may be told to be verbose."""

    @functools.wraps(kind, updated=())
    def make(*arguments: object, verbose: bool = False, **options: object) -> object:
        return kind(*arguments, **options)

    return make


def main() -> None:
    """Run it."""
    model, package, folder, epochs, threads, *seeds = sys.argv[1:]
    torch.set_num_threads(int(threads))
    lr_scheduler.ReduceLROnPlateau = quietly(lr_scheduler.ReduceLROnPlateau)
    torch.cuda.set_device = lambda device: None
    import MMSA

    if model in WITH_BERT:
        data = pickle.loads(Path(package).read_bytes())
        rows = np.concatenate([data[split]["text"] for split in ("train", "valid", "test")])
        Features.rows = torch.from_numpy(rows)
        sys.modules[f"MMSA.models.singleTask.{model.upper()}"].BertTextEncoder = Features
    MMSA.MMSA_run(
        model, "mosi", seeds=[int(seed) for seed in seeds], gpu_ids=[], verbose_level=0,
        config={"featurePath": package, "early_stop": After(int(epochs))},
        model_save_dir=folder, res_save_dir=folder, log_dir=folder,
    )  # fmt: skip


if __name__ == "__main__":
    main()
