"""Channels that never vary in training get no noise, so nothing can amplify it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.dataset import Dataset
from benchmark.predict import fill_table
from benchmark.registry import model_class
from protocols.conditions import at_level
from protocols.modalities import MODALITIES
from tests.packages import SHAPES, import_and_load, make_package

CONSTANT = {"text": [1], "audio": [0, 2], "vision": [1]}
"""Channels; the value of each is one number at every real step of train."""


def constant_set(tmp_path: Path) -> Dataset:
    data = make_package()
    for split, content in data.items():
        for m, channels in CONSTANT.items():
            real = np.arange(SHAPES[m][0]) < np.array(content[f"{m}_lengths"])[:, None]
            for c in channels:
                content[m][..., c] = real * np.float32(3.25)
        if split == "test":  # what varies only here does not count
            content["text"][0, 0, 1] = 9.0
    return import_and_load(tmp_path, data)[1]


def test_the_reference_is_zero_where_training_never_varies(tmp_path: Path) -> None:
    dataset = constant_set(tmp_path)
    for m in MODALITIES:
        zero = np.flatnonzero(dataset.sigma_ref[m].numpy() == 0).tolist()
        assert zero == CONSTANT[m]
    rows = dataset.splits["train"].samples
    pooled = rows.features["text"][rows.masks["text"]].double().std(correction=0).item()
    assert dataset.sigma_ref["text"][0].item() == pytest.approx(pooled, rel=1e-5)


def test_a_text_that_hardly_varies_is_not_constant(tmp_path: Path) -> None:
    data = make_package()
    data["train"]["text"][..., 1] = 3.25
    data["train"]["text"][-1, 0, 1] = 3.26  # the very last sample alone
    assert (import_and_load(tmp_path, data)[1].sigma_ref["text"] > 0).all()


@pytest.mark.parametrize("name", ["lmf", "tfn"])
def test_batch_normalisation_does_not_amplify_noise(tmp_path: Path, name: str) -> None:
    """A running variance of 0 is a gain of 1/sqrt(1e-5): noise of 0.1 would come in as 30."""
    dataset = constant_set(tmp_path)
    kind = model_class(name)
    torch.manual_seed(0)
    model = kind(kind.Config(), dataset.spec)
    with torch.no_grad():
        for _ in range(120):  # the running statistics of a long training
            model(dataset.splits["train"].samples)
    conditions = [at_level("gaussian_av", 0, level, 7) for level in (0.0, 0.1)]
    split = dataset.splits["test"]

    def shift(given: Dataset) -> float:
        table = fill_table(model, split, given.spec, given.sigma_ref, conditions)
        clean, noisy = table.prediction
        return float(np.abs(noisy - clean).max() / np.abs(clean).max())

    everywhere = {m: torch.ones(w) for m, w in dataset.spec.widths.items()}
    assert shift(replace(dataset, sigma_ref=everywhere)) > 5 * shift(dataset)
    assert shift(dataset) < 1
