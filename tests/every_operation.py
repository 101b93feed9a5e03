"""A fault at every file operation and MLflow call of a command, and the same command once more.

::

    python -m tests.every_operation                  # all of them; the time is in docs/faults.md
    python -m tests.every_operation --sample 5 run   # five of each kind, as the tests do

**Kills.** A clean pass is stopped before each operation, and what is on the disk then is kept where
it is not what it was: these are all the states that a kill before any operation leaves. From each,
the command is given again. **Failures.** An operation fails as on a full disk. Operations are told
apart by the path, its numbers and a report's names aside, and by the three lines of ours that lead
there; the first of each kind is tried, in the first command that has it. The command must end
without a traceback, and then it is given again.

The second time it must succeed, and leave what the clean pass left: the same files, nothing beside
them, no lock held, and the same in MLflow. Each attempt is a fork of this process, with its worker
in the same process, so that a kill takes all of it along.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from benchmark import cli
from benchmark.tracking.place import default_uri
from tests.faults import command, in_a_fork, prepare
from tests.tiny import QUICK, tiny_data_dir, tiny_package

T = TypeVar("T")

RUNS = ["--data-dir", "data", "--runs-dir", "runs"]
TRACKED = [*RUNS, "--experiment", "e"]
RUN = ["run", *QUICK, "--regime", "clean", "--protocol", "I", "--epochs", "2", "--workers", "1"]
SEARCH = ["search", *QUICK[:2], "--model", "qamoe", *QUICK[6:], "--epochs", "1", "--workers", "1"]
COMMANDS = {
    "run": [*RUN, *TRACKED],
    "search": [*SEARCH, "--space", "space.yaml", *TRACKED],
    "import": ["data", "import", "package.pkl", "--name", "other", "--data-dir", "data"],
    "sync": ["sync", "--runs-dir", "runs"],
    "report": ["report", "--runs-dir", "runs", "--out", "report", "--format", "png"],
}
NOT_COMPARED = re.compile(
    r"mlflow\.db|mlartifacts/|optuna\.journal|env\.json|\.plans/.*\.json$|\.locks/|\.lock$"
    r"|\.tracked\.json|\.glances\.json|trials\.csv|searches/.*\.png|report/|verified"
)
"""What has times or random names in it, or is compared through MLflow; its place still is."""


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
    if name == "import":  # which tracks nothing
        return
    uri, place = default_uri(folder / "runs"), folder / "runs" / ".locks"
    made = in_a_fork(lambda: Connection(uri, "unused", place, print), log)
    assert made == 0, log.read_text()
    if name in ("sync", "report"):
        where = ["--tracking-uri", "none"] if name == "sync" else []
        assert command([*COMMANDS["run"], *where], log) == 0, log.read_text()


def fresh(here: Path, beginning: Path) -> None:
    os.chdir("/")
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(beginning, here, symlinks=True)
    os.chdir(here)


class Trials:
    """A command's clean pass, and what is to come out after a fault."""

    def __init__(self, name: str, work: Path) -> None:
        self.name, self.work, self.log = name, work, work / f"{name}.log"
        self.here, self.beginning = work / "here", work / "beginning" / name
        self.states: dict[str, Path] = {}
        begin(name, self.beginning, self.log)
        fresh(work / "warm", self.beginning)
        warm_up(COMMANDS[name])
        fresh(self.here, self.beginning)
        code = command(COMMANDS[name], self.log, stopped=self._keep)
        assert code == 0, self.log.read_text()
        self.expected = left(self.log)

    def _keep(self) -> None:
        state = hashlib.sha256()
        for path in sorted(Path().rglob("*")):
            state.update(f"{path}\0".encode())
            state.update(path.read_bytes() if path.is_file() else b"")
        if (digest := state.hexdigest()) not in self.states:
            kept = self.work / "states" / self.name / str(len(self.states))
            shutil.copytree(self.here, kept, symlinks=True)
            self.states[digest] = kept

    def operations(self) -> Counter[str]:
        """What the clean pass did -> how often."""
        return Counter(json.loads(self.log.with_suffix(".operations").read_text()))

    def after_kill(self, state: Path) -> list[str]:
        """What is wrong once the command was given again where a kill had left this."""
        fresh(self.here, state)
        return self.again(self.work / f"{self.name}-kill-{state.name}.log")

    def after_failure(self, operation: str) -> list[str]:
        """What is wrong once an operation had failed and the command was given again."""
        digest = hashlib.sha256(operation.encode()).hexdigest()[:8]
        log = self.work / f"{self.name}-fail-{digest}.log"
        fresh(self.here, self.beginning)
        code = command(COMMANDS[self.name], log, operation)
        if code not in (0, 1, 2) or "Traceback (most recent call last)" in log.read_text():
            return [f"it ends with {code}: {log}"]
        return self.again(log)

    def again(self, log: Path) -> list[str]:
        """What is wrong after the same command once more."""
        if code := command(COMMANDS[self.name], log):
            return [f"the same command again ends with {code}: {log}"]
        found, expected = left(log), self.expected
        wrong = [k for k in found.keys() | expected.keys() if found.get(k) != expected.get(k)]
        if not wrong:
            log.unlink()
        return [f"{key}: {log}" for key in sorted(wrong)]


def check(name: str, work: Path, sample: int, tried: set[str]) -> int:
    """Every operation of a command, or a sample; how many faults were not made good.

    Args:
        name: of the command.
        work: a folder to work in.
        sample: how many kills and failures; 0 for all.
        tried: the kinds of operations that other commands have had fail; grows.
    """
    trials = Trials(name, work)
    like = trials.operations()
    started, wrong = time.monotonic(), 0
    kills = some(list(trials.states.values()), sample)
    failures = some([kind for kind in like if kind not in tried], sample)
    tried |= like.keys()
    print(
        f"{name}: {like.total()} operations leave {len(trials.states)} states and are of "
        f"{len(like)} kinds; {len(kills)} kills and {len(failures)} failures to try",
        flush=True,
    )
    for done, fault in enumerate((*kills, *failures), 1):
        after = trials.after_kill if isinstance(fault, Path) else trials.after_failure
        if problems := after(fault):
            wrong += 1
            print(f"{name}: {fault}: {'; '.join(problems)}", flush=True)
        if done % 25 == 0 or done == len(kills) + len(failures):
            seconds = time.monotonic() - started
            print(f"{name}: {done} tried, {wrong} not made good, {seconds:.0f} s", flush=True)
    return wrong


def some(found: list[T], count: int) -> list[T]:
    """So many of them, evenly; all for 0."""
    step = max(1, len(found) // count) if count else 1
    return found[step // 2 :: step][: count or None]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", choices=[[], *COMMANDS])
    parser.add_argument(
        "--sample", type=int, default=0, help="places per command and kind of fault"
    )
    asked = parser.parse_args(arguments)
    prepare()
    with tempfile.TemporaryDirectory() as folder:
        tried: set[str] = set()
        names = asked.commands or COMMANDS
        wrong = sum(check(name, Path(folder), asked.sample, tried) for name in names)
        if wrong:
            kept = shutil.copytree(folder, tempfile.mkdtemp(), symlinks=True, dirs_exist_ok=True)
            print(f"their logs: {kept}")
    sys.exit(wrong > 0)


def warm_up(arguments: list[str]) -> None:
    """Do a command in this process: no fork has to import, or find out, what it needs."""
    sys.argv = ["benchmark", *arguments]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        cli.main()


if __name__ == "__main__":
    main()
