"""What training costs on one CPU thread, beside MulT: ``python -m tests.speed.training``.

Random data of MOSI's size, batches of 16, spectrum training: processor seconds of an epoch, worked
out from steps of the run's last epoch (all its phases; some models begin with cheaper ones), and
the most memory that a process of its own had resident while it took them. ``weights`` are
millions of parameters.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from dataclasses import replace

import torch

from benchmark.environment import compute_with
from benchmark.interface import Progress, count_parameters
from benchmark.registry import model_class, model_names
from tests.speed.harness import BATCH, SIZES, mosi_sized, step_of

EPOCHS, STEPS = 30, 12
PATIENCE = 20.0
"""Seconds after which fewer steps are enough."""
YARDSTICK = "mult"


def measure(name: str) -> tuple[float, float, float]:
    """Seconds of an epoch, resident GiB at most, and millions of weights."""
    compute_with(1)
    data = mosi_sized()
    torch.manual_seed(0)
    kind = model_class(name)
    model = kind(kind.Config(), data.spec).train()
    generator = torch.Generator().manual_seed(0)
    steps = -(-SIZES["train"] // BATCH)
    last = Progress(EPOCHS - 1, EPOCHS, 0, steps)
    actions = [step_of(phase, data, generator) for phase in model.phases() if phase.active(last)]
    model.begin_epoch(last)

    def step(number: int) -> float:
        order = torch.arange(number * BATCH, (number + 1) * BATCH)
        start = time.process_time()
        for action in actions:
            action(data.splits["train"].samples.select(order), replace(last, step=number))
        return time.process_time() - start

    found: list[float] = []
    step(0)
    while len(found) < STEPS and sum(found) < PATIENCE:
        found.append(step(len(found) + 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return sum(found) / len(found) * steps, peak, count_parameters(model) / 1e6


def main() -> None:
    """A line per model, each measured in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(model_names()))
    names = parser.parse_args().models.split(",")
    found = {}
    for name in dict.fromkeys((YARDSTICK, *names)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found[name] = pool.apply(measure, (name,))
    print(f"{'model':<12} epoch s  beside MulT    GiB  weights")
    for name in names:
        seconds, peak, weights = found[name]
        print(
            f"{name:<12} {seconds:7.1f} {seconds / found[YARDSTICK][0]:12.2f} "
            f"{peak:6.2f} {weights:8.2f}"
        )


if __name__ == "__main__":
    main()
