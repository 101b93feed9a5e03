"""Import and train on random data of CMU-MOSEI's size: seconds and peak host memory of each.

    python -m tests.speed.mosei_size [--unaligned] [--folder DIR]

Writes a feature pickle of 16326/1871/4659 samples (4 GB aligned, 8 GB unaligned) into a folder of
its own, imports it and trains one epoch, each in a process that is watched from outside. Resident
memory is split into what is private to the process and the pages of the mapped data file, which the
system drops when it needs room.
"""

from __future__ import annotations

import argparse
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

COUNTS = {"train": 16326, "valid": 1871, "test": 4659}
ALIGNED = {"text": (50, 768), "audio": (50, 74), "vision": (50, 35)}
UNALIGNED = {"text": (50, 768), "audio": (500, 74), "vision": (375, 35)}
NAME = "mosei-size"
INTERVAL = 0.02
GIB = 2**20  # of the KiB that /proc counts in


def fabricate(path: Path, shapes: dict[str, tuple[int, int]]) -> None:
    """An MMSA-style pickle of noise: what it says is of no matter here, only how much it is."""
    draw = np.random.default_rng(0)
    package = {}
    for split, count in COUNTS.items():
        content: dict[str, object] = {
            "id": [f"{split}{k // 8}$_${k % 8}" for k in range(count)],
            "raw_text": np.array(["words"] * count),
            "regression_labels": draw.uniform(-3, 3, count).astype(np.float32),
        }
        for modality, (steps, width) in shapes.items():
            values = draw.standard_normal((count, steps, width), np.float32)
            lengths = draw.integers(steps // 4, steps + 1, count)
            values[np.arange(steps) >= lengths[:, None]] = 0
            content[modality] = values
            if len(set(shapes.values())) and steps != shapes["text"][0]:
                content[f"{modality}_lengths"] = lengths.tolist()
        package[split] = content
    with path.open("wb") as stream:
        pickle.dump(package, stream, protocol=4)


def watched(title: str, command: Sequence[str]) -> None:
    """Run a command; print its seconds, processor seconds and peak memory."""
    started, spent = time.perf_counter(), _processor()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = private = 0
    while process.poll() is None:
        resident, anonymous = _memory(process.pid)
        peak, private = max(peak, resident), max(private, anonymous)
        time.sleep(INTERVAL)
    if process.returncode:
        sys.exit(f"{title}: exit code {process.returncode}")
    print(
        f"{title}: {time.perf_counter() - started:.0f} s ({_processor() - spent:.0f} s of CPU);"
        f" peak resident {peak / GIB:.1f} GiB, of it private {private / GIB:.1f} GiB"
    )


def _processor() -> float:
    """Seconds of processor that finished child processes took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _memory(process: int) -> tuple[int, int]:
    """(resident, private) KiB of a process; zeros once it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    values = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    return values.get("VmRSS", 0), values.get("RssAnon", 0)


def main() -> None:
    """Fabricate, import, train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unaligned", action="store_true")
    parser.add_argument(
        "--folder", type=Path, help="where there is room; default: the temporary one"
    )
    parser.add_argument("--model", default="lmf")
    options = parser.parse_args()
    shapes = UNALIGNED if options.unaligned else ALIGNED
    benchmark = [sys.executable, "-m", "benchmark"]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path, data, runs = (str(Path(folder) / name) for name in ("p.pkl", "data", "runs"))
        fabricate(Path(path), shapes)
        print(f"package of {Path(path).stat().st_size / 2**30:.1f} GiB: {shapes}")
        where = ["--data-dir", data]
        watched("import", [*benchmark, "data", "import", path, "--name", NAME, *where])
        Path(path).unlink()
        watched(
            f"{options.model}, one epoch and Protocol I",
            [
                *(*benchmark, "run", "--dataset", NAME, *where, "--runs-dir", runs),
                *("--models", options.model, "--regime", "clean", "--protocol", "I"),
                *("--epochs", "1", "--set", "training.batch_size=64", "--tracking-uri", "none"),
            ],
        )


if __name__ == "__main__":
    main()
