"""The whole evaluation of a checkpoint beside a loop over corrupted test sets.

    python -m tests.speed.evaluation

Ours is the prediction table of all four protocols: 64 rows. The loop shares nothing: for each of 64
cells of the grid, 7 subsets, 7 noise levels and 7 rows of Protocol III it draws noise, degrades the
test set and predicts it by the model's plain forward pass, 85 times. A few passes are timed, which
stand for all. Between the two: the same table with a forward pass for each row. Random data of
MOSI's size, one thread, its CPU seconds. ``--mmsa-python`` (see ``baselines_vs_mmsa``) adds 85
passes of the MMSA package's own model, without the noise.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from benchmark.data.dataset import Dataset, Split
from benchmark.interface import BranchedModel, MultimodalModel
from benchmark.predict import batch_size_for, fill_table, predict
from benchmark.registry import model_class, model_names
from protocols.conditions import PROTOCOLS, conditions_of
from protocols.degradation import degrade, fresh_noise
from protocols.missing import as_bools
from protocols.modalities import MODALITIES
from tests.speed.baselines_vs_mmsa import EVAL_BATCHES, TRAIN_BATCHES, WORKER, Side
from tests.speed.harness import Whole, build, mosi_sized

RULE = "seed_a1"
CONDITIONS = conditions_of(PROTOCOLS, MODALITIES, (RULE,), 1, "uniform_0.7")
LOOP = 64 + 7 + 7 + 7
MASKS = (7, 1, 6)
"""Of the passes that are timed: everything, text alone, all but text."""


def seconds_of(action: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    action()
    return time.process_time() - start


def loop_pass(model: MultimodalModel, split: Split, data: Dataset, mask: int) -> None:
    """One pass of the loop."""
    generator = torch.Generator().manual_seed(mask)
    noise = fresh_noise(RULE, split.samples, generator)
    noisy = degrade(split.samples, 0.3, as_bools(mask), noise, data.sigma_ref)
    predict(model, noisy, batch_size_for(split.device))


@contextmanager
def mmsa(python: str | None, name: str) -> Iterator[Side | None]:
    """The package's model as a process, where it has one."""
    if python is None or name not in TRAIN_BATCHES:
        yield None
        return
    side = Side(python, str(WORKER), "theirs", name, "1")
    yield side
    side.close()


def mmsa_seconds(side: Side, samples: int) -> float:
    """CPU seconds of all passes by the package's model, at its best batch size."""
    request = {"do": "eval", "seconds": 1.0, "clock": "cpu"}
    return LOOP * samples / max(side.ask(**request, batch=batch) for batch in EVAL_BATCHES)


def compare(name: str, data: Dataset, split: Split, python: str | None) -> str:
    """The row of one model."""
    model = build(name, data, split.device).eval()

    def table(of: MultimodalModel) -> float:
        return seconds_of(lambda: fill_table(of, split, data.spec, data.sigma_ref, CONDITIONS))

    predict(model, split.samples.select(slice(64)), 64)  # warm
    ours = table(model)
    by_row = table(Whole(model)) if isinstance(model, BranchedModel) else ours
    passes = [seconds_of(lambda m=mask: loop_pass(model, split, data, m)) for mask in MASKS]
    loop = LOOP * sum(passes) / len(passes)
    row = (
        f"{name:12} {ours:8.1f} {by_row:9.1f} {by_row / ours:6.2f} {loop:10.1f} {loop / ours:6.1f}"
    )
    with mmsa(python, name) as side:
        if side is None:
            return row
        theirs = mmsa_seconds(side, len(split))
    return f"{row} {theirs:10.1f} {theirs / ours:6.1f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    usual = [name for name in model_names() if not model_class(name).card.dear]
    parser.add_argument("--models", default=",".join(usual), help="all that are not dear")
    parser.add_argument("--samples", type=int, default=686, help="of the test split")
    parser.add_argument("--mmsa-python", help="an interpreter that imports MMSA")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = mosi_sized()
    whole = data.splits["test"]
    samples = whole.part(slice(options.samples))
    split = Split(whole.sample_ids[: options.samples], samples)
    print(f"{len(split)} samples, {len(CONDITIONS)} rows, CPU seconds of one thread")
    print("model           table   by rows factor  85 passes factor", end="")
    print(" MMSA's 85  factor" if options.mmsa_python else "", flush=True)
    for name in options.models.split(","):
        print(compare(name, data, split, options.mmsa_python), flush=True)


if __name__ == "__main__":
    sys.exit(main())
