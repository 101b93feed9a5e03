"""What a model costs: parameters, operations, latency, throughput, memory (the paper's Table 9)."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterable, Sequence

import torch

from benchmark.data.dataset import Dataset
from benchmark.efficiency.flops import count_flops
from benchmark.efficiency.kept import Efficiency
from benchmark.environment import describe
from benchmark.interface import MultimodalModel
from benchmark.spec import RunSpec
from benchmark.systems import model_name
from protocols.modalities import Modalities

BATCH = 16
SATURATION_PASSES = 10
WARM_UP, PASSES = 10, 100
FEWEST_PASSES = 20
PATIENCE = 10.0
"""Seconds of timed passes after which the fewest are enough."""
LARGEST_BATCH = 8192
LARGEST_SECONDS = 1.0
"""A batch of which one pass takes longer saturates the device too."""
SAMPLES = 256
"""Different samples in the inputs; a larger batch repeats them."""

GAIN = 1.05
"""A doubled batch that gives less than this much more throughput saturates the device."""


def measure(
    model: MultimodalModel,
    dataset: Dataset,
    device: torch.device,
    spec: RunSpec,
    passes: int = PASSES,
) -> Efficiency:
    """Measure a model on a device.

    Args:
        model: on the CPU.
        dataset: whose samples it is given.
        device: where it is timed.
        spec: whose model it is.
        passes: timed passes at the batch of 16; fewer of a slow model, see :data:`PATIENCE`.
    """
    samples = dataset.splits["test"].part(slice(0, SAMPLES)).without_label()
    counted = count_flops(model, _batch(samples, BATCH))
    shares = model.expert_shares()
    parameters = _parameters(model.parameters())
    spared = sum(
        (1 - share) * _parameters(model.get_submodule(m).parameters())
        for m, share in shares.items()
    )
    spared_flops = sum((1 - share) * counted.modules.get(m, 0) for m, share in shares.items())
    model, samples = model.to(device).eval(), samples.to(device)
    seconds, memory = _timed(model, _batch(samples, BATCH), device, passes, FEWEST_PASSES)
    batch, throughput = _saturate(model, samples, device, BATCH / _median(seconds))
    about = describe(device)
    return Efficiency(
        title=spec.title,
        name=model_name(spec.title, spec.source, spec.preset),
        changes=dict(spec.changes or {}),
        identity=spec.identity["model"],
        dataset=dataset.name,
        text_tokens=dataset.spec.lengths["text"],
        device=str(about["device"]),
        threads=torch.get_num_threads(),
        parameters=parameters,
        trainable=_parameters(p for p in model.parameters() if p.requires_grad),
        active=round(parameters - spared),
        flops=counted.total / BATCH,
        sparse_flops=(counted.total - spared_flops) / BATCH,
        latency_ms=1000 * _median(seconds),
        latency_p95_ms=1000 * sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1],
        throughput=BATCH / _median(seconds),
        saturating_batch=batch,
        saturated_throughput=throughput,
        peak_memory_mb=memory,
        passes=len(seconds),
        commit=about.get("commit"),
    )


def _batch(samples: Modalities, size: int) -> Modalities:
    return samples.select(torch.arange(size, device=samples.device) % len(samples))


def _parameters(tensors: Iterable[torch.nn.Parameter]) -> int:
    """Shared ones once."""
    return sum({id(p): p.numel() for p in tensors}.values())


@torch.inference_mode()
def _timed(
    model: MultimodalModel, batch: Modalities, device: torch.device, passes: int, fewest: int
) -> tuple[list[float], float | None]:
    """Seconds of each pass after warm-up, both ends synchronised; peak device memory in MB."""
    on_gpu = device.type == "cuda"

    def seconds_of(passes: int, fewest: int) -> list[float]:
        found: list[float] = []
        while len(found) < passes and (len(found) < fewest or sum(found) < PATIENCE):
            start = time.perf_counter()
            model(batch)
            if on_gpu:
                torch.cuda.synchronize()
            found.append(time.perf_counter() - start)
        return found

    seconds_of(WARM_UP, 2)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    seconds = seconds_of(passes, fewest)
    return seconds, torch.cuda.max_memory_allocated(device) / 1e6 if on_gpu else None


def _saturate(
    model: MultimodalModel, samples: Modalities, device: torch.device, throughput: float
) -> tuple[int, float]:
    """The batch whose double is not worth it, and its samples per second."""
    best, size = (BATCH, throughput), BATCH
    while size < LARGEST_BATCH and size / best[1] < LARGEST_SECONDS:
        size *= 2
        try:
            seconds, _ = _timed(model, _batch(samples, size), device, SATURATION_PASSES, 2)
        except torch.OutOfMemoryError:
            break
        found = size / _median(seconds)
        if found < GAIN * best[1]:
            break
        best = (size, found)
    return best


def _median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds)
