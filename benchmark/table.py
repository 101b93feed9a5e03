"""The prediction table of a run: what one checkpoint predicts under every condition.

``predictions.npz`` holds it. Every metric, interval and figure is arithmetic on it; a wrong metric
never costs a retraining.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.conditions import Condition
from protocols.modalities import MODALITIES, Modality, Task

FloatArray = NDArray[np.float32]
TABLE_VERSION = 2
"""What a table keeps: version 2 added the routing. An older one is made anew from its checkpoint
when its run is asked for again."""

JointKey = tuple[str, int]
"""(joint distribution, draw): the key of Protocol III's per-sample levels."""


class RowIndex:
    """Condition -> row. Tables of the same conditions share one, so what is worked out for an index
    (which rows a condition of a protocol mixes) holds for all of them. Equal to itself only."""

    def __init__(self, conditions: tuple[Condition, ...]) -> None:
        self.rows = {condition: row for row, condition in enumerate(conditions)}
        self.draws = 1 + max(condition.draw for condition in conditions)


@lru_cache(maxsize=16)
def row_index(conditions: tuple[Condition, ...]) -> RowIndex:
    """The index of these conditions, the same object whenever they are the same."""
    return RowIndex(conditions)


@dataclass(frozen=True)
class PredictionTable:
    """R conditions by the N samples of a split, conditions in canonical (sorted) order.

    Attributes:
        conditions: the R conditions.
        present: the modalities that the data set has.
        task: regression or classification.
        sample_ids: N ids.
        label: (N,) float64.
        prediction: (R, N) values or (R, N, C) logits, float32.
        log_variance: (R, N) float32, or None.
        reliability: (R, N, 3) float32, or None.
        routing: (R, 3, E) float32: the mean over samples of the weights of E experts per modality;
            None for a model without experts, or where the table is older than that.
        joint_levels: (joint, draw) -> (2, N) float32: each sample's λ_i and η_i.
        version: the :data:`TABLE_VERSION` that it was made with.
    """

    conditions: tuple[Condition, ...]
    present: tuple[Modality, ...]
    task: Task
    sample_ids: tuple[str, ...]
    label: NDArray[np.float64]
    prediction: FloatArray
    log_variance: FloatArray | None
    reliability: FloatArray | None
    joint_levels: Mapping[JointKey, FloatArray]
    routing: FloatArray | None = None
    version: int = TABLE_VERSION

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", row_index(self.conditions))

    @property
    def index(self) -> RowIndex:
        """Where each condition's row is; shared by all tables of these conditions."""
        found: RowIndex = self._index  # type: ignore[attr-defined]
        return found

    def row(self, condition: Condition) -> int:
        """The row of a condition. Raises KeyError where the table does not cover it."""
        return self.index.rows[condition]

    def covers(self, conditions: tuple[Condition, ...]) -> bool:
        """Whether every one of the conditions has its row."""
        return self.index.rows.keys() >= set(conditions)

    @property
    def noise_rules(self) -> tuple[str, ...]:
        """The noise rules that some row was made with."""
        return tuple(sorted({c.noise_rule for c in self.conditions} - {"none"}))

    @property
    def draws(self) -> int:
        """The number of corruption draws."""
        return self.index.draws

    @property
    def joints(self) -> tuple[str, ...]:
        """The joint distributions of Protocol III that the table covers."""
        return tuple(sorted({c.joint for c in self.conditions} - {""}))


def merge(first: PredictionTable, second: PredictionTable) -> PredictionTable:
    """The rows of two tables of one checkpoint, in canonical order; no row may be in both."""
    conditions = first.conditions + second.conditions
    order = sorted(range(len(conditions)), key=lambda i: conditions[i])

    def stack(a: FloatArray | None, b: FloatArray | None) -> FloatArray | None:
        return None if a is None or b is None else np.concatenate([a, b])[order]

    prediction = stack(first.prediction, second.prediction)
    assert prediction is not None
    return PredictionTable(
        tuple(conditions[i] for i in order),
        first.present,
        first.task,
        first.sample_ids,
        first.label,
        prediction,
        stack(first.log_variance, second.log_variance),
        stack(first.reliability, second.reliability),
        {**first.joint_levels, **second.joint_levels},
        stack(first.routing, second.routing),
    )


def restrict(table: PredictionTable, conditions: Sequence[Condition]) -> PredictionTable:
    """The rows of these conditions alone. Raises KeyError where the table lacks one."""
    rows = [table.row(c) for c in conditions]

    def take(values: FloatArray | None) -> FloatArray | None:
        return None if values is None else values[rows]

    joint = {(c.joint, c.draw) for c in conditions}
    return replace(
        table,
        conditions=tuple(conditions),
        prediction=table.prediction[rows],
        log_variance=take(table.log_variance),
        reliability=take(table.reliability),
        routing=take(table.routing),
        joint_levels={key: x for key, x in table.joint_levels.items() if key in joint},
    )


def to_bytes(table: PredictionTable) -> bytes:
    """The table as an npz file; the same table always gives the same bytes."""
    arrays: dict[str, np.ndarray] = {
        "noise_rule": np.array([c.noise_rule for c in table.conditions]),
        "draw": np.array([c.draw for c in table.conditions], dtype=np.int64),
        "intensity": np.array([c.intensity for c in table.conditions], dtype=np.float64),
        "joint": np.array([c.joint for c in table.conditions]),
        "mask": np.array([c.mask for c in table.conditions], dtype=np.int64),
        "present": np.array(table.present),
        "task": np.array(table.task),
        "sample_id": np.array(table.sample_ids),
        "label": table.label,
        "prediction": table.prediction,
        "version": np.array(table.version),
    }
    if table.log_variance is not None:
        arrays["log_variance"] = table.log_variance
    if table.reliability is not None:
        arrays["reliability"] = table.reliability
    if table.routing is not None:
        arrays["routing"] = table.routing
    for joint, draw in sorted(table.joint_levels):
        arrays[f"levels/{joint}/{draw}"] = table.joint_levels[joint, draw]
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def load(path: Path) -> PredictionTable:
    """Read a table. Raises OSError, KeyError or ValueError where the file is not one."""
    with np.load(path, allow_pickle=False) as arrays:
        columns = (arrays[k].tolist() for k in ("noise_rule", "draw", "intensity", "joint", "mask"))
        task = str(arrays["task"])
        assert task in ("regression", "classification")
        levels: dict[JointKey, FloatArray] = {}
        for key in arrays.files:
            if key.startswith("levels/"):
                _, joint, draw = key.split("/")
                levels[joint, int(draw)] = arrays[key]
        present = set(arrays["present"].tolist())
        return PredictionTable(
            tuple(Condition(*row) for row in zip(*columns, strict=True)),
            tuple(m for m in MODALITIES if m in present),
            "regression" if task == "regression" else "classification",
            tuple(arrays["sample_id"].tolist()),
            arrays["label"],
            arrays["prediction"],
            arrays.get("log_variance", None),
            arrays.get("reliability", None),
            levels,
            arrays.get("routing", None),
            int(arrays.get("version", 1)),
        )
