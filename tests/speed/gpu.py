"""What a GPU does with every model at MOSI's size: ``python -m tests.speed.gpu``.

Milliseconds per training step, its kernels launched one by one and replayed as one graph
(benchmark/replay.py), the latter also under torch's bfloat16 autocast, which the suite does not
offer; seconds for the table of 57 conditions x 686 samples, or of the 8 of Protocol I where a
model's answers are dear; and the most memory that all of it took. With ``--written-out`` attention
is products and a softmax, by torch, instead of its fused kernels.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmark.data.dataset import Dataset
from benchmark.environment import compute_with
from benchmark.errors import BenchmarkError
from benchmark.interface import Progress
from benchmark.predict import fill_table
from benchmark.registry import model_class, model_names
from benchmark.replay import Replayed, beside_the_default_stream
from protocols.conditions import conditions_of
from protocols.modalities import MODALITIES, Modalities
from tests.speed.harness import BATCH, mosi_sized, step_of

STEPS, EPOCHS = 30, 20
PATIENCE = 3.0
"""Seconds after which fewer steps are enough."""


def milliseconds(action: Callable[[], object], times: int) -> float:
    """Of one call, the device's work included, after one that is not counted."""
    action()
    torch.cuda.synchronize()
    start, done = time.perf_counter(), 0
    while done < times and time.perf_counter() - start < PATIENCE:
        action()
        done += 1
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / done * 1000


def measure(name: str, data: Dataset) -> list[float]:
    """Launched, replayed and replayed half-precision step (ms), table (s), memory (GiB).

    NaN where a step may not be recorded, or fails in half precision.
    """
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    kind = model_class(name)
    model = kind(kind.Config(), data.spec).cuda().train()
    generator = torch.Generator("cuda").manual_seed(0)
    phase = list(model.phases())[-1]
    step = step_of(phase, data, generator)
    progress = Progress(EPOCHS - 1, EPOCHS, STEPS, STEPS)
    order = torch.arange(BATCH, device="cuda")

    def timed(run: Callable[[Modalities, Progress], None]) -> float:
        samples = data.splits["train"].samples
        with beside_the_default_stream(torch.device("cuda")):
            for _ in range(2):
                run(samples.select(order), progress)
            return milliseconds(lambda: run(samples.select(order), progress), STEPS)

    launched = timed(step)
    replayed = timed(Replayed(step, generator)) if kind.recordable else math.nan
    rows = ("I",) if kind.card.dear else ("grid",)
    conditions = conditions_of(rows, MODALITIES, ("seed_a1",), 1, "uniform_0.7")
    table = milliseconds(
        lambda: fill_table(
            model.eval(), data.splits["test"], data.spec, data.sigma_ref, conditions
        ),
        1,
    )
    memory = torch.cuda.max_memory_allocated() / 2**30
    half = math.nan
    if kind.recordable:
        model.train()
        # weights cast within a recorded step must not be kept beyond it
        cast = partial(torch.autocast, "cuda", torch.bfloat16, cache_enabled=False)
        with contextlib.suppress(RuntimeError, BenchmarkError):  # some mix widths by hand
            half = timed(Replayed(step_of(phase, data, generator, cast), generator))
    return [launched, replayed, half, table / 1000, memory]


def main() -> None:
    """Print a line per model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--written-out", action="store_true")
    parser.add_argument("--models", default=",".join(model_names()))
    given = parser.parse_args()
    compute_with(1)
    data = mosi_sized().to("cuda")
    print(torch.cuda.get_device_name())
    print(f"{'model':<12} launched ms  replayed ms  factor   half ms  table s      GiB")
    for name in given.models.split(","):
        with sdpa_kernel(SDPBackend.MATH) if given.written_out else contextlib.nullcontext():
            launched, replayed, half, table, memory = measure(name, data)
        print(
            f"{name:<12} {launched:11.2f} {replayed:12.2f} {launched / replayed:7.1f} "
            f"{half:9.2f} {table:8.2f} {memory:8.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
