"""Records with hand-made predictions: no model, no training, whatever values a test needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.interface import Task
from benchmark.records import RunRecord, RunStore
from benchmark.spec import RunSpec
from benchmark.table import PredictionTable
from protocols.conditions import PROTOCOLS, Condition, Protocol, conditions_of, joint_levels
from protocols.modalities import MODALITIES, Modality
from protocols.regimes import Regime

Predict = Callable[[Condition, np.ndarray], np.ndarray]
"""(condition, labels) -> (N,) values or (N, C) logits."""

SHA = "a" * 64
JOINT = "uniform_0.7"


def make_table(
    label: Sequence[float] | np.ndarray,
    predict: Predict,
    task: Task = "regression",
    present: tuple[Modality, ...] = MODALITIES,
    protocols: Sequence[Protocol] = PROTOCOLS,
    draws: int = 1,
) -> PredictionTable:
    """A table that covers the protocols; every row is what ``predict`` says."""
    labels = np.asarray(label, dtype=np.float64)
    ids = tuple(f"s{i}" for i in range(len(labels)))
    conditions = conditions_of(protocols, present, ["seed_a1"], draws, JOINT)
    rows = np.stack([predict(c, labels) for c in conditions]).astype(np.float32)
    levels = {
        (JOINT, d): np.stack([x.numpy() for x in joint_levels(JOINT, d, "test", ids)])
        for d in range(draws)
        if "III" in protocols
    }
    return PredictionTable(conditions, present, task, ids, labels, rows, None, None, levels)


def make_spec(
    model: str = "alpha",
    regime: Regime | str = "clean",
    seed: int = 1,
    dataset: str = "toy",
    task: Task = "regression",
    sha: str = SHA,
    preset: str = "paper",
    config: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> RunSpec:
    """A run's spec."""
    chosen = Regime(regime) if isinstance(regime, str) else regime  # type: ignore[arg-type]
    select = "mae" if task == "regression" else "acc"
    settings = {"select_on": select, "epochs": 3, **(training or {})}
    return RunSpec(dataset, sha, task, model, preset, dict(config or {}), settings, chosen, seed)


def add(store: RunStore, spec: RunSpec, table: PredictionTable, **environment: Any) -> RunRecord:
    """Commit a record."""
    history = pd.DataFrame({"epoch": [1], "train_loss": [1.0], "valid_mae": [1.0], "best": [True]})
    facts = {"commit": "0123456789abcdef", "dirty": False, "device": "cpu", **environment}
    return store.commit(spec, facts, history, b"weights", table)
