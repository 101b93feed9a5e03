"""Carry out a plan: one run after another here, or several at a time in worker processes.

On a CPU the default is one run per core with one thread each: that does more runs per hour than
all cores on one run, and a run's numbers then depend neither on the number of cores nor on what
else is in the plan. One failing run never ends the plan.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Literal

import torch

from benchmark.data.dataset import Dataset
from benchmark.data.registry import load_dataset
from benchmark.events import Event, Listener
from benchmark.execute import Outcome, execute
from benchmark.plan import Planned
from benchmark.records import ERROR, RunStore

Result = Outcome | Literal["failed"]


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
    """

    dataset: str
    data_dir: Path | None
    runs_dir: Path
    device: str
    workers: int
    threads: int = 1


def default_workers(device: torch.device) -> int:
    """One run per available core on a CPU, one run on a GPU."""
    return available_cores() if device.type == "cpu" else 1


def available_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_plan(plan: Sequence[Planned], how: Execution, listen: Listener) -> dict[str, Result]:
    """Do every run; what another process is doing comes last, and is waited for.

    Returns:
        run id -> what became of it.
    """
    workers = min(how.workers, len(plan))
    if workers <= 1:
        return _run_here(plan, how, listen)
    return _Pool(how, listen, workers).run(plan)


def attempt(
    planned: Planned,
    dataset: Dataset,
    store: RunStore,
    listen: Listener,
    wait_for_others: bool,
) -> Result:
    """Do one run; a failure is written down beside the run and told, not raised."""
    spec = planned.spec
    try:
        return execute(spec, dataset, planned.conditions, store, listen, wait_for_others)
    except Exception as error:  # noqa: BLE001 - whatever a model raises must not end the plan
        folder = store.partial(spec.run_id)
        with contextlib.suppress(OSError):  # a full disk: the event below still tells
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ERROR).write_text(traceback.format_exc())
        message = f"{type(error).__name__}: {error}"
        listen(Event(spec.run_id, "failed", message=message))
        return "failed"


def _run_here(plan: Sequence[Planned], how: Execution, listen: Listener) -> dict[str, Result]:
    torch.set_num_threads(how.threads)
    dataset = load_dataset(how.dataset, how.data_dir).to(how.device)
    store = RunStore(how.runs_dir)
    results = {p.spec.run_id: attempt(p, dataset, store, listen, False) for p in plan}
    for planned in plan:
        if results[planned.spec.run_id] == "busy":
            results[planned.spec.run_id] = attempt(planned, dataset, store, listen, True)
    return results


Task = tuple[Planned, bool]
"""(run, whether to wait for another process that works on it)"""


def _worker(channel: Connection, how: Execution) -> None:
    """Take runs from the parent until it says None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_die_with_parent, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(how.threads)
    dataset = load_dataset(how.dataset, how.data_dir).to(how.device)
    store = RunStore(how.runs_dir)
    while (task := channel.recv()) is not None:
        planned, wait_for_others = task
        result = attempt(planned, dataset, store, channel.send, wait_for_others)
        channel.send(result)


def _die_with_parent(parent: int) -> None:
    """End this process when its parent is gone, so that a killed plan leaves nothing running."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class _Pool:
    """Worker processes, each with one run at a time; a worker that dies is replaced."""

    def __init__(self, how: Execution, listen: Listener, workers: int) -> None:
        self.how, self.listen = how, listen
        self.context = get_context("spawn")
        self.processes: dict[Connection, BaseProcess] = {}
        self.current: dict[Connection, Task | None] = {}
        self.results: dict[str, Result] = {}
        self.size = workers

    def run(self, plan: Sequence[Planned]) -> dict[str, Result]:
        """Do every run."""
        pending: deque[Task] = deque((planned, False) for planned in plan)
        try:
            while pending or any(self.current.values()):
                self._hand_out(pending)
                for channel in wait(list(self.processes)):
                    assert isinstance(channel, Connection)
                    self._receive(channel, pending)
        finally:
            self._close()
        return self.results

    def _hand_out(self, pending: deque[Task]) -> None:
        while pending:
            idle = next((c for c, task in self.current.items() if task is None), None)
            if idle is None and len(self.processes) >= self.size:
                return
            channel = idle or self._start_worker()
            self.current[channel] = task = pending.popleft()
            channel.send(task)

    def _start_worker(self) -> Connection:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_worker, args=(theirs, self.how), daemon=True)
        process.start()
        theirs.close()  # so that the pipe ends when the worker does
        self.processes[ours], self.current[ours] = process, None
        return ours

    def _receive(self, channel: Connection, pending: deque[Task]) -> None:
        task = self.current[channel]
        try:
            message = channel.recv()
        except EOFError:
            self._bury(channel, task)
            return
        if isinstance(message, Event):
            self.listen(message)
            return
        assert task is not None
        self.current[channel] = None
        if message == "busy":
            pending.append((task[0], True))
        else:
            self.results[task[0].spec.run_id] = message

    def _bury(self, channel: Connection, task: Task | None) -> None:
        process = self.processes.pop(channel)
        process.join()
        del self.current[channel]
        if task is None:
            return
        code = process.exitcode or 0
        reason = f"signal {-code} (out of memory?)" if code < 0 else f"exit code {code}"
        message = f"the worker process of this run ended by {reason}"
        run_id = task[0].spec.run_id
        self.results[run_id] = "failed"
        self.listen(Event(run_id, "failed", message=message))

    def _close(self) -> None:
        for channel, process in self.processes.items():
            if self.current[channel] is None:
                with contextlib.suppress(BrokenPipeError):
                    channel.send(None)
            else:
                process.terminate()  # interrupted: the run goes on from its last epoch next time
        for process in self.processes.values():
            process.join()
