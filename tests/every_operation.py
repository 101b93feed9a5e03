"""A fault at every file operation and MLflow call of a command, and the same command once more.

::

    python -m tests.every_operation                  # every operation: most of an hour
    python -m tests.every_operation --sample 5 run   # five places, as the tests do

A clean pass counts the operations. Then, for each, a copy of the same beginning: the command is
killed before the operation, or the operation fails (a full disk); the command is given again. It
must succeed, and leave what the clean pass left: the same files, nothing beside them, no lock held,
and the same in MLflow. Each attempt is a fork of this process, with its worker in the same process,
so that a kill takes all of it along.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock

import benchmark.files
from benchmark import cli
from benchmark.execution import executor
from benchmark.execution.attempt import attempt
from benchmark.records import RunStore
from benchmark.tracking.mlflow_store import load
from benchmark.tracking.place import default_uri
from tests.tiny import QUICK, tiny_data_dir, tiny_package

How = Literal["kill", "fail"]

_EVENTS = {f"os.{name}" for name in ("rename", "remove", "mkdir", "rmdir", "link", "truncate")}
_EVENTS |= {"open", "os.listdir", "os.scandir"}

RUNS = ["--data-dir", "data", "--runs-dir", "runs"]
TRACKED = [*RUNS, "--experiment", "e"]
RUN = ["run", *QUICK, "--regime", "clean", "--protocol", "I", "--epochs", "2", "--workers", "1"]
SEARCH = ["search", *QUICK[:2], "--model", "qamoe", *QUICK[6:], "--epochs", "1", "--workers", "1"]
COMMANDS = {
    "run": [*RUN, *TRACKED],
    "search": [*SEARCH, "--space", "space.yaml", *TRACKED],
    "import": ["data", "import", "package.pkl", "--name", "other", "--data-dir", "data"],
    "sync": ["sync", "--runs-dir", "runs"],
    "report": ["report", "--runs-dir", "runs", "--out", "report"],
}
NOT_COMPARED = re.compile(
    r"mlflow\.db|mlartifacts/|optuna\.journal|env\.json|\.plans/.*\.json$|\.locks/|\.lock$"
    r"|\.tracked\.json|\.glances\.json|\.complete\.json|trials\.csv|searches/.*\.png|report/|verified"
)
"""What has times or random names in it, or is compared through MLflow; its place still is."""


class Faults:
    """Counts operations in a folder; at one of them it kills this process or fails."""

    def __init__(self, at: int, how: How) -> None:
        self.at, self.how, self.count = at, how, 0
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
                self._point(f"{event} {path}")

    def _before(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._point(name)
            return real(*args, **kwargs)

        return call

    def _point(self, what: str) -> None:
        with self._lock:
            number, self.count = self.count, self.count + 1
        if number == self.at:
            os.write(2, f"{self.how} before {what}\n".encode())
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, "No space left on device (injected)")


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


def in_a_fork(work: Callable[[], object], log: Path) -> int:
    """What ``work`` does, in a process of its own; its exit code, negative for a signal's."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.setsid()
            work()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 — a fork must not go on with its parent's work
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def command(arguments: list[str], log: Path, at: int = -1, how: How = "fail") -> tuple[int, int]:
    """A command with a fault: its exit code, and of a clean one how many operations it has."""
    counted = log.with_suffix(".count")

    def work() -> None:
        executor._workers = Here
        benchmark.files.ABANDONED_SECONDS = 0.0  # as if the command were given again later
        sys.argv = ["benchmark", *arguments]
        faults = Faults(at, how)
        faults.begin()
        try:
            cli.main()
        finally:
            number = faults.count
            faults.at = -1
            counted.write_text(str(number))

    code = in_a_fork(work, log)
    return code, int(counted.read_text()) if counted.exists() else 0


def left(log: Path) -> dict[str, Any]:
    """All that there is in the working folder and in its tracking store."""
    to = log.with_suffix(".json")
    code = in_a_fork(lambda: to.write_text(json.dumps({**files(), **tracked()})), log)
    assert code == 0, log.read_text()[-3000:]
    found: dict[str, Any] = json.loads(to.read_text())
    return found


def files() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(Path().rglob("*")):
        name = str(path)
        if "mlartifacts" in path.parts or (path.is_dir() and not any(path.iterdir())):
            continue
        compared = path.is_file() and not NOT_COMPARED.search(name)
        content = path.read_bytes() if compared else b""
        if path.name == "best.yaml":  # without the number of the trial
            content = re.sub(rb"^#.*\n", b"", content, flags=re.MULTILINE)
        found[name] = hashlib.sha256(content).hexdigest()[:12]
        if path.parent.name == ".locks" or path.suffix == ".lock":
            FileLock(path).acquire(timeout=0).lock.release()
    return found


def tracked() -> dict[str, Any]:
    """Every run in MLflow, its own ids and times aside."""
    if not Path("runs/mlflow.db").exists():
        return {}
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=default_uri(Path("runs")))
    found: dict[str, Any] = {}
    for experiment in client.search_experiments():
        models = client.search_logged_models([experiment.experiment_id])
        for run in client.search_runs([experiment.experiment_id]):
            tags = {k: v for k, v in run.data.tags.items() if not k.startswith("plan.")}
            name = f"{experiment.name}/{tags.get('run_id', tags.get('plan_id'))}"
            assert name not in found, f"two of {name} in MLflow"
            curves = {
                k: sorted({p.step for p in client.get_metric_history(run.info.run_id, k)})
                for k in run.data.metrics
            }
            made = [m for m in models if m.source_run_id == run.info.run_id]
            inside = {f.path for f in client.list_artifacts(run.info.run_id)}
            inside |= {f.path for f in client.list_artifacts(run.info.run_id, "record")}
            logged = [
                (
                    str(m.status),
                    sorted(f.path for f in client.list_logged_model_artifacts(m.model_id)),
                )
                for m in made
            ]
            found[name] = [run.info.status, curves, sorted(inside), logged]
            if tags["kind"] == "search":  # of which a trial that was cut short is a part
                found[name][1] = {}
            else:
                found[name] += [tags, run.data.params, run.data.metrics]
    text = json.dumps(found)
    return json.loads(re.sub(r"(m-)?[0-9a-f]{32}", "ID", text))  # type: ignore[no-any-return]


def begin(name: str, folder: Path, log: Path) -> None:
    """What a command begins with: a data set, a tracking store, for some a finished run."""
    from benchmark.tracking.connection import Connection

    (folder / "runs").mkdir(parents=True)
    os.chdir(folder)
    tiny_data_dir(folder)
    tiny_package(folder / "package.pkl")
    (folder / "space.yaml").write_text("training.learning_rate: [0.001, 0.0005]\n")
    uri, place = default_uri(folder / "runs"), folder / "runs" / ".locks"
    made = in_a_fork(lambda: Connection(uri, "unused", place, print), log)
    assert made == 0, log.read_text()
    if name in ("sync", "report"):
        where = ["--tracking-uri", "none"] if name == "sync" else []
        assert command([*COMMANDS["run"], *where], log)[0] == 0, log.read_text()


def trial(name: str, work: Path, at: int, how: How, beginning: Path, expected: Any) -> list[str]:
    """What is wrong after a fault and the same command again."""
    log = work / f"{name}-{how}-{at}.log"
    fresh(work / "here", beginning)
    command(COMMANDS[name], log, at, how)
    code, _ = command(COMMANDS[name], log)
    if code:
        return [f"the same command again ends with {code}: {log}"]
    found = left(log)
    wrong = [
        f"{key}: {log}"
        for key in found.keys() | expected.keys()
        if found.get(key) != expected.get(key)
    ]
    if not wrong:
        log.unlink()
    return wrong


def fresh(here: Path, beginning: Path) -> None:
    os.chdir("/")
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(beginning, here, symlinks=True)
    os.chdir(here)


def check(name: str, work: Path, sample: int) -> int:
    """Every operation of a command, or a sample; how many faults were not made good."""
    log = work / f"{name}.log"
    begin(name, work / "beginning" / name, log)
    beginning = work / "beginning" / name
    fresh(work / "here", beginning)
    code, count = command(COMMANDS[name], log)
    assert code == 0, log.read_text()
    expected = left(log)
    started, wrong, tried = time.monotonic(), 0, 0
    for how in ("kill", "fail"):
        step = max(1, count // sample) if sample else 1
        for at in range(step // 2, count, step):
            tried += 1
            if problems := trial(name, work, at, how, beginning, expected):
                wrong += 1
                print(f"{name}: {how} at {at}: {'; '.join(sorted(problems))}", flush=True)
    seconds = time.monotonic() - started
    print(f"{name}: {count} operations, {tried} faults, {wrong} not made good, {seconds:.0f} s")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", choices=[[], *COMMANDS])
    parser.add_argument(
        "--sample", type=int, default=0, help="places per command and kind of fault"
    )
    asked = parser.parse_args()
    os.environ["COLUMNS"] = "200"
    warm_up()
    with tempfile.TemporaryDirectory() as folder:
        wrong = sum(check(n, Path(folder), asked.sample) for n in asked.commands or COMMANDS)
        if wrong:
            kept = shutil.copytree(folder, tempfile.mkdtemp(), symlinks=True, dirs_exist_ok=True)
            print(f"their logs: {kept}")
    sys.exit(wrong > 0)


def warm_up() -> None:
    """Import what the commands need, so that no fork has to."""
    for name in (
        *("mlflow.store.tracking.sqlalchemy_store", "optuna.visualization.matplotlib"),
        *("benchmark.execution.session", "benchmark.search.session"),
        *("reports.attach", "reports.build"),
    ):
        importlib.import_module(name)
    load()
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
