"""Search as a command: several at once, killed, started again; what it prints and leaves."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from benchmark.records import RunStore
from benchmark.search.space import Choices
from benchmark.search.study import Study, Trial
from tests.tiny import Command, benchmark

RATES, TOPKS = (1e-3, 5e-4, 1e-4), (1, 2)
SPACE = {"training.learning_rate": list(RATES), "model.topk": list(TOPKS)}


@pytest.fixture
def options(data_dir: Path, tmp_path: Path) -> list[str]:
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    return [
        *("search", "--dataset", "tiny", "--data-dir", str(data_dir), "--model", "qamoe"),
        *("--set", "model.width=16", "--set", "model.encoder_heads=2", "--epochs", "3"),
        *("--space", str(space), "--runs-dir", str(tmp_path / "runs")),
    ]


def start(options: list[str]) -> Command:
    return Command(*options, "--workers", "1")


def trials_in(runs: Path) -> list[Trial]:
    (folder,) = (runs / "searches").iterdir()
    space = {name: Choices(tuple(values)) for name, values in SPACE.items()}
    study = Study(folder.name, space, True, None, runs)
    study.close()
    return study.trials()


def check_whole(trials: list[Trial]) -> None:
    """Every point of the grid has a value, once; what was cut short was replaced."""
    counted = Counter(tuple(t.settings.values()) for t in trials if t.state == "done")
    assert counted == Counter(itertools.product(RATES, TOPKS))
    assert all(t.replaced for t in trials if t.state != "done")


def wait_for_training(runs: Path, trials: int) -> None:
    """Until so many runs have been begun."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        under_way = list(runs.glob(".partial/*/resume.pt"))
        if len(under_way) + len(RunStore(runs).trained_records()) >= trials:
            return
        time.sleep(0.02)
    raise AssertionError("the search does not get on")


@pytest.mark.long
def test_three_processes_share_a_study_and_one_is_killed(options, tmp_path) -> None:
    runs = tmp_path / "runs"
    first, second, third = (start(options) for _ in range(3))
    wait_for_training(runs, 2)
    time.sleep(random.Random().uniform(0, 0.5))
    os.kill(third.pid, signal.SIGKILL)
    outputs = [process.wait().stdout for process in (first, second, third)]
    assert (first.code, second.code) == (0, 0), outputs
    check_whole(trials_in(runs))
    finished = sum(output.count(" done    trial") for output in outputs)
    assert finished in (6, 7), outputs  # 7: killed between the record and the study's knowing
    for output in outputs[:2]:
        assert len([line for line in output.splitlines() if "  done  " in line]) == 6, output


def test_a_killed_search_is_finished_by_the_same_command(options, tmp_path) -> None:
    runs = tmp_path / "runs"
    process = start(options)
    wait_for_training(runs, 2)
    time.sleep(random.Random().uniform(0, 1.0))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = benchmark(*options, "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "6 trials (grid)" in done.stdout
    check_whole(trials_in(runs))
    (best,) = runs.glob("searches/*/best.yaml")
    header = best.read_text().splitlines()[1]
    # retrained from nothing, the best settings reproduce the trial's value
    fresh = tmp_path / "fresh"
    data = options[options.index("--data-dir") + 1]
    where = ("--data-dir", data, "--runs-dir", fresh, "--tracking-uri", "none")
    run = benchmark("run", "--config", best, *where, "--protocol", "I")
    assert run.returncode == 0, run.stderr
    (record,) = RunStore(fresh).records()
    twin = RunStore(runs).trained(record.run_id)
    for name in ("validation.npz", "history.csv", "checkpoint.safetensors"):
        assert (record.path / name).read_bytes() == (twin.path / name).read_bytes()
    value = float(header.split("MAE ")[1].split(",")[0])
    assert f"{value:.4f}" in run.stdout
    assert value == min(t.value for t in trials_in(runs) if t.value is not None)
