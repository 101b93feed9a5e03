"""Time a whole report, page included, over 100 records that were never trained.

    python -m tests.speed.report [--runs 100] [--turns 3] [--beside CHECKOUT]

The records have MOSI's size (686 test samples, three draws, every protocol) and are those of a real
study: every model under clean and spectrum, specialists of each missing rate, ablations and k. They
are made once, in a temporary folder; only the command is timed, its start included, in turns on one
core and on all of them, and with another checkout where one is named. Processor seconds are what a
busy machine changes least.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmark.plan import Product, plan_runs
from benchmark.records import RunStore
from benchmark.registry import model_names
from benchmark.spec import RunSpec
from protocols.regimes import Regime
from tests.records import make_table
from tests.report_records import add
from tests.speed.bytecode import HERE, compiled

SEEDS = (1111, 1112, 1113)
Spent = tuple[float, float]
"""Seconds, and seconds of processors."""
RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def specs() -> list[RunSpec]:
    """The study: systems one after the other, each with its seeds."""
    systems: list[tuple[str, Regime, dict[str, Any]]] = [
        (name, Regime(kind=kind), {})  # type: ignore[arg-type]
        for name, kind in product(model_names(), ("clean", "spectrum"))
    ]
    spectrum = Regime(kind="spectrum")
    systems += [("qamoe", Regime(kind="missing", rate=rate), {}) for rate in RATES]
    ablations = ("no_gate", "no_variance", "no_prior")
    systems += [("qamoe", spectrum, {"ablation": name}) for name in ablations]
    systems += [("qamoe", spectrum, {"topk": k}) for k in (1, 2, 4, 8)]
    systems += [("mult", Regime(kind="missing", rate=rate), {}) for rate in RATES]
    data = SimpleNamespace(name="mosi", sha256="a" * 64, spec=SimpleNamespace(task="regression"))
    return [
        spec
        for name, regime, changes in systems
        for spec in plan_runs(
            Product(
                models=(name,),
                regimes=(regime.name,),
                seeds=SEEDS,
                model=changes,
            ),
            data,  # type: ignore[arg-type]
        )
    ]


def fabricate(store: RunStore, runs: int) -> int:
    """Commit the first runs of the study; the number that were made."""
    store.prepare()
    made = 0
    for place, spec in enumerate(islice(specs(), runs)):
        table = make_table(n=686, draws=3, seed=7, error=0.4 + 0.01 * (place % 37))
        if spec.model != "qamoe" or spec.setting("model.ablation") == "no_gate":
            table = replace(table, reliability=None)
        if spec.model != "qamoe":
            table = replace(table, log_variance=None)
        add(
            store,
            spec,
            table,
            floors={"mean": 0.2, "median": 0.1},
            finished="2026-01-02",
        )
        made += 1
    return made


def timed(store: RunStore, out: Path, cores: Sequence[int], checkout: Path) -> Spent:
    """What the command of a checkout takes on these cores, its start included."""
    command = [sys.executable, "-m", "benchmark", "report", "--runs-dir", str(store.root)]
    command += ["--out", str(out)]
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command,
        check=True,
        cwd=checkout,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, processor


def main() -> None:
    """Time the report of fabricated records; see the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--beside", type=Path, help="another checkout, in turns with this one")
    asked = parser.parse_args()
    checkouts = {"here": HERE} | ({"beside": asked.beside.resolve()} if asked.beside else {})
    for checkout in checkouts.values():
        compiled(checkout)
    cores = sorted(os.sched_getaffinity(0))
    spent: dict[tuple[str, int], list[Spent]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder) / "runs")
        made = fabricate(store, asked.runs)
        print(f"report of {made} runs, 686 test samples, page and all files included")
        for _, count, (name, checkout) in product(
            range(asked.turns), sorted({1, len(cores)}), checkouts.items()
        ):
            one = timed(store, Path(folder) / "out", cores[:count], checkout)
            spent[name, count].append(one)
    for (name, count), found in sorted(spent.items()):
        seconds, processor = (statistics.median(one) for one in zip(*found, strict=True))
        turns = ", ".join(f"{one:.1f}" for one, _ in found)
        print(f"{name:6} {count} core(s) {seconds:5.1f} s, of processors {processor:5.1f}; {turns}")


if __name__ == "__main__":
    main()
