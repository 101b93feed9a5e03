"""Times a plan of three seeds, from the command line to its last record, beside MMSA's own run.

    python -m tests.speed.plans_vs_mmsa --mmsa-python VENV/bin/python [--epochs 5]

The interpreter given must be able to import MMSA; the project does not depend on it. Both sides get
one package of random features of MOSI's size (1284/229/686 samples, 50 steps of 768/74/35), the
same seeds, number of epochs and two cores, and their start counts: ours are two workers of one
thread, as is the default there; the package's ``MMSA_run`` has two threads and takes one seed after
the other. Ours has imported the package before, which is done once; theirs unpickles it in every
run. Both end with the clean test. Presets are those with the package's settings, and the BERT of
MISA and MMIM is replaced by the features themselves, on both sides. The sides take turns.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.speed.bytecode import compiled
from tests.speed.mmsa_weights import DEPARTURES, PRESETS

COUNTS = {"train": 1284, "valid": 229, "test": 686}
STEPS, WIDTHS = 50, {"text": 768, "audio": 74, "vision": 35}
SEEDS = ("1111", "1112", "1113")
CORES = 2
THEIRS = Path(__file__).with_name("mmsa_run.py")


def fabricate(path: Path) -> None:
    """A feature package of noise; in the place of BERT's tokens the samples' numbers."""
    draw = np.random.default_rng(0)
    package, before = {}, 0
    for split, count in COUNTS.items():
        tokens = np.ones((count, 3, STEPS), np.float32)
        tokens[:, 0] = np.arange(before, before + count)[:, None]
        package[split] = {
            "id": [f"{split}{k // 8}$_${k % 8}" for k in range(count)],
            "raw_text": np.array(["words"] * count),
            "regression_labels": draw.uniform(-3, 3, count).astype(np.float32),
            "text_bert": tokens,
            "audio_lengths": [STEPS] * count,
            "vision_lengths": [STEPS] * count,
            **{m: draw.standard_normal((count, STEPS, w), np.float32) for m, w in WIDTHS.items()},
        }
        before += count
    path.write_bytes(pickle.dumps(package, protocol=4))


def seconds_of(command: list[str]) -> float:
    """What a command takes on as many cores as both sides have."""
    begun = time.perf_counter()
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-3000:]}")
    return time.perf_counter() - begun


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mmsa-python", required=True)
    parser.add_argument("--models", default=",".join(PRESETS))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--turns", type=int, default=1)
    options = parser.parse_args()
    compiled()
    benchmark = [sys.executable, "-m", "benchmark"]
    print(f"{len(SEEDS)} seeds of {options.epochs} epochs on {CORES} cores")
    print("model      ours      mmsa   ratio")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package, data = folder / "package.pkl", ["--data-dir", str(folder / "data")]
        fabricate(package)
        seconds_of([*benchmark, "data", "import", str(package), "--name", "noise", *data])
        for model in options.models.split(","):
            rows: dict[str, list[float]] = {"ours": [], "mmsa": []}
            for turn in range(options.turns):
                settings = [f"model.{k}={x}" for k, x in DEPARTURES.get(model, {}).items()]
                ours = [
                    *(*benchmark, "run", "--dataset", "noise", *data, "--models", model),
                    *("--preset", PRESETS[model], "--regime", "clean", "--protocol", "clean"),
                    *("--seeds", ",".join(SEEDS), "--epochs", str(options.epochs)),
                    *(word for setting in settings for word in ("--set", setting)),
                    *("--runs-dir", str(folder / f"{model}{turn}"), "--tracking-uri", "none"),
                ]
                theirs = [
                    *(options.mmsa_python, str(THEIRS), model, str(package), name),
                    *(str(options.epochs), str(CORES), *SEEDS),
                ]
                rows["ours"].append(seconds_of(ours))
                rows["mmsa"].append(seconds_of(theirs))
            ours_s, mmsa_s = (statistics.median(seconds) for seconds in rows.values())
            print(f"{model:5} {ours_s:7.1f} s {mmsa_s:7.1f} s {mmsa_s / ours_s:6.2f}", flush=True)


if __name__ == "__main__":
    main()
