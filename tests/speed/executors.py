"""What the local pool and Ray cost beside the runs themselves: 24 small runs on 1 and 2 cores.

    python -m tests.speed.executors [--cores 1,2] [--turns 2]

The same plan on ``synthetic-tiny`` by turns: processes of this machine, and Ray started for it on
this machine. Printed are the seconds of the command, those until its first run is under way, the
processor seconds of its processes, and per run what the workers' time is beyond the seconds that
the runs' records say; each is the mean over turns. The ratio is Ray's over the pool's. Ray ends its
workers without their times, so that its processor seconds are at least those printed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 24
PLAN = [
    *("--dataset", "synthetic-tiny", "--models", "lmf", "--regime", "clean", "--epochs", "5"),
    *("--protocol", "clean", "--seeds", f"1-{RUNS}", "--tracking-uri", "none"),
]
EXECUTORS = ("local", "ray")
COLUMNS = ("seconds", "to first run", "processor", "beside a run")
SUBREAPER = 36
"""Of prctl(2): processes whose parent ends become ours, and so count."""


def measured(executor: str, cores: int, runs: Path) -> list[float]:
    """The four columns, in seconds."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmark", "run", *PLAN, "--runs-dir", str(runs)),
            *("--executor", executor, "--workers", str(cores)),
        ],
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, range(cores)),
    )
    while process.poll() is None and not any(runs.glob(".partial/*")):
        time.sleep(0.02)
    first = time.perf_counter() - begun
    assert process.wait() == 0
    seconds = time.perf_counter() - begun
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    facts = [json.loads(path.read_text()) for path in runs.glob("*/env.json")]
    assert len(facts) == RUNS
    own = statistics.mean(one["seconds_training"] + one["seconds_table"] for one in facts)
    return [seconds, first, processor, (seconds - first) * cores / RUNS - own]


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", default="1,2")
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    print(f"| cores | {RUNS} runs by | {' | '.join(COLUMNS)} |")
    print("| --- " * (2 + len(COLUMNS)) + "|")
    for cores in map(int, options.cores.split(",")):
        found: dict[str, list[list[float]]] = {executor: [] for executor in EXECUTORS}
        for _ in range(options.turns):
            for executor in EXECUTORS:
                with tempfile.TemporaryDirectory() as folder:
                    found[executor].append(measured(executor, cores, Path(folder)))
        local, ray = ([statistics.mean(c) for c in zip(*found[e], strict=True)] for e in EXECUTORS)
        for name, row in (("local", local), ("ray", ray)):
            print(f"| {cores} | {name} | {' | '.join(f'{value:.2f} s' for value in row)} |")
        ratios = (two / one for one, two in zip(local, ray, strict=True))
        print(f"| {cores} | ratio | {' | '.join(f'{x:.1f}' for x in ratios)} |", flush=True)


if __name__ == "__main__":
    main()
