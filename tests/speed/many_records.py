"""What a folder of many records costs: list runs, sync, report, and the driver of a plan of them.

    python -m tests.speed.many_records 100 1000 10000 [--folder DIR] [--only list,plan,start]

Makes records of runs that were never trained (random predictions, one table for all of them) of a
plan of four systems on ``synthetic-tiny``, and prints of each command its seconds, its processor
seconds (which a busy machine changes little), and the most memory that its process had.
``again`` is the list once more; ``plan`` is the same plan started again, with nothing to do, and
``idle`` that once more; ``start`` is one with all to do, up to its first run; ``sync`` and
``present`` bring the records into MLflow, and find them there; ``report`` makes the report.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.numpy import save

from benchmark.commands.request import read_request
from benchmark.data.inputs import InputForm
from benchmark.data.registry import load_dataset
from benchmark.plan import make_plan
from benchmark.records.writer import later_files, record_files
from benchmark.registry import model_facts
from tests.records import make_history, make_table
from tests.speed.bytecode import compiled

SETTINGS = """dataset: synthetic-tiny
models: [lmf, tfn]
regimes: [clean, spectrum]
evaluation: {draws: 1}
"""
SYSTEMS = 4
COMMANDS = ("list", "again", "plan", "idle", "start", "sync", "present", "report")


def plan_file(folder: Path, count: int) -> Path:
    """A plan of so many runs."""
    path = folder / "plan.yaml"
    path.write_text(SETTINGS + f"seeds: {list(range(1, count // SYSTEMS + 1))}\n")
    return path


def fabricate(runs: Path, count: int) -> None:
    """A record for every run of :func:`plan_file`."""
    import yaml

    dataset = load_dataset("synthetic-tiny")
    asked, seeds = yaml.safe_load(SETTINGS), tuple(range(1, count // SYSTEMS + 1))
    plan = make_plan(read_request(asked, {"seeds": seeds}, [], None), dataset)
    table, checkpoint = make_table(), save({"weight": make_history()["train_loss"].to_numpy()})
    shared = later_files(table, None, InputForm.of(dataset))
    environment = {
        "device_type": "cpu",
        "data_sha256": dataset.sha256,
        "synthetic": True,
        "floors": {"mean": 0.0, "median": 0.0},
        "parameters": 1234,
        "seconds_training": 30.0,
        "seconds_table": 4.0,
        "finished": "2026-01-02T03:04:05Z",
    }
    history = make_history()
    for planned in plan:
        folder = runs / planned.spec.run_id
        folder.mkdir(parents=True)
        facts = {**environment, "model": model_facts(planned.spec.model)}
        files = record_files(planned.spec, facts, history, checkpoint) | shared
        for name, content in files.items():
            (folder / name).write_bytes(content)


def measured(command: list[str], until: str = "") -> tuple[float, float, int, str]:
    """Seconds, those of processors, MiB at most, and the output's end.

    The seconds count until a file of the pattern ``until`` is there, where one is given.
    """
    started, spent = time.perf_counter(), _processor()
    folder, peak = Path(command[command.index("--runs-dir") + 1]), 0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmark", *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        while process.poll() is None and not (until and any(folder.glob(until))):
            peak = max(peak, _most_memory(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        if until:
            process.kill()
        process.wait()
        output.seek(0)
        return seconds, _processor() - spent, peak, output.read()[-300:]


def _most_memory(pid: int) -> int:
    """MiB that a process has had at most; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(x.split()[1]) // 1024 for x in lines if x.startswith("VmHWM")), 0)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", type=int, nargs="+")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", default=",".join(COMMANDS))
    options = parser.parse_args()
    compiled()
    print("  runs  command  seconds processor    per run      most")
    for count in options.counts:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        plan, runs = plan_file(folder, count), folder / "runs"
        begun = time.perf_counter()
        fabricate(runs, count)
        print(f"{count:6} {'(made)':>8} {time.perf_counter() - begun:8.1f}", flush=True)
        where = ["--runs-dir", str(runs)]
        run = ["run", "--config", str(plan), "--tracking-uri", "none", "--workers", "1"]
        commands = {
            "list": (["list", "runs", *where], ""),
            "again": (["list", "runs", *where], ""),
            "plan": ([*run, *where], ""),
            "idle": ([*run, *where], ""),
            "start": ([*run, "--runs-dir", str(folder / "other")], ".partial/*"),
            "sync": (["sync", *where], ""),
            "present": (["sync", *where], ""),
            "report": (["report", *where, "--out", str(folder / "report")], ""),
        }
        for name in options.only.split(","):
            seconds, spent, peak, output = measured(*commands[name])
            row = f"{count:6} {name:>8} {seconds:8.1f} {spent:7.1f} s {1e3 * spent / count:7.1f} ms"
            print(f"{row} {peak:8} MiB", flush=True)
            if "rror" in output:
                print(output)


if __name__ == "__main__":
    main()
