"""Times baselines against the MMSA package's, side by side, with the same weights and inputs.

    python -m tests.speed.baselines_vs_mmsa --mmsa-python VENV/bin/python

The interpreter given must be able to import MMSA; the project does not depend on it. Each side is
a process of its own with the same number of threads, and they take turns, so that a busy machine
slows both. First both predict one batch with the same weights: the comparison is of equals.
Training is at the package's batch size, with every stage and every term of the method's loss;
evaluation at the best of a few. The BERT of MISA and MMIM is replaced by the features themselves,
on both sides.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("mmsa_worker.py")
TRAIN_BATCHES = {"mult": 16, "tfn": 32, "lmf": 64, "misa": 16, "mmim": 32}
EVAL_BATCHES = (16, 32, 64)


class Side:
    """A running worker."""

    def __init__(self, *command: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} stopped; its message is above")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def same_predictions(ours: Side, theirs: Side) -> float:
    """The largest difference of the two models' predictions with the same weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "weights.pt")
        ours.ask(do="share", path=path)
        theirs.ask(do="share", path=path)
    pairs = zip(*(side.ask(do="predict", batch=8) for side in (ours, theirs)), strict=True)
    return max(abs(a - b) for a, b in pairs)


def compare(name: str, sides: dict[str, Side], options: argparse.Namespace) -> list[str]:
    """The rows of one model: rates, and the ratio turn by turn."""
    batches = {"train": (TRAIN_BATCHES[name],), "eval": EVAL_BATCHES}
    rows = []
    for do, sizes in batches.items():
        rates: dict[str, dict[int, list[float]]] = {who: {b: [] for b in sizes} for who in sides}
        for _ in range(options.repeats):
            for batch in sizes:
                for who, side in sides.items():
                    request = {"seconds": options.seconds, "clock": options.clock}
                    rates[who][batch].append(side.ask(do=do, batch=batch, **request))
        best = {who: max(found.values(), key=statistics.median) for who, found in rates.items()}
        turns = [a / b for a, b in zip(best["ours"], best["mmsa"], strict=True)]
        medians = [statistics.median(best[who]) for who in ("ours", "mmsa")]
        rows.append(
            f"{name:6} {do:6} {medians[0]:9.0f} {medians[1]:9.0f} {statistics.median(turns):7.2f}"
            f"   {min(turns):.2f} to {max(turns):.2f}"
        )
    return rows


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mmsa-python", required=True, help="an interpreter that imports MMSA")
    parser.add_argument("--models", default=",".join(TRAIN_BATCHES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu, with --threads 1, if busy"
    )
    options = parser.parse_args()
    print(f"samples/s, {options.threads} thread(s), {options.clock} clock")
    print("model  do          ours      mmsa   ratio   turns", flush=True)
    for name in options.models.split(","):
        rest = (name, str(options.threads))
        sides = {
            "ours": Side(sys.executable, str(WORKER), "ours", *rest),
            "mmsa": Side(options.mmsa_python, str(WORKER), "theirs", *rest),
        }
        difference = same_predictions(*sides.values())
        for row in compare(name, sides, options):
            print(row, flush=True)
        print(f"{name:6} largest difference of predictions, same weights: {difference:.1e}")
        memory = ", ".join(f"{who} {side.ask(do='memory'):.0f} MiB" for who, side in sides.items())
        print(f"{name:6} peak resident memory: {memory}", flush=True)
        for side in sides.values():
            side.close()


if __name__ == "__main__":
    main()
