"""Worker processes of this machine, each with one run at a time.

One failing run never ends the plan, not even by taking its process along: a single worker is a
process of its own too, which costs a plan its start (about 3 s).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from benchmark.environment import compute_with
from benchmark.execution.attempt import attempt, write_down
from benchmark.execution.events import Event
from benchmark.execution.execute import Stopped
from benchmark.execution.executor import Execution, Job, Message, load_placed
from benchmark.execution.processes import start_process
from benchmark.records import RunStore

_GO_ON, _STOP = "go on", "stop"
"""What a worker is told after each epoch."""
_PATIENCE = 5.0
"""Seconds that a worker has to end."""


def _worker(channel: Connection, how: Execution) -> None:
    """Take runs from the parent until it says None."""
    compute_with(how.threads)
    load = lru_cache(lambda: load_placed(how))
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


class Pool:
    """Worker processes; one that dies is replaced."""

    def __init__(self, how: Execution) -> None:
        """Nothing is started yet."""
        self.how = how
        self.processes: dict[Connection, BaseProcess] = {}
        self.current: dict[Connection, Job] = {}
        self.stopping = ""

    def have_room(self) -> bool:
        """Whether fewer runs are under way than may be."""
        return len(self.current) < self.how.workers

    def begin(self, job: Job) -> None:
        """Give a run to an idle worker, or to a new one."""
        idle = next((c for c in self.processes if c not in self.current), None)
        channel = idle or self._start_worker()
        self.current[channel] = job
        _send(channel, job)

    def _start_worker(self) -> Connection:
        channel, process = start_process(_worker, self.how)
        self.processes[channel] = process
        return channel

    def hear(self) -> Iterator[tuple[str, Message]]:
        """One message of each worker that has something to say; waits for the first."""
        for channel in wait(list(self.processes)):
            assert isinstance(channel, Connection)
            try:
                message = channel.recv()
            except (EOFError, OSError):  # OSError: it died before it read what it was sent
                yield from self._bury(channel)
                continue
            job = self.current[channel]
            if not isinstance(message, Event):
                del self.current[channel]
            yield job.run_id, message
            if isinstance(message, Event) and message.kind == "epoch":
                _send(channel, _STOP if self.stopping == job.run_id else _GO_ON)
                self.stopping = ""
            if message == "failed" and self.how.device != "cpu":
                self.processes[channel].kill()  # an error of the device spoils its process for good
                yield from self._bury(channel)

    def stop(self, run_id: str) -> None:
        """Said within :meth:`hear`, of the run that was heard last."""
        self.stopping = run_id

    def _bury(self, channel: Connection) -> Iterator[tuple[str, Message]]:
        process = self.processes.pop(channel)
        process.join()
        job = self.current.pop(channel, None)
        if job is None:
            return
        code = process.exitcode or 0
        reason = f"exit code {code}"
        if code < 0:
            why = "out of memory?" if code == -signal.SIGKILL else signal.strsignal(-code)
            reason = f"signal {-code} ({why})"
        message = f"the worker process of this run ended by {reason}"
        told: list[Event] = []
        write_down(job.planned.spec, RunStore(self.how.runs_dir), message, message, told.append)
        yield from ((job.run_id, event) for event in told)
        yield job.run_id, "failed"

    def close(self) -> None:
        """End the workers."""
        for channel, process in self.processes.items():
            if channel in self.current:
                process.terminate()  # interrupted: the run goes on from its last epoch next time
            else:
                _send(channel, None)
        for process in self.processes.values():
            process.join(_PATIENCE)
            process.kill()  # one whose model does not let it end
            process.join()


def _send(channel: Connection, message: Job | str | None) -> None:
    """Tell a worker something; that it is dead is found out when its pipe is read."""
    with contextlib.suppress(OSError):
        channel.send(message)
