"""Times baselines against the MMSA package's, side by side, with the same weights and inputs.

    python -m tests.speed.baselines_vs_mmsa --mmsa-python VENV/bin/python

As ``mult_vs_mmsa``: each side is a process with the same number of threads, they take turns, and
first both predict one batch with the same weights. Training is at the package's batch size, with
every term of the method's loss; evaluation at the best of a few. MISA's BERT is replaced by the
features themselves, on both sides.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from tests.speed.mult_vs_mmsa import EVAL_BATCHES, Side, same_predictions

WORKER = Path(__file__).with_name("baselines_worker.py")
TRAIN_BATCHES = {"tfn": 32, "lmf": 64, "misa": 16}


def compare(name: str, ours: Side, theirs: Side, options: argparse.Namespace) -> list[str]:
    """The rows of one model: rates, and the ratio turn by turn."""
    batches = {"train": (TRAIN_BATCHES[name],), "eval": EVAL_BATCHES}
    rows = []
    for do, sizes in batches.items():
        rates: dict[tuple[str, int], list[float]] = {}
        for _ in range(options.repeats):
            for batch in sizes:
                for who, side in (("ours", ours), ("mmsa", theirs)):
                    request = {"seconds": options.seconds, "clock": options.clock}
                    rate = side.ask(do=do, batch=batch, **request)
                    rates.setdefault((who, batch), []).append(rate)
        best = {
            who: max((r for (w, _), r in rates.items() if w == who), key=statistics.median)
            for who in ("ours", "mmsa")
        }
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
        rest = [str(WORKER), "ours", name, str(options.threads)]
        ours = Side([sys.executable, *rest])
        theirs = Side([options.mmsa_python, rest[0], "theirs", *rest[2:]])
        difference = same_predictions(ours, theirs)
        for row in compare(name, ours, theirs, options):
            print(row, flush=True)
        print(f"{name:6} largest difference of predictions, same weights: {difference:.1e}")
        for side in (ours, theirs):
            side.close()


if __name__ == "__main__":
    main()
