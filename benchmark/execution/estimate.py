"""How long a run will take: a few of its own batches, timed now on the device it would use."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from multiprocessing.connection import Connection

import torch

from benchmark.data.dataset import Dataset, Split
from benchmark.environment import compute_with
from benchmark.execution.execute import make_model
from benchmark.execution.executor import Execution, load_placed
from benchmark.execution.timeleft import Cost, mean_cost
from benchmark.interface import BranchedModel, Phase, Progress
from benchmark.optimizers import make_optimizer
from benchmark.plan import Planned
from benchmark.predict import batch_size_for, fill_table, level_key, predict
from benchmark.registry import model_class
from benchmark.spec import RunSpec
from protocols.availability import mask_of, subsets
from protocols.conditions import Condition
from protocols.degradation import degrade
from protocols.draws import NO_NOISE
from protocols.missing import as_bools

PROBES = 3
"""How often an action is timed; the least disturbed time counts."""
PATIENCE = 60.0
"""Seconds that the few batches of a run may take; it may be of a model that never ends."""
SLOW = 5.0
"""Seconds from which on an action is timed once, its warming up included."""
LEVEL_SHARE = 0.25
"""What a further level costs at least of the first: differences of short times are noisy."""


def estimate(
    spec: RunSpec, dataset: Dataset, conditions: Sequence[Condition], how: Execution
) -> Cost:
    """What training and the prediction table of a run should take, from a short measurement."""
    compute_with(how.threads)
    training, device = spec.trainer, torch.device(how.device)
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    steps = math.ceil(sizes["train"] / training.batch_size)
    whole = mask_of(dataset.spec.present)
    missing = spec.regime.kind in ("spectrum", "missing")
    valid = tuple(subsets(dataset.spec.present)) if missing else (whole,)
    validation = training.epochs * sizes["valid"]
    return Cost(
        training=steps * _training_seconds(spec, dataset, device)
        + validation * _seconds_a_sample(spec, dataset, valid, device),
        table=sizes["test"] * _table_seconds(spec, dataset, conditions, device),
    )


def estimates(
    todo: Sequence[Planned], how: Execution, patience: float = math.inf
) -> list[Cost | None]:
    """:func:`timed`, in a process of its own: a model may end it, and fails in its run alone."""
    from benchmark.execution.processes import start_process

    channel, process = start_process(_measure, list(todo), how, patience)
    found: list[Cost | None] = []
    with suppress(EOFError, OSError):
        while len(found) < len(todo) and channel.poll(PATIENCE):
            found.append(channel.recv())
    process.kill()
    process.join()
    return found + [None] * (len(todo) - len(found))


def _measure(channel: Connection, todo: Sequence[Planned], how: Execution, patience: float) -> None:
    for cost in timed(todo, load_placed(how), how, patience):
        channel.send(cost)


def timed(
    todo: Sequence[Planned], dataset: Dataset, how: Execution, patience: float = math.inf
) -> Iterator[Cost | None]:
    """What each run should take; None where its model raises, whatever it raises.

    What the seeds of a system share is timed once.

    Args:
        todo: the runs.
        dataset: their data.
        how: on which device, with how many threads.
        patience: seconds after which one system of each model is timed and no more: the others are
            taken for what those of their model cost on average.
    """
    begun = time.monotonic()
    found: dict[tuple[str, str, int], Cost | None] = {}
    of_model: dict[str, list[Cost]] = {}
    for planned in todo:
        spec = planned.spec
        # Runs that are asked the same share their conditions, which are long to compare.
        kind = spec.model, spec.apart_from(), id(planned.conditions)
        if kind not in found:
            known = of_model.setdefault(spec.model, [])
            if known and time.monotonic() - begun > patience:
                found[kind] = mean_cost(known)
            else:
                found[kind] = cost = estimate_or_none(planned, dataset, how)
                known += [cost] if cost else []
        yield found[kind]


def estimate_or_none(planned: Planned, data: Dataset, how: Execution) -> Cost | None:
    """The estimate of a run; None where its model raises, whatever it raises."""
    try:
        return estimate(planned.spec, data, planned.conditions, how)
    except BaseException:  # noqa: BLE001 — the run itself will tell of it, and no other is harmed
        return None


def in_words(seconds: float) -> str:
    """For people: "40 s", "12 min", "3.5 h"; nothing takes less than a second."""
    if seconds < 100:
        return f"{max(1.0, seconds):.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


_MEASURED: dict[tuple[object, ...], float] = {}


def _measured(key: tuple[object, ...], measure: Callable[[], float]) -> float:
    if key not in _MEASURED:
        _MEASURED[key] = measure()
    return _MEASURED[key]


def _training_seconds(spec: RunSpec, dataset: Dataset, device: torch.device) -> float:
    """Seconds of all epochs if each had one step, without validation."""
    model = make_model(spec, dataset).to(device)
    size, epochs = spec.trainer.batch_size, spec.trainer.epochs
    now = Progress(0, epochs, 0, 1)

    def seconds_of(phase: Phase) -> float:
        batch = dataset.splits["train"].part(slice(0, size)).to(device).as_float32()
        clean = {"clean": batch} if phase.needs_clean else {}
        optimizer = make_optimizer(phase, spec.trainer)

        def step() -> None:
            optimizer.zero_grad()
            phase.loss(batch, now, **clean)[0].backward()
            optimizer.step()

        model.train()
        return _seconds(step, device)

    total = 0.0
    for phase in model.phases():
        active = sum(phase.active(Progress(epoch, epochs, 0, 1)) for epoch in range(epochs))
        key = (spec.model, spec.config.model_dump_json(), size, phase.name)
        if active:
            total += active * _measured(key, lambda phase=phase: seconds_of(phase))  # type: ignore[misc]
    return total


def _table_seconds(
    spec: RunSpec, dataset: Dataset, conditions: Sequence[Condition], device: torch.device
) -> float:
    """Seconds of all the rows of a sample. Parts of a branched model run once for several rows."""
    if not issubclass(model_class(spec.model), BranchedModel):
        masks = tuple(c.mask for c in conditions)
        return len(masks) * _seconds_a_sample(spec, dataset, masks, device)
    levels = [tuple(c.mask for c in level) for _, level in groupby(conditions, key=level_key)]
    return sum(_level_seconds(spec, dataset, masks, device) for masks in levels)


def _level_seconds(
    spec: RunSpec, dataset: Dataset, masks: tuple[int, ...], device: torch.device
) -> float:
    """Seconds of a further level's rows of a sample: what is zero is known by then."""

    def measure() -> float:
        model, train = make_model(spec, dataset).to(device), dataset.splits["train"]
        rows = slice(0, min(batch_size_for(device), len(train)))
        chunk = Split(train.sample_ids[rows], train.part(rows))
        few = replace(dataset, splits={"train": chunk}).to(device)

        def seconds_of(*levels: float) -> float:
            asked = [Condition("seed_a1", 0, x, "", mask) for x in levels for mask in masks]
            split = few.splits["train"]
            return _seconds(
                lambda: fill_table(model, split, few.spec, few.sigma_ref, asked), device
            )

        one = seconds_of(0.1)
        return max(LEVEL_SHARE * one, seconds_of(0.1, 0.2) - one) / len(chunk)

    return _measured((spec.model, spec.config.model_dump_json(), "level", masks), measure)


def _seconds_a_sample(
    spec: RunSpec, dataset: Dataset, masks: tuple[int, ...], device: torch.device
) -> float:
    """Seconds to predict a sample, on average over these availability masks.

    What is missing matters: a method that recovers it has nothing to do for a complete sample.
    """

    def measure() -> float:
        model, train = make_model(spec, dataset).to(device), dataset.splits["train"]
        size = min(batch_size_for(device), len(train))
        spread = [as_bools(masks[row * len(masks) // size]) for row in range(size)]
        chunk = train.part(slice(0, size)).to(device).as_float32()
        chunk = degrade(chunk, 0.0, torch.stack(spread).to(device), NO_NOISE, {})
        return _seconds(lambda: predict(model, chunk, size), device) / size

    if not masks:
        return 0.0
    return _measured((spec.model, spec.config.model_dump_json(), masks), measure)


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    """Of the least disturbed of some tries, the first left out: it warms up.

    On a CPU with one thread the processor's seconds count, so that other work on the machine does
    not make one model look dearer than another.
    """
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter

    def run() -> float:
        start = clock()
        action()
        _wait(device)
        return clock() - start

    first = run()
    return first if first > SLOW else min(run() for _ in range(PROBES))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
