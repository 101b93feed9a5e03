"""Carry out a plan: in worker processes, each with one run at a time.

On a CPU the default is one run per core with one thread each: that does more runs per hour than
all cores on one run, and a run's numbers then depend neither on the number of cores nor on what
else is in the plan. One failing run never ends the plan, not even by taking its process along:
a single worker is a process of its own too, which costs a plan its start (about 3 s).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from benchmark.data.dataset import Dataset
from benchmark.data.registry import load_dataset
from benchmark.environment import compute_with
from benchmark.execution.attempt import attempt, write_down
from benchmark.execution.events import Event, Listener
from benchmark.execution.execute import Outcome, Stopped
from benchmark.plan import Planned
from benchmark.records import RunStore
from benchmark.spec import RunSpec


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
    """

    dataset: str
    data_dir: Path | None
    runs_dir: Path
    device: str
    workers: int
    threads: int = 1
    test: bool = True


def default_workers(device: torch.device) -> int:
    """One run per available core on a CPU, one run on a GPU."""
    return available_cores() if device.type == "cpu" else 1


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Supply(Protocol):
    """Where the runs to do come from."""

    def take(self) -> Planned | None:
        """The next run; None where there is none. Asked again after every run that ends."""

    def ended(self, spec: RunSpec, outcome: Outcome) -> None:
        """What became of a run."""


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
    _Pool(how, listen).run(supply)


def _load(how: Execution) -> Dataset:
    dataset = load_dataset(how.dataset, how.data_dir)
    return (dataset if how.test else dataset.without_test()).to(how.device)


class Job(NamedTuple):
    """What a worker is asked to do: a run, and whether to wait for another process that has it."""

    planned: Planned
    wait_for_others: bool


_GO_ON, _STOP = "go on", "stop"
"""What a worker is told after each epoch."""
_PATIENCE = 5.0
"""Seconds that a worker has to end."""


def _worker(channel: Connection, how: Execution) -> None:
    """Take runs from the parent until it says None."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    compute_with(how.threads)
    load = lru_cache(lambda: _load(how))
    store = RunStore(how.runs_dir)

    def tell(event: Event) -> None:
        try:
            channel.send(event)
            answer = channel.recv() if event.kind == "epoch" else _GO_ON
        except (EOFError, OSError):  # the parent is gone, which is no failure of the run
            os._exit(1)
        if answer == _STOP:
            raise Stopped

    while (job := channel.recv()) is not None:
        channel.send(attempt(job.planned, load, store, tell, job.wait_for_others))


def _die_with_parent() -> None:
    """End this process when its parent is gone, so that a killed plan leaves nothing running."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Pool:
    """Worker processes, each with one run at a time; a worker that dies is replaced."""

    def __init__(self, how: Execution, listen: Listener) -> None:
        self.how, self.listen = how, listen
        self.store = RunStore(how.runs_dir)
        # Of a server that has imported what they need, workers are cheap to start and to replace.
        linux = sys.platform == "linux"
        self.context = get_context("forkserver") if linux else get_context("spawn")
        self.context.set_forkserver_preload([__name__])
        self.processes: dict[Connection, BaseProcess] = {}
        self.current: dict[Connection, Job | None] = {}
        self.busy: deque[Planned] = deque()

    def run(self, supply: Supply) -> None:
        """Do every run of the supply."""
        try:
            self._hand_out(supply)
            while any(self.current.values()):
                for channel in wait(list(self.processes)):
                    assert isinstance(channel, Connection)
                    self._receive(channel, supply)
                self._hand_out(supply)
        finally:
            self._close()

    def _hand_out(self, supply: Supply) -> None:
        while True:
            idle = next((c for c, job in self.current.items() if job is None), None)
            if idle is None and len(self.processes) >= self.how.workers:
                return
            planned = supply.take()
            if planned is None and not self.busy:
                return
            job = Job(planned, False) if planned else Job(self.busy.popleft(), True)
            channel = idle or self._start_worker()
            self.current[channel] = job
            _send(channel, job)

    def _start_worker(self) -> Connection:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_worker, args=(theirs, self.how), daemon=True)
        with _without_interrupts():
            process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self.processes[ours], self.current[ours] = process, None
        return ours

    def _receive(self, channel: Connection, supply: Supply) -> None:
        job = self.current[channel]
        try:
            message = channel.recv()
        except (EOFError, OSError):  # OSError: it died before it read what it was sent
            self._bury(channel, job, supply)
            return
        if isinstance(message, Event):
            answer = _GO_ON
            try:
                self.listen(message)
            except Stopped:
                answer = _STOP
            if message.kind == "epoch":
                _send(channel, answer)
            return
        assert job is not None
        self.current[channel] = None
        if message == "busy":
            self.busy.append(job.planned)
        else:
            supply.ended(job.planned.spec, message)
        if message == "failed" and self.how.device != "cpu":
            self.processes[channel].kill()  # an error of the device spoils its process for good
            self._bury(channel, None, supply)

    def _bury(self, channel: Connection, job: Job | None, supply: Supply) -> None:
        process = self.processes.pop(channel)
        process.join()
        del self.current[channel]
        if job is None:
            return
        code, spec = process.exitcode or 0, job.planned.spec
        reason = f"exit code {code}"
        if code < 0:
            why = "out of memory?" if code == -signal.SIGKILL else signal.strsignal(-code)
            reason = f"signal {-code} ({why})"
        message = f"the worker process of this run ended by {reason}"
        write_down(spec, self.store, message, message, self.listen)
        supply.ended(spec, "failed")

    def _close(self) -> None:
        for channel, process in self.processes.items():
            if self.current[channel] is None:
                _send(channel, None)
            else:
                process.terminate()  # interrupted: the run goes on from its last epoch next time
        for process in self.processes.values():
            process.join(_PATIENCE)
            process.kill()  # one whose model does not let it end
            process.join()


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started meanwhile never sees Ctrl-C: the parent decides what an interrupt means."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _send(channel: Connection, message: Job | str | None) -> None:
    """Tell a worker something; that it is dead is found out when its pipe is read."""
    with contextlib.suppress(OSError):
        channel.send(message)
