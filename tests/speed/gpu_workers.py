"""Runs per hour on one GPU, by how many are done at a time: ``python -m tests.speed.gpu_workers``.

    python -m tests.speed.gpu_workers --dataset mosi --data-dir data [--models qamoe,mult]

Each line is a plan from the command line to its last record: 8 seeds of each model, all protocols,
in as many processes that share the GPU. Beside it stands what the records say of a run: seconds of
its training and of its table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEEDS = 8


def measured(workers: int, plan: list[str], runs: Path) -> list[float]:
    """Runs per hour of the whole command, and the mean seconds of training and of the table."""
    command = [sys.executable, "-m", "benchmark", "run", *plan, "--seeds", f"1-{SEEDS}"]
    where = ["--runs-dir", str(runs), "--workers", str(workers), "--device", "cuda"]
    start = time.perf_counter()
    subprocess.run([*command, *where], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    facts = [json.loads(path.read_text()) for path in runs.glob("*/env.json")]
    means = (statistics.mean(one[key] for one in facts) for key in KEYS)
    return [3600 * len(facts) / seconds, *means]


KEYS = ("seconds_training", "seconds_table")


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--models", default="qamoe")
    parser.add_argument("--workers", default="1,2,4,8")
    given = parser.parse_args()
    plan = [
        *("--dataset", given.dataset, "--data-dir", given.data_dir, "--models", given.models),
        *("--regime", "spectrum", "--protocol", "all", "--tracking-uri", "none"),
    ]
    print(f"{'at a time':>9} {'runs/hour':>10} {'factor':>7} {'training s':>11} {'table s':>8}")
    first = None
    for workers in map(int, given.workers.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            rate, training, table = measured(workers, plan, Path(folder))
        first = first or rate
        print(
            f"{workers:9} {rate:10.0f} {rate / first:7.2f} {training:11.1f} {table:8.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
