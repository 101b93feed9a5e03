"""A study: its trials, and which process works on which.

Trials are claimed under a lock that processes on one runs folder share, or on one PostgreSQL
server, and a trial says which process works on it, so a process that was killed is noticed and its
trials are done again.
"""

from __future__ import annotations

import random
import socket
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from benchmark.errors import BenchmarkError
from benchmark.search.locks import is_server, lock_of
from benchmark.search.optuna_store import (
    delete_study,
    distributions,
    draw,
    end_trial,
    open_storage,
    open_study,
    set_attribute,
)
from benchmark.search.space import Space, Value, grid_of

State = Literal["waiting", "running", "done", "pruned", "failed"]
Point = Mapping[str, Value]

_STATES: Mapping[str, State] = {
    "WAITING": "waiting",
    "RUNNING": "running",
    "COMPLETE": "done",
    "PRUNED": "pruned",
    "FAIL": "failed",
}
_OWNER, _REASON, _RUNS, _FINAL, _REPLACES = "owner", "reason", "run_ids", "final", "replaces"


@dataclass(frozen=True)
class Trial:
    """A trial as the study has it.

    Attributes:
        number: its place in the study.
        state: pruned and failed trials have no value.
        settings: searched setting -> value.
        value: the objective.
        reason: why it failed.
        run_ids: its runs, one for each seed.
        final: whether a failed trial would fail again.
        replaced: whether another trial with the same settings was begun in its place.
        owner: the process that works on it, or did.
    """

    number: int
    state: State
    settings: Point
    value: float | None
    reason: str
    run_ids: tuple[str, ...]
    final: bool
    replaced: bool
    owner: str


class Study:
    """One study, in plain values."""

    def __init__(
        self,
        name: str,
        space: Space,
        minimise: bool,
        storage: str | None,
        runs_dir: Path,
        resume: bool = True,
        warmup: int = 0,
    ) -> None:
        """Open a study, or make it.

        Args:
            name: the study's name.
            space: what is searched.
            minimise: whether a smaller objective is better.
            storage: an Optuna storage URL; None for the journal file.
            runs_dir: where the journal and the locks are.
            resume: whether a study of this name goes on; else its trials are forgotten.
            warmup: epochs before which no trial is pruned.

        Raises:
            BenchmarkError: where the storage cannot be opened.
        """
        self.name, self.space = name, space
        self.grid = grid_of(space)
        self._locks = runs_dir / ".locks"
        self._locks.mkdir(parents=True, exist_ok=True)
        self._url = storage
        self._lock = lock_of(storage, self._locks, f"study-{name}")
        self._id = uuid.uuid4().hex[:12]
        self._alive = lock_of(storage, self._locks, self._mark_of(self._id).name)
        self._place = f"{socket.gethostname()}:{runs_dir.resolve()}"
        if is_server(storage):  # it has the locks of processes on any host
            self._place = "server"
        self._distributions = distributions(space)
        self._running: dict[int, Any] = {}
        with self._lock:
            self._alive.acquire()
            self._storage = open_storage(storage, runs_dir)
            made = self._storage, name, self.grid is not None, minimise, warmup
            self._study = open_study(*made)
            if not resume:
                self._forget()
                self._study = open_study(*made)

    def _forget(self) -> None:
        self._recover()
        if self.others_at_work():
            raise BenchmarkError(
                f"--no-resume: another process works on study {self.name}; stop it first"
            )
        delete_study(self._storage, self.name)

    def close(self) -> None:
        """No trial of this process is under way any more."""
        self._alive.release()
        self._mark_of(self._id).unlink(missing_ok=True)

    def _mark_of(self, identity: str) -> Path:
        """The file that a process holds locked while it works on the study."""
        return self._locks / f"worker-{self.name}-{identity}"

    def begin(self, count: int) -> None:
        """Queue what is to be done: of a grid, its points; of any study, what was cut short.

        Optuna's grid sampler may give one point to two processes, and fails where there is one
        point; a queued trial is claimed by one process. The order is shuffled by the study's name,
        so that the first few points are a fair sample of the grid. A failed trial is tried again,
        unless it would fail again.

        Args:
            count: how many trials the study is to have.
        """
        with self._lock:
            self._recover()
            for trial in self.trials():
                if trial.state == "failed" and not trial.replaced and not trial.final:
                    self._queue(trial.settings, trial.number)
            known = [trial for trial in self.trials() if not trial.replaced]
            seen = [trial.settings for trial in known]
            points = [point for point in self.grid or [] if point not in seen]
            random.Random(self.name).shuffle(points)
            for point in points[: max(0, count - len(known))]:
                self._queue(point)

    def _queue(self, settings: Point, replaces: int | None = None) -> None:
        self._study.enqueue_trial(dict(settings), {_REPLACES: replaces})

    def recover(self) -> None:
        """Queue again the trials of processes that have died."""
        with self._lock:
            self._recover()

    def _recover(self) -> None:
        for path in self._locks.glob(f"worker-{self.name}-*"):
            if path != self._mark_of(self._id):
                with suppress(Timeout), FileLock(path, timeout=0):
                    path.unlink()  # of a process that was killed
        for trial in self.trials():
            if trial.state == "running" and self._is_dead(trial.owner):
                self._end(trial.number, "FAIL", {_REASON: "its process was killed"})
                self._queue(trial.settings, trial.number)

    def _is_dead(self, owner: str) -> bool:
        """Whether a trial's process is gone; what works elsewhere is taken to be alive."""
        if not owner:
            return True  # an owner is written before the lock is left
        place, _, identity = owner.rpartition("#")
        if identity == self._id or place != self._place:
            return False
        mark = self._mark_of(identity)
        if not is_server(self._url):
            return not mark.exists()
        try:
            lock_of(self._url, self._locks, mark.name).acquire(timeout=0).release()
        except Timeout:
            return False
        return True

    def claim(self, count: int) -> Trial | None:
        """A trial to work on; None where the study has its ``count`` trials, or more."""
        with self._lock:
            trials = [trial for trial in self.trials() if not trial.replaced]
            if not any(trial.state == "waiting" for trial in trials) and (
                self.grid is not None or len(trials) >= count
            ):
                return None
            trial = self._study.ask(self._distributions)
            trial.set_user_attr(_OWNER, f"{self._place}#{self._id}")
            self._running[trial.number] = trial
        return self.trial(trial.number)

    def others_at_work(self) -> int:
        """How many trials others have under way: of this runs folder, or of this server.

        One that was queued again since is nobody's, and still to be done.
        """
        with self._lock:  # a killed one ends and is queued again at once
            trials = self.trials()
        return sum(
            t.state == "waiting"
            or (
                t.state == "running"
                and t.number not in self._running
                and t.owner.startswith(f"{self._place}#")
            )
            for t in trials
        )

    def set_runs(self, number: int, run_ids: Sequence[str]) -> None:
        """The runs of a trial of this process."""
        self._running[number].set_user_attr(_RUNS, list(run_ids))

    def report(self, number: int, epoch: int, value: float) -> bool:
        """An intermediate value of a trial; whether the trial is to be pruned."""
        trial = self._running[number]
        trial.report(value, epoch)
        return bool(trial.should_prune())

    def finish(self, number: int, value: float) -> None:
        """A trial of this process has its objective."""
        self._end(number, "COMPLETE", value=value)

    def prune(self, number: int) -> None:
        """A trial of this process was stopped early."""
        self._end(number, "PRUNED")

    def fail(self, number: int, reason: str, final: bool) -> None:
        """A trial of this process failed; ``final`` where it would fail again."""
        self._end(number, "FAIL", {_REASON: reason, _FINAL: final})

    def _end(
        self,
        number: int,
        state: str,
        attributes: Mapping[str, Any] | None = None,
        value: float | None = None,
    ) -> None:
        for key, attribute in (attributes or {}).items():
            set_attribute(self._study, number, key, attribute)
        self._running.pop(number, None)
        end_trial(self._study, number, state, value)

    def draw(self, folder: Path, objective: str) -> list[Path]:
        """Optuna's figures, as PNG files in a folder; see ``optuna_store.draw``."""
        return draw(self._study, folder, objective)

    def trial(self, number: int) -> Trial:
        """One trial."""
        return self.trials()[number]

    def trials(self) -> list[Trial]:
        """Every trial of every process, by number."""
        found = self._study.get_trials(deepcopy=False)
        replaced = {trial.user_attrs.get(_REPLACES) for trial in found}
        return [self._plain(trial, trial.number in replaced) for trial in found]

    def _plain(self, trial: Any, replaced: bool) -> Trial:
        attributes = trial.user_attrs
        settings = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        return Trial(
            number=trial.number,
            state=_STATES[trial.state.name],
            settings={name: settings[name] for name in self.space if name in settings},
            value=trial.value if trial.state.name == "COMPLETE" else None,
            reason=attributes.get(_REASON, ""),
            run_ids=tuple(attributes.get(_RUNS, ())),
            final=bool(attributes.get(_FINAL)),
            replaced=replaced,
            owner=attributes.get(_OWNER, ""),
        )
