"""The Slurm recipes of the documentation, by plain processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.records import RunStore
from tests.tiny import QUICK, benchmark

SCRIPTS = sorted((Path(__file__).parent.parent / "docs" / "slurm").glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_sound_shell(script: Path) -> None:
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.long
def test_the_workers_of_an_array_share_a_plan_and_one_that_dies_costs_its_run_alone(
    data_dir, tmp_path
) -> None:
    """Three tasks of ``array.sh``; one is killed, and the next array does what it left."""
    (script,) = (path for path in SCRIPTS if path.name == "array.sh")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "benchmark"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m benchmark "$@"\n')
    command.chmod(0o755)
    runs = tmp_path / "runs"
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    arguments = [*QUICK, "--regime", "spectrum", "--seeds", "1,2,3,4", "--epochs", "8"]

    def task(number: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(script), *arguments, "--data-dir", str(data_dir)],
            env={**os.environ, "PATH": path, "RUNS": str(runs), "SLURM_ARRAY_TASK_ID": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    tasks = [task(number) for number in (1, 2, 3)]
    while not list(runs.glob(".partial/*/resume.pt")) and tasks[0].poll() is None:
        time.sleep(0.05)
    tasks[0].kill()
    outputs = [process.communicate(timeout=250)[0] for process in tasks]
    assert [process.returncode for process in tasks[1:]] == [0, 0], outputs
    records = RunStore(runs).records()
    assert len(records) == 4
    trained = sum(output.count(" done    ") for output in outputs)
    assert trained in (3, 4), outputs  # 3: it was killed between a record and saying so
    again = benchmark("run", *arguments, "--data-dir", data_dir, "--runs-dir", runs)
    assert "4 runs on tiny, 0 to do" in again.stdout, again.stderr
