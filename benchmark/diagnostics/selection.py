"""The test predictions of every epoch: what selecting on the test split would be worth.

The trainer is not given the test split. It tells a watcher when an epoch is over, and the watcher,
which has the split, looks at a copy of the model with random numbers of its own: nothing that the
training, the selection or the record is made of can depend on what it sees.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmark.data.dataset import Split
from benchmark.diagnostics.kept import path_of, write
from benchmark.interface import MultimodalModel
from benchmark.predict import batch_size_for, predict

if TYPE_CHECKING:
    import pandas as pd


class Watcher:
    """Keeps what a model predicts for the clean test split, epoch by epoch."""

    def __init__(self, test: Split) -> None:
        self.test = test
        self.predictions: dict[int, np.ndarray] = {}

    def __call__(self, epoch: int, model: MultimodalModel) -> None:
        """Look at the model after so many epochs."""
        device = self.test.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            own = copy.deepcopy(model)
            found = predict(own, self.test.samples, batch_size_for(device)).prediction
        self.predictions[epoch] = found.float().cpu().numpy()

    def saw(self, epochs: int) -> bool:
        """Whether it saw every epoch: not where a training went on from a stored state."""
        return set(self.predictions) == set(range(1, epochs + 1))

    def save(self, runs_dir: Path, run_id: str, history: pd.DataFrame) -> None:
        """Write the trace; ``history`` is the training's, whose selection is over."""
        label = self.test.samples.label
        assert label is not None
        arrays = {
            "prediction": np.stack([self.predictions[e] for e in sorted(self.predictions)]),
            "label": label.cpu().numpy().astype(np.float64),
            "selected": np.array(int(np.flatnonzero(history["best"].to_numpy())[-1])),
        }
        write(path_of(runs_dir, run_id, "selection"), run_id, arrays)
