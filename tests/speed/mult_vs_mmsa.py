"""Times MulT against the MMSA package's, side by side, with the same weights and inputs.

    python -m tests.speed.mult_vs_mmsa --mmsa-python VENV/bin/python

The interpreter given must be able to import MMSA; the project does not depend on it. Each side is
a process of its own with the same number of threads, and they take turns, so that a busy machine
slows both. First both predict one batch with the same weights: the comparison is of equals.
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

TRAIN_BATCH = 16
EVAL_BATCHES = (16, 32, 64)
WORKER = Path(__file__).with_name("worker.py")


class Side:
    """A running worker."""

    def __init__(self, command: list[str]) -> None:
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


def compare(ours: Side, theirs: Side, repeats: int, seconds: float, clock: str) -> None:
    """Print the rates and their ratios."""
    work = [("train", TRAIN_BATCH), *(("eval", batch) for batch in EVAL_BATCHES)]
    rates: dict[tuple[str, str, int], list[float]] = {}
    for _ in range(repeats):
        for do, batch in work:
            for name, side in (("ours", ours), ("mmsa", theirs)):
                rate = side.ask(do=do, batch=batch, seconds=seconds, clock=clock)
                rates.setdefault((do, name, batch), []).append(rate)
    for do in ("train", "eval"):
        best = {}
        for name in ("ours", "mmsa"):
            medians = {
                b: statistics.median(r) for (d, n, b), r in rates.items() if (d, n) == (do, name)
            }
            batch = max(medians, key=lambda b: medians[b])
            best[name] = rates[do, name, batch]
            spread = f"{min(best[name]):.1f} to {max(best[name]):.1f}"
            print(f"{do:5} {name}  {medians[batch]:7.1f} samples/s at batch {batch} ({spread})")
        turns = [a / b for a, b in zip(best["ours"], best["mmsa"], strict=True)]
        spread = f"turns {min(turns):.2f} to {max(turns):.2f}"
        print(f"{do:5} ratio {statistics.median(turns):.2f} ({spread})")


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mmsa-python", required=True, help="an interpreter that imports MMSA")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each measurement")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu, with --threads 1, if busy"
    )
    options = parser.parse_args()
    threads = str(options.threads)
    ours = Side([sys.executable, "-m", "tests.speed.worker", "ours", threads])
    theirs = Side([options.mmsa_python, str(WORKER), "theirs", threads])
    print(f"largest difference of predictions, same weights: {same_predictions(ours, theirs):.1e}")
    compare(ours, theirs, options.repeats, options.seconds, options.clock)
    for name, side in (("ours", ours), ("mmsa", theirs)):
        print(f"peak resident memory, {name}: {side.ask(do='memory'):.0f} MiB")
        side.close()


if __name__ == "__main__":
    main()
