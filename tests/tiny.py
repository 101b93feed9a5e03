"""A tiny feature package on disk, imported: for tests of whole runs and of the command line."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmark.data.importer import import_package
from tests.batches import make_batch, make_spec

SIZES = {"train": 96, "valid": 24, "test": 40}
QUICK = [
    *("--dataset", "tiny", "--models", "qamoe", "--set", "evaluation.draws=1"),
    *("--set", "model.width=16", "--set", "model.encoder_heads=2"),
]


def tiny_package(path: Path, classification: bool = False) -> Path:
    """Write an MMSA-style pickle with three short modalities and a learnable label."""
    spec = make_spec("classification", 3) if classification else make_spec()
    package = {}
    for position, (split, size) in enumerate(SIZES.items()):
        batch = make_batch(size, spec, seed=position)
        arrays: dict[str, object] = {m: x.numpy() for m, x in batch.features.items()}
        arrays |= {f"{m}_lengths": x.sum(1).tolist() for m, x in batch.masks.items()}
        arrays["id"] = np.array([f"{split}{i}$_$0" for i in range(size)])
        arrays["raw_text"] = np.array(["some words"] * size, dtype=object)
        key = "classification_labels" if classification else "regression_labels"
        arrays[key] = batch.label.numpy()
        package[split] = arrays
    path.write_bytes(pickle.dumps(package))
    return path


def tiny_data_dir(folder: Path) -> Path:
    """A data folder with the package imported as ``tiny`` and its class form as ``tiny-cls``."""
    for name, classification in (("tiny", False), ("tiny-cls", True)):
        package = tiny_package(folder / f"{name}.pkl", classification)
        import_package(package, name, folder / "data")
    return folder / "data"


def benchmark(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
        check=False,
        **options,  # type: ignore[call-overload]
    )
