"""Workers on a Ray cluster.

Each is an actor that keeps its data set between runs. The driver, this process, alone reads the
plan, hears the runs and writes to tracking. What is lost with a host goes on elsewhere; what ends
its own worker, or does not fit a GPU beside others, is done again once, alone.
"""

from __future__ import annotations

import contextlib
import math
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.execution.attempt import write_down
from benchmark.execution.events import Event
from benchmark.execution.executor import Cluster, Execution, Forecast, Job, Message
from benchmark.execution.hosts import Hosts
from benchmark.execution.remote import Ready, RemoteWorker, Said, data_files
from benchmark.hygiene import one_line
from benchmark.plan import Planned
from benchmark.records import RunStore
from benchmark.records.parcel import pack, unpack

_NO_MEMORY = ("MemoryError", "out of memory", "can't allocate memory")
"""In the message of a run that does not fit its GPU, or its host."""


@dataclass(eq=False)
class _Worker:
    """An actor.

    Attributes:
        actor: the handle.
        asked: what it was asked last, which has not been answered.
        job: what it does; None for one that starts or is idle.
        ready: what it found where it is.
        lock: of its run, where the driver writes the record.
        alone: whether no other works beside it.
        unfit: whether its run has just failed for want of memory.
        supplied: whether it was sent the data set.
    """

    actor: Any
    asked: Any
    job: Job | None = None
    ready: Ready | None = None
    lock: FileLock | None = None
    alone: bool = False
    unfit: bool = False
    supplied: bool = False


class RayWorkers:
    """Actors on the hosts of a cluster."""

    def __init__(self, how: Execution, cluster: Cluster) -> None:
        """Connects where the first run begins."""
        data_dir = how.data_dir.absolute() if how.data_dir else None
        self.how = replace(how, runs_dir=how.runs_dir.absolute(), data_dir=data_dir)
        self.cluster, self.store = cluster, RunStore(self.how.runs_dir)
        self.queue: deque[Job] = deque()
        self.starting: list[_Worker] = []
        self.busy: list[_Worker] = []
        self.idle: list[_Worker] = []
        self.alone: deque[Job] = deque()
        self.tried: set[str] = set()
        self.told: deque[tuple[str, Message]] = deque()
        self.stopping = ""
        self.hosts: Hosts | None = None
        self.probe: FileLock | None = None
        self.files: Any = None

    def have_room(self) -> bool:
        """Whether the cluster has room for one more run."""
        under_way = len(self.busy) + len(self.queue)
        alone = any(worker.alone for worker in (*self.starting, *self.busy))
        if alone or under_way >= self.how.workers:
            return False
        return self.hosts is None or under_way < self.hosts.room()

    def begin(self, job: Job) -> None:
        """A run for the next worker that is free."""
        if self.hosts is None:
            self._connect()
        self.queue.append(job)
        self._assign()

    def _assign(self) -> None:
        """Give what is queued to idle workers, and start as many as are wanting.

        A run waits for no certain worker: one that cannot be placed while others hold what it
        needs would keep it for ever.
        """
        while self.queue and self.idle:
            worker = self.idle.pop()
            worker.job = self.queue.popleft()
            self.busy.append(worker)
            self._hand_over(worker)
        for _ in range(len(self.queue) - len(self.starting)):
            self._start()

    def _start(self, alone: bool = False) -> None:
        actor = self._actor(float(math.ceil(self.cluster.gpus)) if alone else self.cluster.gpus)
        self.starting.append(_Worker(actor, actor.prepare.remote(), alone=alone))

    def _connect(self) -> None:
        self.sha256 = load_dataset(self.how.dataset, self.how.data_dir).sha256
        self.marker = self.store.root / ".locks" / f"driver-{uuid.uuid4().hex[:12]}"
        self.marker.parent.mkdir(parents=True, exist_ok=True)
        self.probe = FileLock(self.marker)
        self.probe.acquire()
        self.hosts = Hosts(self.cluster)
        self.ray = self.hosts.ray

    def _actor(self, gpus: float) -> Any:
        kind = self.ray.remote(RemoteWorker).options(num_cpus=self.cluster.cpus, num_gpus=gpus)
        return kind.remote(self.how, self.sha256, self.marker)

    def hear(self) -> Iterator[tuple[str, Message]]:
        """What the workers have to say; waits a second for the first of them."""
        assert self.hosts is not None
        self.hosts.room()  # raises where there is no cluster any more
        if self.alone and not self.busy and not self.queue:
            for worker in (*self.idle, *self.starting):
                self._dismiss(worker)
            self.queue.append(self.alone.popleft())
            self._start(alone=True)
        self._assign()
        while self.told:
            yield self.told.popleft()
        asked = {worker.asked: worker for worker in (*self.starting, *self.busy)}
        ready, _ = self.ray.wait(list(asked), timeout=1.0) if asked else ([], [])
        for reference in ready:
            worker = asked[reference]
            try:
                answer = self.ray.get(reference)
            except self.ray.exceptions.RayTaskError as error:  # it cannot read what it was sent
                self._break(worker, f"{type(error.cause).__name__}: {one_line(error.cause)}")
            except self.ray.exceptions.RayError as error:
                self._lose(worker, error)
            else:
                if isinstance(answer, Ready):
                    self._prepare(worker, answer)
                else:
                    yield from self._hear(worker, answer)

    def _prepare(self, worker: _Worker, ready: Ready) -> None:
        if not ready.problem:
            worker.ready = ready
            self.starting.remove(worker)
            self.idle.append(worker)
            self._assign()
        elif worker.supplied:
            raise self._no_data(ready)
        else:
            worker.supplied = True
            worker.asked = worker.actor.prepare.remote(self._data(ready))

    def _data(self, ready: Ready) -> Any:
        """The data set's files in the object store, for a host that lacks them."""
        if self.files is None:
            files = data_files(self.how)
            if files is None:
                raise self._no_data(ready)
            self.files = self.ray.put(files)
        return self.files

    def _no_data(self, ready: Ready) -> BenchmarkError:
        return BenchmarkError(
            f"host {ready.host} cannot have data set {self.how.dataset}: {ready.problem}"
        )

    def _hand_over(self, worker: _Worker) -> None:
        """Send a worker its run, with what there is of it where no folder is shared."""
        job, files = worker.job, {}
        assert job is not None
        assert worker.ready is not None
        if not worker.ready.shared:
            lock = self.store.lock(job.run_id)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self._wait(worker)
                return
            worker.lock = lock
            self.store.tidy(job.run_id)
            files = pack(self.store, job.run_id)
        worker.asked = worker.actor.begin.remote(job, files)

    def _wait(self, worker: _Worker) -> None:
        """Another process has the run; its worker is asked again, or is free for others."""
        assert worker.job is not None
        run_id = worker.job.run_id
        if worker.job.wait_for_others:
            worker.asked = worker.actor.hear.remote()
            return
        message = "another process works on this run"
        self.told += [(run_id, Event(run_id, "waiting", message=message)), (run_id, "busy")]
        self._release(worker)

    def _hear(self, worker: _Worker, answer: Sequence[Said]) -> Iterator[tuple[str, Message]]:
        assert worker.job is not None
        assert worker.ready is not None
        if not worker.ready.shared and worker.lock is None:
            self._hand_over(worker)
            return
        run_id, stop = worker.job.run_id, None
        for said in answer:
            if isinstance(said, Event):
                worker.unfit = not worker.alone and _wants_memory(said)
                if not worker.unfit:
                    yield run_id, said
                if said.kind == "epoch":
                    stop, self.stopping = self.stopping == run_id, ""
            elif isinstance(said, str):
                yield from self._end(worker, said)
                return
            else:
                unpack(self.store, run_id, said)
        worker.asked = worker.actor.hear.remote(stop)

    def _end(self, worker: _Worker, outcome: Message) -> Iterator[tuple[str, Message]]:
        job = worker.job
        assert job is not None
        if worker.lock and outcome in ("done", "kept"):
            self.store.close(job.run_id)
        self._release(worker)
        if worker.alone or (outcome == "failed" and self.how.device != "cpu"):
            self._dismiss(worker)  # an error of the device spoils its process for good
        if worker.unfit:
            yield self._put_off(job, "it does not fit beside other runs")
        else:
            yield job.run_id, outcome

    def _put_off(self, job: Job, why: str) -> tuple[str, Message]:
        self.tried.add(job.run_id)
        self.alone.append(job)
        message = f"{why}: it is done again alone, when the others are done"
        return job.run_id, Event(job.run_id, "note", message=message)

    def _lose(self, worker: _Worker, error: Exception) -> None:
        """Its worker is gone: with its host, or by what the run did."""
        assert self.hosts is not None
        job, gone = worker.job, self.hosts.is_gone(error)
        self._dismiss(worker)
        if job is None:
            if not gone:
                raise BenchmarkError(f"no worker can be started: {one_line(error, 400)}")
        elif gone:
            message = "its host was lost; it goes on elsewhere from its last epoch"
            self.told.append((job.run_id, Event(job.run_id, "note", message=message)))
            self.queue.append(job)
        elif job.run_id not in self.tried:
            self.told.append(self._put_off(job, "its worker process ended (out of memory?)"))
        else:
            self._fail(job, "the worker process of this run ended, again (out of memory?)")

    def _break(self, worker: _Worker, message: str) -> None:
        """What Ray itself could not do with a run, read it where a package is missing, say."""
        job = worker.job
        self._dismiss(worker)
        if job is None:
            raise BenchmarkError(f"no worker can be started: {message}")
        self._fail(job, message)

    def _fail(self, job: Job, message: str) -> None:
        run_id = job.run_id
        heard: list[Event] = []
        write_down(job.planned.spec, self.store, message, message, heard.append)
        self.told += [*((run_id, event) for event in heard), (run_id, "failed")]

    def stop(self, run_id: str) -> None:
        """Said within :meth:`hear`, of the run that was heard last."""
        self.stopping = run_id

    def _release(self, worker: _Worker) -> None:
        """A worker has no run any more."""
        if worker.lock:
            worker.lock.release()
        worker.lock = worker.job = None
        self.busy.remove(worker)
        self.idle.append(worker)

    def _dismiss(self, worker: _Worker) -> None:
        if worker.job:
            self._release(worker)
        (self.idle if worker in self.idle else self.starting).remove(worker)
        with contextlib.suppress(self.ray.exceptions.RayError):  # it is gone already
            self.ray.kill(worker.actor)

    def close(self) -> None:
        """Leave the cluster; a run that is cut short goes on from its last epoch next time."""
        for worker in self.busy:
            if worker.lock:
                worker.lock.release()
        if self.hosts is not None:
            self.hosts.close()
        if self.probe is not None:
            self.probe.release()
            Path(self.probe.lock_file).unlink(missing_ok=True)


def _wants_memory(event: Event) -> bool:
    return event.kind == "failed" and any(sign in event.message for sign in _NO_MEMORY)


def forecast(todo: Sequence[Planned], how: Execution, cluster: Cluster) -> Forecast:
    """What the cluster has, and how long runs take on one of its hosts."""
    workers = RayWorkers(how, cluster)
    with contextlib.closing(workers):
        workers._connect()
        assert workers.hosts is not None
        actor = workers._actor(cluster.gpus)
        ready = workers.ray.get(actor.prepare.remote())
        if ready.problem:
            ready = workers.ray.get(actor.prepare.remote(workers._data(ready)))
        if ready.problem:
            raise workers._no_data(ready)
        costs = workers.ray.get(actor.costs.remote(list(todo)))
        return Forecast(costs, min(how.workers, workers.hosts.room()), f"Ray: {workers.hosts}")
