"""How long a run will take: a few of its own batches, timed now on the device it would use."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch

from benchmark.data.dataset import Dataset
from benchmark.environment import compute_with
from benchmark.execution.execute import make_model
from benchmark.execution.executor import Execution
from benchmark.interface import BranchedModel, Progress
from benchmark.predict import batch_size_for, predict
from benchmark.registry import model_class
from benchmark.spec import RunSpec
from protocols.conditions import Condition

PROBE_BATCHES = 3


def estimate_seconds(
    spec: RunSpec, dataset: Dataset, conditions: Sequence[Condition], how: Execution
) -> float:
    """Seconds for training and the prediction table of a run, from a short measurement."""
    training = spec.training
    key = (spec.model, spec.config.model_dump_json(), training.batch_size)
    if key not in _MEASURED:
        compute_with(how.threads)
        _MEASURED[key] = _measure(spec, dataset, training.batch_size, torch.device(how.device))
    per_step, per_sample = _MEASURED[key]
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    steps = math.ceil(sizes["train"] / training.batch_size)
    epoch = steps * per_step + sizes["valid"] * per_sample
    passes = len(conditions)
    if issubclass(model_class(spec.model), BranchedModel):  # its branches run once per level
        passes = len({(c.noise_rule, c.draw, c.intensity, c.joint) for c in conditions})
    return training.epochs * epoch + passes * sizes["test"] * per_sample


_MEASURED: dict[tuple[str, str, int], tuple[float, float]] = {}


def _measure(
    spec: RunSpec, dataset: Dataset, batch_size: int, device: torch.device
) -> tuple[float, float]:
    """(seconds per training step, seconds per predicted sample)."""
    model = make_model(spec, dataset).to(device)
    train = dataset.splits["train"]
    batch = train.part(slice(0, batch_size)).to(device)

    def step() -> None:
        for phase in model.phases():
            model.zero_grad()
            phase.loss(batch, Progress(0, 1, 0, 1))[0].backward()

    model.train()
    size = min(batch_size_for(device), len(train))
    chunk = train.part(slice(0, size)).to(device)
    return (
        _seconds(step, device),
        _seconds(lambda: predict(model, chunk, size), device) / size,
    )


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    action()
    _wait(device)
    start = time.perf_counter()
    for _ in range(PROBE_BATCHES):
        action()
    _wait(device)
    return (time.perf_counter() - start) / PROBE_BATCHES


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
