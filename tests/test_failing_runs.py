"""A failing run ends no plan: whatever its model does, with one worker and with several."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.records import RunStore
from tests.tiny import benchmark

MODEL = """
import ctypes, os, signal, torch
from pydantic import Field
from benchmark.interface import ModelCard, ModelConfig, MultimodalModel, Output, task_loss


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def leave():
    raise SystemExit(0)


def interrupt():
    raise KeyboardInterrupt


def unspeakable():
    raise Unspeakable


def base():
    raise type("Odd", (BaseException,), {})("odd")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def crash():  # as wrong native code does
    ctypes.string_at(0)


def vanish():
    os._exit(0)


def stay():
    print("training", flush=True)
    while True:
        try:
            torch.ones(4).sum()
        except BaseException:
            pass


def nothing():
    pass


EACH = (leave, interrupt, unspeakable, base, die, crash, vanish, stay, nothing)
WAYS = {f.__name__: f for f in EACH}


class BadConfig(ModelConfig):
    way: str = Field("nothing", description="what it does in its loss")


class Bad(MultimodalModel):
    Config = BadConfig
    card = ModelCard(title="Bad", citation="a test, 2026", source="official code read")

    def __init__(self, config, spec):
        super().__init__(config, spec)
        self.task, self.way = spec.task, config.way
        self.out = torch.nn.Linear(spec.widths["text"], spec.classes)

    def forward(self, batch):
        return Output(self.out(batch.features["text"].mean(1))[:, 0])

    def loss(self, output, batch, progress):
        WAYS[self.way]()
        return task_loss(output, batch.label, self.task, "l1"), {}
"""
PLAN = """
dataset: tiny
seeds: [1]
protocol: clean
training: {epochs: 1}
runs:
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    (folder / "bad_model.py").write_text(MODEL)
    metadata = folder / "bad_model-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-model\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[benchmark.models]\nbad = bad_model:Bad\n")
    return folder


def plan_of(path: Path, *ways: str) -> Path:
    products = [f"  - {{models: [bad], regimes: [clean], model: {{way: {way}}}}}" for way in ways]
    path.write_text(PLAN + "\n".join(products) + "\n")
    return path


def arguments(plan: Path, data_dir: Path, runs: Path, workers: int) -> list[str]:
    options = ["--data-dir", data_dir, "--runs-dir", runs, "--workers", workers]
    return list(map(str, ["run", "--config", plan, *options, "--tracking-uri", "none"]))


@pytest.mark.parametrize("workers", [1, 2])
def test_whatever_a_model_raises_fails_its_run_alone(site, data_dir, tmp_path, workers) -> None:
    bad = ["leave", "interrupt", "unspeakable", "base", "die", "crash", "vanish"]
    plan = plan_of(tmp_path / "plan.yaml", *bad, "nothing")
    done = benchmark(*arguments(plan, data_dir, tmp_path / "runs", workers), site=site)
    assert done.returncode == 1, done.stderr
    said = " ".join(done.stdout.split())
    assert said.count("FAILED ") == 2 * len(bad)  # when it happens, and in the summary
    died = ("ended by signal 9", "signal 11 (Segmentation fault)", "by exit code 0")
    for why in ("SystemExit: 0", "KeyboardInterrupt", "Unspeakable", "Odd: odd", *died):
        assert why in said
    assert "Traceback" not in done.stderr
    errors = list((tmp_path / "runs" / ".partial").glob("*/error.txt"))
    assert len(errors) == len(bad)
    for path in errors:  # its last line is what was told, so that MLflow says it when rebuilt
        assert " ".join(path.read_text().splitlines()[-1].split()) in said
    listed = benchmark("list", "runs", "--runs-dir", tmp_path / "runs").stdout
    assert (listed.count("failed: "), listed.count("finished")) == (len(bad), 1)


@pytest.mark.parametrize("way", ["leave", "interrupt", "base", "crash", "vanish"])
def test_timing_a_model_that_fails_harms_nothing(
    site, data_dir, tmp_path, monkeypatch, way
) -> None:
    from benchmark.data.registry import load_dataset
    from benchmark.execution.estimate import estimates
    from benchmark.execution.executor import Execution
    from benchmark.plan import PlanConfig, make_plan
    from benchmark.planfile import read_plan

    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    request = PlanConfig(**read_plan(plan_of(tmp_path / "plan.yaml", "nothing", way)))
    plan = make_plan(request, load_dataset("tiny", data_dir))
    good, bad = estimates(plan, Execution("tiny", data_dir, tmp_path, "cpu", 1))
    assert good is not None
    assert good.seconds > 0
    assert bad is None


def test_a_plan_in_a_terminal_times_its_models_and_goes_on(site, data_dir, tmp_path) -> None:
    """Only there the time that is left is shown, and so measured beforehand."""
    plan = plan_of(tmp_path / "plan.yaml", "leave", "nothing")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark", *arguments(plan, data_dir, tmp_path / "runs", 1)],
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200", "TERM": "xterm"},
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # its other end is closed
        while block := os.read(ours, 2**16):
            said += block
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (1, "")
    assert b"SystemExit: 0" in said
    listed = benchmark("list", "runs", "--runs-dir", tmp_path / "runs").stdout
    assert (listed.count("failed: "), listed.count("finished")) == (1, 1)


DOOMED = """
import os
import time
from benchmark.execution import pool

def doomed(channel, how):
    try:
        (how.runs_dir / "died").touch(exist_ok=False)
    except FileExistsError:  # another has died, and only one is to
        pool._worker(channel, how)
        return
    time.sleep(1.0)  # the task lies in the pipe, unread
    os._exit(3)
"""


def test_a_worker_that_dies_before_it_reads_its_task(data_dir, tmp_path, monkeypatch) -> None:
    """The pipe is then reset, not ended."""
    from benchmark.data.registry import load_dataset
    from benchmark.execution import executor, pool
    from benchmark.plan import PlanConfig, Planned, plan_conditions, plan_runs

    (tmp_path / "doomed_worker.py").write_text(DOOMED)
    monkeypatch.syspath_prepend(str(tmp_path))
    import doomed_worker

    request = PlanConfig(
        dataset="tiny",
        models=("qamoe",),
        regimes=("clean",),
        protocol="clean",
        seeds=(1, 2, 3),
        model={"width": 16, "encoder_heads": 2},
        training={"epochs": 1},
    )
    tiny = load_dataset("tiny", data_dir)
    conditions = plan_conditions(request, tiny)
    plan = [Planned(spec, conditions) for spec in plan_runs(request, tiny)]
    monkeypatch.setattr(pool, "_worker", doomed_worker.doomed)
    (tmp_path / "runs").mkdir()
    how = executor.Execution("tiny", data_dir, tmp_path / "runs", "cpu", 2)
    events = []
    outcomes = executor.run_plan(plan, how, events.append)
    assert sorted(outcomes.values()) == ["done", "done", "failed"]
    (message,) = [event.message for event in events if event.kind == "failed"]
    assert "ended by exit code 3" in message


def test_the_users_interrupt_ends_a_plan_whose_model_never_ends(site, data_dir, tmp_path) -> None:
    plan = plan_of(tmp_path / "plan.yaml", "stay")
    command = [*arguments(plan, data_dir, tmp_path / "runs", 1), "--seeds", "1,2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"},
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "training":
            break
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    store = RunStore(tmp_path / "runs")
    assert not store.records()  # no other run began
    assert list(store.unfinished().values()) == ["interrupted"]
