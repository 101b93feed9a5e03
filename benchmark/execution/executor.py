"""Carry out a plan: runs are taken from a supply and given to workers, here or on a cluster.

On a CPU the default is one run per core with one thread each: that does more runs per hour than
all cores on one run, and a run's numbers then depend neither on the number of cores nor on what
else is in the plan. One failing run never ends the plan.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from benchmark.data.dataset import Dataset
from benchmark.data.registry import load_dataset
from benchmark.execution.events import Event, Listener
from benchmark.execution.execute import Outcome, Stopped
from benchmark.execution.timeleft import Cost
from benchmark.plan import Planned
from benchmark.spec import RunSpec


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what each run is given of it.

    Attributes:
        address: "auto" for the one that this machine belongs to, or HOST:PORT; None for one of
            this machine alone, which ends with the plan.
        cpus, gpus: per run; a run on 0.25 of a GPU shares it with three others.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0


@dataclass(frozen=True)
class Execution:
    """How to carry out a plan; none of it changes a run's identity.

    Attributes:
        dataset: name of the data set.
        data_dir: where imported data sets are.
        runs_dir: where records go.
        device: the torch device, as a string.
        workers: runs at a time.
        threads: CPU threads per run. Another number can change the last bits of the results.
        test: whether the runs are given the test split; a search's are not.
        cluster: where the runs are done; None for processes of this machine.
    """

    dataset: str
    data_dir: Path | None
    runs_dir: Path
    device: str
    workers: int
    threads: int = 1
    test: bool = True
    cluster: Cluster | None = None


def default_workers(device: torch.device) -> int:
    """One run per available core on a CPU, one run on a GPU."""
    return available_cores() if device.type == "cpu" else 1


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_placed(how: Execution) -> Dataset:
    """The data set of a plan on the device that its runs use."""
    dataset = load_dataset(how.dataset, how.data_dir)
    return (dataset if how.test else dataset.without_test()).to(how.device)


class Job(NamedTuple):
    """What a worker is asked to do: a run, and whether to wait for another process that has it."""

    planned: Planned
    wait_for_others: bool

    @property
    def run_id(self) -> str:
        """The run."""
        return self.planned.spec.run_id


Message = Event | Outcome
"""What is heard of a run: how it goes, and at last what became of it."""


class Supply(Protocol):
    """Where the runs to do come from."""

    def take(self) -> Planned | None:
        """The next run; None where there is none. Asked again after every run that ends."""

    def ended(self, spec: RunSpec, outcome: Outcome) -> None:
        """What became of a run."""


class Workers(Protocol):
    """Who does the runs. Of a run that is lost with its worker it is heard that it failed."""

    def have_room(self) -> bool:
        """Whether one more run can be begun."""

    def begin(self, job: Job) -> None:
        """Begin a run."""

    def hear(self) -> Iterable[tuple[str, Message]]:
        """What there is to hear: (run id, message). May wait for the first of them."""

    def stop(self, run_id: str) -> None:
        """Stop the run that has just told of an epoch: that epoch is its last."""

    def close(self) -> None:
        """No more runs. One under way is cut short: it goes on from its last epoch next time."""


@dataclass(frozen=True)
class Forecast:
    """What a plan would take.

    Attributes:
        costs: of each run; None where it cannot be timed.
        at_a_time: how many runs there is room for.
        where: in words.
    """

    costs: list[Cost | None]
    at_a_time: int
    where: str


class _Listed:
    """The runs of a plan, in its order."""

    def __init__(self, plan: Sequence[Planned]) -> None:
        self.pending = deque(plan)
        self.results: dict[str, Outcome] = {}

    def take(self) -> Planned | None:
        return self.pending.popleft() if self.pending else None

    def ended(self, spec: RunSpec, outcome: Outcome) -> None:
        self.results[spec.run_id] = outcome


def run_plan(plan: Sequence[Planned], how: Execution, listen: Listener) -> dict[str, Outcome]:
    """Do every run; what another process is doing comes last, and is waited for.

    Returns:
        run id -> what became of it.
    """
    listed = _Listed(plan)
    run_supply(listed, replace(how, workers=min(how.workers, len(plan))), listen)
    return listed.results


def run_supply(supply: Supply, how: Execution, listen: Listener) -> None:
    """Do the runs of a supply until it has none and all are done."""
    running: dict[str, Job] = {}
    busy: deque[Planned] = deque()

    def next_job() -> Job | None:
        if planned := supply.take():
            return Job(planned, False)
        return Job(busy.popleft(), True) if busy else None

    with contextlib.closing(_workers(how)) as workers:
        while True:
            while workers.have_room() and (job := next_job()):
                running[job.run_id] = job
                workers.begin(job)
            if not running:
                return
            for run_id, message in workers.hear():
                if isinstance(message, Event):
                    try:
                        listen(message)
                    except Stopped:
                        workers.stop(run_id)
                    continue
                planned = running.pop(run_id).planned
                if message == "busy":
                    busy.append(planned)
                else:
                    supply.ended(planned.spec, message)


def _workers(how: Execution) -> Workers:
    if how.cluster is None:
        from benchmark.execution.pool import Pool

        return Pool(how)
    from benchmark.execution.cluster import RayWorkers

    return RayWorkers(how, how.cluster)


def forecast(todo: Sequence[Planned], how: Execution) -> Forecast:
    """How long runs would take, timed now on a few batches of each model where they would be."""
    from benchmark.execution.estimate import estimates

    if how.cluster is None:
        return Forecast(estimates(todo, how), how.workers, how.device)
    from benchmark.execution import cluster

    return cluster.forecast(todo, how, how.cluster)
