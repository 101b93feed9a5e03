"""Where the time of a training run goes on a GPU: ``python -m tests.speed.gpu_run``.

    python -m tests.speed.gpu_run --dataset mosi --data-dir data [--models qamoe,mmim] [--epochs 10]

Seconds of a run without its table: its steps, of these the recording of their graphs, its
validations, and what it waits for the resume states, which are written beside each next epoch. Each
model is trained twice, so that what is done once in a process is in the first line alone. What is
timed waits for the device at both ends.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmark import replay, train
from benchmark.config import TrainingConfig
from benchmark.data.dataset import Dataset
from benchmark.data.registry import load_dataset
from benchmark.environment import compute_with
from benchmark.execution.resume import saving
from benchmark.registry import model_class
from benchmark.train import Callbacks, fit
from protocols.regimes import Regime

PARTS = ("all", "steps", "recording", "validation", "saving")


def timed(call: Callable[..., Any], part: str, spent: Counter[str]) -> Callable[..., Any]:
    """The same call, whose seconds are added to its part."""

    def measured(*args: Any, **kwargs: Any) -> Any:
        torch.cuda.synchronize()
        start = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            torch.cuda.synchronize()
            spent[part] += time.perf_counter() - start  # type: ignore[assignment]

    return measured


def seconds_of(name: str, data: Dataset, epochs: int, spent: Counter[str]) -> list[float]:
    """The seconds of each of :data:`PARTS`."""
    spent.clear()
    kind = model_class(name)
    training = TrainingConfig(epochs=epochs, batch_size=16, select_on="mae")
    with tempfile.TemporaryDirectory() as folder:

        def run() -> None:
            with saving(Path(folder) / "resume.pt", {"run": name}) as save:
                fit(
                    lambda: kind(kind.Config(), data.spec), data.training_data(), training,
                    Regime(kind="spectrum"), 1,
                    Callbacks(lambda *_: None, lambda *_: None, timed(save, "saving", spent)),
                )  # fmt: skip

        timed(run, "all", spent)()
    return [float(spent[part]) for part in PARTS]


def main() -> None:
    """Two lines per model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--models", default="qamoe,mmim")
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    compute_with(1)
    spent: Counter[str] = Counter()
    for owner, method, part in (
        (train._Loop, "_run_phase", "steps"),
        (replay.Replayed, "_record", "recording"),
        (train._Loop, "_validate", "validation"),
    ):
        setattr(owner, method, timed(getattr(owner, method), part, spent))
    data = load_dataset(given.dataset, given.data_dir).without_test().to("cuda")
    print(f"{'model':<12}" + "".join(f"{part:>12}" for part in PARTS))
    for name in given.models.split(","):
        for _ in range(2):
            found = seconds_of(name, data, given.epochs, spent)
            print(f"{name:<12}" + "".join(f"{one:12.2f}" for one in found), flush=True)


if __name__ == "__main__":
    main()
