"""IMDer's two samplers on one checkpoint: validation MAE over the incomplete subsets.

    python -m tests.speed.imder_steps --dataset mosi --data-dir data --device cuda

It trains IMDer with its 100 uniform steps and answers the validation split with these and with the
20 geometric ones of the preset ``20_steps``, which is to be shown only where both are within 0.01.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.imder import IMDer
from baselines.imder_config import IMDerConfig
from benchmark.config import TrainingConfig
from benchmark.data.dataset import Dataset
from benchmark.data.registry import load_dataset
from benchmark.environment import choose_device, compute_with
from benchmark.predict import batch_size_for, predict
from benchmark.train import Callbacks, fit
from protocols.availability import mask_of, name_of, subsets
from protocols.degradation import degrade
from protocols.draws import NO_NOISE
from protocols.missing import as_bools
from protocols.regimes import Regime

LARGEST = 0.01


def validation_errors(model: IMDer, data: Dataset) -> dict[str, float]:
    """The MAE on the validation split for each incomplete subset of the modalities."""
    samples = data.splits["valid"].samples.to(data.splits["train"].device).as_float32()
    assert samples.label is not None
    found = {}
    for mask in subsets(data.spec.present):
        if mask in (0, mask_of(data.spec.present)):
            continue
        seen = degrade(samples, 0.0, as_bools(mask).to(samples.device), NO_NOISE, {})
        answers = predict(model, seen, batch_size_for(samples.device)).prediction
        found[name_of(mask)] = float((answers - samples.label).abs().mean())
    return found


def main() -> None:
    """Train, answer, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1111)
    given = parser.parse_args()
    compute_with(1)
    data = load_dataset(given.dataset, given.data_dir).without_test()
    data = data.to(str(choose_device(given.device)))
    training = TrainingConfig(epochs=given.epochs, batch_size=given.batch_size, select_on="mae")
    callbacks = Callbacks(lambda *_: None, lambda _, row: print(row, flush=True), lambda _: None)
    fitted = fit(
        lambda: IMDer(IMDerConfig(), data.spec), data.training_data(), training,
        Regime(kind="clean"), given.seed, callbacks,
    )  # fmt: skip
    few = IMDer(IMDerConfig(**IMDer.presets["20_steps"].model), data.spec)
    few.load_state_dict(fitted.model.state_dict())
    few.to(data.splits["train"].device)
    assert isinstance(fitted.model, IMDer)
    one, other = (validation_errors(m, data) for m in (fitted.model, few))
    for name in one:
        print(f"{name:>3}: {one[name]:.4f} with 100 steps, {other[name]:.4f} with 20")
    gap = abs(sum(one.values()) - sum(other.values())) / len(one)
    print(f"means differ by {gap:.4f}: {'shown' if gap <= LARGEST else 'not shown'}")


if __name__ == "__main__":
    main()
