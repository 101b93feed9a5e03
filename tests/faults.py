"""Commands in forks, stopped before each of their operations or with one that fails."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import benchmark.files
from benchmark import cli
from benchmark.execution import executor
from benchmark.execution.attempt import attempt
from benchmark.records import RunStore
from benchmark.tracking.mlflow_store import load
from tests.forks import be, speak_to

_EVENTS = {f"os.{name}" for name in ("rename", "remove", "mkdir", "rmdir", "link", "truncate")}
_EVENTS |= {"open", "os.listdir", "os.scandir"}
_NAMES = re.compile("[0-9a-f]{12,}|[0-9]+|(?<=/tables/)[^.]+|(?<=/figures/)[^.]+")
_ROOT = Path(__file__).parent.parent
_NOT_OURS = ("tests", ".venv")


class Faults:
    """Knows of every operation in a folder; one of them fails, or this process stops before each.

    Args:
        fails: the operation that fails; None to stop before each.
    """

    def __init__(self, fails: str | None) -> None:
        self.fails, self.seen = fails, Counter[str]()
        self.on, self._process = True, os.getpid()
        self._lock, self._root = threading.Lock(), f"{Path.cwd()}/"

    def begin(self) -> None:
        """From now on, for ever: an audit hook cannot be removed."""
        from mlflow.tracking import MlflowClient

        sys.addaudithook(self._audit)
        os.fsync = self._before(os.fsync, "fsync")
        for name in dir(MlflowClient):
            method = getattr(MlflowClient, name)
            if callable(method) and not name.startswith("_"):
                setattr(MlflowClient, name, self._before(method, name))

    def _audit(self, event: str, values: tuple[Any, ...]) -> None:
        if event in _EVENTS and isinstance(values[0], str | bytes | os.PathLike):
            path = os.fsdecode(values[0])
            if not path.startswith("/") or path.startswith(self._root):
                self._point(f"{event} {_NAMES.sub('#', path.removeprefix(self._root))}")

    def _before(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._point(name)
            return real(*args, **kwargs)

        return call

    def _point(self, what: str) -> None:
        if not self.on:
            return
        with self._lock:
            kind = f"{what} from {' '.join(islice(_lines(), 3))}"
            self.seen[kind] += 1
            if self.fails is None and os.getpid() == self._process:
                os.kill(self._process, signal.SIGSTOP)
        if kind == self.fails and self.seen[kind] == 1:
            raise OSError(errno.ENOSPC, "No space left on device (injected)")


def _lines() -> Iterator[str]:
    """The lines of ours that lead here, the innermost first."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_ROOT) and path.relative_to(_ROOT).parts[0] not in _NOT_OURS:
            yield f"{path.relative_to(_ROOT)}:{frame.f_lineno}"
        frame = frame.f_back


class Here:
    """The executor's workers: one, in this process."""

    def __init__(self, how: executor.Execution) -> None:
        self.how, self.heard = how, []

    def have_room(self) -> bool:
        return not self.heard

    def begin(self, job: executor.Job) -> None:
        store, heard = RunStore(self.how.runs_dir), self.heard
        outcome = attempt(
            job.planned,
            lambda: executor.load_placed(self.how),
            store,
            lambda event: heard.append((job.run_id, event)),
            job.wait_for_others,
        )
        heard.append((job.run_id, outcome))

    def hear(self) -> list[tuple[str, executor.Message]]:
        heard, self.heard = self.heard, []
        return heard

    def stop(self, run_id: str) -> None:
        raise AssertionError("nothing here is pruned")

    def close(self) -> None:
        pass


def in_a_fork(
    work: Callable[[], object], log: Path, stopped: Callable[[], object] = lambda: None
) -> int:
    """What ``work`` does, in a process of its own; its exit code, negative for a signal's.

    Args:
        work: is done in a session of its own.
        log: where its output goes.
        stopped: called whenever it has stopped itself.
    """
    pid = os.fork()
    if pid == 0:

        def begin() -> None:
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            speak_to(out, out)
            os.setsid()
            work()

        be(begin)
    while os.WIFSTOPPED(status := os.waitpid(pid, os.WUNTRACED)[1]):
        stopped()
        os.kill(pid, signal.SIGCONT)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def command(
    arguments: list[str],
    log: Path,
    fails: str | None = None,
    stopped: Callable[[], object] | None = None,
) -> int:
    """A command's exit code.

    Args:
        arguments: after its name.
        log: where its output goes; beside it, where it is stopped, its operations.
        fails: an operation that fails.
        stopped: it stops before each operation, and this is called.
    """

    def work() -> None:
        benchmark.files.ABANDONED_SECONDS = 0.0  # as if the command were given again later
        sys.argv = ["benchmark", *arguments]
        faults = Faults(fails)
        if fails or stopped:
            faults.begin()
        try:
            cli.main()
        finally:
            faults.on = False
            if stopped:
                log.with_suffix(".operations").write_text(json.dumps(faults.seen))

    return in_a_fork(work, log, stopped or (lambda: None))


def prepare() -> None:
    """What holds for this process and its forks."""
    os.environ["COLUMNS"] = "200"
    executor._workers = Here
    torch.set_num_threads(1)
    load()
