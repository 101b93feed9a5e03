"""IMDer's two samplers on one checkpoint: validation MAE over the incomplete subsets.

    python -m tests.speed.imder_steps runs/0123456789ab --dataset mosi --data-dir data

The model of a run that learned with the 100 uniform steps answers the validation split with these
and with the 20 geometric ones of the preset ``20_steps``, which is to be shown only where both are
within 0.01.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from baselines.imder import IMDer
from baselines.imder_config import IMDerConfig
from benchmark.checkpoint import load_checkpoint
from benchmark.data.dataset import Dataset
from benchmark.data.registry import load_dataset
from benchmark.environment import choose_device, compute_with
from benchmark.predict import batch_size_for, predict
from protocols.availability import mask_of, name_of, subsets
from protocols.degradation import degrade
from protocols.draws import NO_NOISE
from protocols.missing import as_bools

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
    """Answer with both, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="The folder of an IMDer run's record.")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    compute_with(1)
    device = choose_device(given.device)
    data = load_dataset(given.dataset, given.data_dir).without_test().to(str(device))
    model = load_checkpoint(given.run, str(device)).model
    assert isinstance(model, IMDer)
    settings = {**model.config.model_dump(), **IMDer.presets["20_steps"].model}
    few = IMDer(IMDerConfig(**settings), data.spec).to(device)
    few.load_state_dict(model.state_dict())
    one, other = (validation_errors(m, data) for m in (model, few))
    for name in one:
        print(f"{name:>3}: {one[name]:.4f} with 100 steps, {other[name]:.4f} with 20")
    gap = abs(sum(one.values()) - sum(other.values())) / len(one)
    print(f"means differ by {gap:.4f}: {'shown' if gap <= LARGEST else 'not shown'}")


if __name__ == "__main__":
    main()
