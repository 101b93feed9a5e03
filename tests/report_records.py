"""Records with hand-made predictions: no model, no training, whatever values a test needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.config import TrainingConfig
from benchmark.metrics import PRIMARY
from benchmark.records import RunRecord, RunStore
from benchmark.spec import RunSpec
from benchmark.table import PredictionTable
from protocols.conditions import PROTOCOLS, Condition, Protocol, conditions_of
from protocols.draws import joint_levels
from protocols.modalities import MODALITIES, Modality, Task
from protocols.regimes import Regime
from protocols.settings import AnySettings
from reports.results import Results, load
from reports.sources import Sources
from reports.tables.table import Cell, Row, Table

Predict = Callable[[Condition, np.ndarray], np.ndarray]
"""(condition, labels) -> (N,) values or (N, C) logits."""

LABEL = [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0]
TITLES = {"alpha": "Alpha", "beta": "Beta", "qamoe": "QA-MoE"}
SHA = "a" * 64
USUAL = {"qamoe": {"topk": 3, "ablation": "none"}}
"""Model -> the settings of its preset, as far as a test needs them."""
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
    has = np.tile([m in present for m in MODALITIES], (len(labels), 1))
    return PredictionTable(conditions, present, task, ids, labels, has, rows, None, None, levels)


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
    chosen = Regime(kind=regime) if isinstance(regime, str) else regime  # type: ignore[arg-type]
    usual: Mapping[str, Any] = USUAL.get(model, {})
    given = dict(config or {})
    changes = {f"model.{key}": x for key, x in given.items() if x != usual.get(key)}
    return RunSpec(
        dataset=dataset,
        data_sha256=sha,
        task=task,
        model=model,
        version=1,
        config=AnySettings(**{**usual, **given}),
        training=TrainingConfig(**{"select_on": PRIMARY[task], "epochs": 3, **(training or {})}),
        regime=chosen,
        seed=seed,
        preset=preset,
        changes=changes | {f"regime.{key}": x for key, x in chosen.changes().items()},
        title=TITLES.get(model, model),
        source="reconstruction" if model == "beta" else "paper read",
    )


def add(store: RunStore, spec: RunSpec, table: PredictionTable, **environment: Any) -> RunRecord:
    """Commit a record."""
    history = pd.DataFrame({"epoch": [1], "train_loss": [1.0], "valid_mae": [1.0], "best": [True]})
    facts = {"commit": "0123456789abcdef", "dirty": False, "device": "cpu"}
    facts |= {"model": {"version": 1}, **environment}
    return store.commit(spec, facts, history, b"weights", table)


def off_by(error: float) -> Predict:
    """Predictions off by a constant, and by 0.1 more for each missing modality."""
    return lambda c, y: y + error + 0.1 * (3 - c.mask.bit_count())


def one(store: RunStore, dataset: str | None = None) -> Results:
    """The results of one data set."""
    (results,) = load(store, dataset)
    return results


def sources(results: Results) -> Sources:
    return Sources.of(results)


def cell(table: Table, label: str, title: str, group: str = "", section: str = "") -> Cell:
    (row,) = [r for r in table.rows if r.label == label and section in r.section]
    (place,) = [i for i, c in enumerate(table.columns) if (c.title, c.group) == (title, group)]
    return row.cells[place]


def labels_of(rows: tuple[Row, ...]) -> list[str]:
    return [row.label for row in rows]
