"""Small feature packages for the data tests, and their import."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.dataset import Dataset
from benchmark.data.importer import import_package
from benchmark.data.manifest import Manifest
from benchmark.data.store import load

SIZES = {"train": 20, "valid": 7, "test": 9}
SHAPES = {"text": (6, 5), "audio": (8, 3), "vision": (4, 2)}


def make_package(
    seed: int = 0,
    shapes: dict[str, tuple[int, int]] = SHAPES,
    dtype: Any = np.float32,
    task: str = "regression",
) -> dict[str, dict[str, Any]]:
    """A sound package: random features, right padding, stated lengths, ids ``video$_$clip``."""
    draw = np.random.default_rng(seed)
    data: dict[str, dict[str, Any]] = {}
    for split, count in SIZES.items():
        content: dict[str, Any] = {
            "id": [f"{split}{i // 3}$_${i % 3}" for i in range(count)],
            "raw_text": np.array([f"text {i} é" for i in range(count)], dtype=object),
        }
        for modality, (steps, width) in shapes.items():
            lengths = draw.integers(1, steps + 1, count)
            values = draw.normal(10.0 if modality == "audio" else 0.0, 3.0, (count, steps, width))
            values[np.arange(steps) >= lengths[:, None]] = 0
            content[modality] = values.astype(dtype)
            content[f"{modality}_lengths"] = lengths.tolist()
        if task == "regression":
            content["regression_labels"] = np.round(draw.uniform(-3, 3, count), 1)
        content["classification_labels"] = np.arange(count) % 3
        data[split] = content
    return data


def write_package(path: Path, data: Any, protocol: int = 4) -> Path:
    with path.open("wb") as stream:
        pickle.dump(data, stream, protocol=protocol)
    return path


def import_and_load(tmp_path: Path, data: Any, **options: Any) -> tuple[Manifest, Dataset]:
    path = write_package(tmp_path / "package.pkl", data)
    manifest = import_package(path, "mine", tmp_path / "data", **options)
    return manifest, load(tmp_path / "data", "mine")
