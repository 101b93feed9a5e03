"""The prediction table of a run: what one checkpoint predicts under every condition.

``predictions.npz`` holds it. Every metric, interval and figure is arithmetic on it; a wrong metric
never costs a retraining.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.archive import read_npz
from benchmark.seal import SEAL, UnsealedError, hash_of_arrays
from protocols.conditions import Condition, draws_of, in_every_draw, versions_of
from protocols.modalities import MODALITIES, Modality, Task

FloatArray = NDArray[np.float32]
TABLE_VERSION = 4
"""The form of the file: version 4 added the hash of its content."""

JointKey = tuple[str, int]
"""(joint distribution, draw): the key of Protocol III's per-sample levels."""


class RowIndex:
    """Condition -> row. Tables of the same conditions share one, so what is worked out for an index
    (which rows a question mixes) holds for all of them. Equal to itself only.

    Attributes:
        conditions: of every row.
        rows: condition -> row.
        draws: (noise rule, joint) -> the number of corruption draws.
        size: the number of rows of the table.
    """

    def __init__(self, conditions: tuple[Condition, ...], current: tuple[bool, ...]) -> None:
        self.conditions = conditions
        self.rows = {c: row for row, c in enumerate(conditions) if current[row]}
        self.draws = draws_of(self.rows)
        self.size = len(conditions)


@lru_cache(maxsize=16)
def row_index(conditions: tuple[Condition, ...], current: tuple[bool, ...]) -> RowIndex:
    """The index of these conditions, the same object whenever they are the same."""
    return RowIndex(conditions, current)


@dataclass(frozen=True, eq=False)
class PredictionTable:
    """R conditions by the N samples of a split, conditions in canonical (sorted) order.

    A row of another version than :func:`protocols.conditions.version_of` now gives is out of date:
    it is kept, but not read, until it is made again.

    Attributes:
        conditions: the R conditions.
        present: the modalities that the data set has.
        task: regression or classification.
        sample_ids: N ids.
        label: (N,) float64.
        available: (N, 3) bool: which modalities each sample has by nature, in the order t, a, v.
        prediction: (R, N) values or (R, N, C) logits, float32.
        log_variance: (R, N) float32, or None.
        reliability: (R, N, 3) float32, or None.
        joint_levels: (joint, draw) -> (2, N) float32: each sample's λ_i and η_i.
        routing: (R, 3, E) float32: the mean over samples of the weights of E experts per modality;
            None for a model without experts.
        versions: R versions of what made each row; by default the present ones.
        block: R places in ``blocks``; by default all 0.
        blocks: what the rows of a block were made with: commit, device, packages, date.
    """

    conditions: tuple[Condition, ...]
    present: tuple[Modality, ...]
    task: Task
    sample_ids: tuple[str, ...]
    label: NDArray[np.float64]
    available: NDArray[np.bool_]
    prediction: FloatArray
    log_variance: FloatArray | None
    reliability: FloatArray | None
    joint_levels: Mapping[JointKey, FloatArray]
    routing: FloatArray | None = None
    versions: tuple[str, ...] = ()
    block: tuple[int, ...] = ()
    blocks: tuple[Mapping[str, Any], ...] = ({},)
    sums: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False)
    """Row sums of metrics' terms, as :mod:`benchmark.readouts` works them out."""

    def __post_init__(self) -> None:
        now = versions_of(self.conditions)
        if not self.versions:
            object.__setattr__(self, "versions", now)
        if not self.block:
            object.__setattr__(self, "block", (0,) * len(now))
        current = tuple(a == b for a, b in zip(self.versions, now, strict=True))
        object.__setattr__(self, "_index", row_index(self.conditions, current))
        object.__setattr__(self, "conditions", self.index.conditions)  # one for all such tables

    @property
    def index(self) -> RowIndex:
        """Where each condition's row is; shared by all tables of these conditions."""
        found: RowIndex = self._index  # type: ignore[attr-defined]
        return found

    def row(self, condition: Condition) -> int:
        """The row of a condition. Raises KeyError where the table does not cover it."""
        return self.index.rows[condition]

    @property
    def noise_rules(self) -> tuple[str, ...]:
        """The noise rules that some row was made with."""
        return tuple(sorted({c.noise_rule for c in self.conditions} - {"none"}))

    @property
    def outdated(self) -> tuple[Condition, ...]:
        """The conditions whose rows were made by other versions than the present ones."""
        return tuple(c for c in self.conditions if c not in self.index.rows)

    @property
    def nbytes(self) -> int:
        """What its predictions take in memory."""
        parts = (self.prediction, self.log_variance, self.reliability, self.routing)
        return sum(part.nbytes for part in parts if part is not None)

    @property
    def lacking(self) -> dict[Modality, int]:
        """How many samples lack a modality by nature: those that some sample lacks."""
        counts = {m: int((~self.available[:, MODALITIES.index(m)]).sum()) for m in self.present}
        return {m: count for m, count in counts.items() if count}


def to_make(table: PredictionTable | None, asked: Iterable[Condition]) -> tuple[Condition, ...]:
    """The rows that a table lacks for the conditions asked of it, in canonical order.

    They come in every draw of their rule and joint, the table's own rows too, so that the table
    ends the same in whatever order things are asked. Where anything is to be made, rows that are
    out of date are made again with it.

    Args:
        table: what there is; None where there is nothing.
        asked: the conditions; none asks for nothing.
    """
    wanted, have = set(asked), table.index.rows.keys() if table else set()
    if not wanted:
        return ()
    known = table.conditions if table else ()
    if in_every_draw(wanted | set(have)) == tuple(sorted(have)):
        return ()
    return tuple(c for c in in_every_draw(wanted | set(known)) if c not in have)


def merge(first: PredictionTable, second: PredictionTable) -> PredictionTable:
    """The rows of two tables of one checkpoint, in canonical order; the second's where both have
    one."""
    replaced = set(second.conditions)
    first = restrict(first, [c for c in first.conditions if c not in replaced])
    conditions = first.conditions + second.conditions
    order = sorted(range(len(conditions)), key=lambda i: conditions[i])

    def stack(a: FloatArray | None, b: FloatArray | None) -> FloatArray | None:
        return None if a is None or b is None else np.concatenate([a, b])[order]

    prediction = stack(first.prediction, second.prediction)
    assert prediction is not None
    versions = first.versions + second.versions
    made_with = [*(first.blocks[i] for i in first.block), *(second.blocks[i] for i in second.block)]
    blocks: list[Mapping[str, Any]] = []
    for one in made_with:
        if one not in blocks:
            blocks.append(one)
    return replace(
        second,
        conditions=tuple(conditions[i] for i in order),
        prediction=prediction,
        log_variance=stack(first.log_variance, second.log_variance),
        reliability=stack(first.reliability, second.reliability),
        joint_levels={**first.joint_levels, **second.joint_levels},
        routing=stack(first.routing, second.routing),
        versions=tuple(versions[i] for i in order),
        block=tuple(blocks.index(made_with[i]) for i in order),
        blocks=tuple(blocks),
    )


def restrict(table: PredictionTable, conditions: Sequence[Condition]) -> PredictionTable:
    """The rows of these conditions alone, whatever their version. Raises KeyError for an absent
    one."""
    places = {c: row for row, c in enumerate(table.conditions)}
    rows = [places[c] for c in conditions]

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
        versions=tuple(table.versions[row] for row in rows),
        block=tuple(table.block[row] for row in rows),
    )


def to_bytes(table: PredictionTable) -> bytes:
    """The table as an npz file; the same table always gives the same bytes."""
    arrays = _arrays(table)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays, **{SEAL: np.array(hash_of_arrays(arrays))})
    return buffer.getvalue()


def seal_of(source: PredictionTable | Path) -> str:
    """The hash of a table's content; of a file the one that it states.

    Raises:
        BenchmarkError: where the file is no archive of arrays.
        UnsealedError: where it states none.
    """
    if isinstance(source, PredictionTable):
        return hash_of_arrays(_arrays(source))
    found = read_npz(source, SEAL)
    if SEAL not in found:
        raise UnsealedError("it has no hash of its content")
    return str(found[SEAL])


def load(path: Path) -> PredictionTable:
    """Read a table.

    Raises:
        BenchmarkError: where the file is no sound archive of arrays.
        UnsealedError: where the table is of another form.
        KeyError, TypeError, ValueError: where it is no table, or was changed since.
    """
    arrays = read_npz(path)
    version = int(arrays.get("version", 1))
    if version != TABLE_VERSION:
        raise UnsealedError(f"a table of form {version}; this version reads form {TABLE_VERSION}")
    stated = str(arrays.pop(SEAL))
    if stated != hash_of_arrays(arrays):
        raise ValueError("it was edited or damaged after the run: its content has another hash")
    columns = (arrays[k].tolist() for k in ("noise_rule", "draw", "intensity", "joint", "mask"))
    task = str(arrays["task"])
    if task not in ("regression", "classification"):
        raise ValueError(f"its task is '{task}'")
    levels: dict[JointKey, FloatArray] = {}
    for key in arrays:
        if key.startswith("levels/"):
            _, joint, draw = key.split("/")
            levels[joint, int(draw)] = arrays[key]
    present = set(arrays["present"].tolist())
    return PredictionTable(
        conditions=tuple(Condition(*row) for row in zip(*columns, strict=True)),
        present=tuple(m for m in MODALITIES if m in present),
        task="regression" if task == "regression" else "classification",
        sample_ids=_shared(tuple(arrays["sample_id"].tolist())),
        label=arrays["label"],
        available=arrays["available"],
        prediction=arrays["prediction"],
        log_variance=arrays.get("log_variance"),
        reliability=arrays.get("reliability"),
        joint_levels=levels,
        routing=arrays.get("routing"),
        versions=tuple(arrays["row_version"].tolist()),
        block=tuple(arrays["block"].tolist()),
        blocks=tuple(json.loads(block) for block in arrays["blocks"].tolist()),
    )


@lru_cache(maxsize=16)
def _shared(sample_ids: tuple[str, ...]) -> tuple[str, ...]:
    """The same object for the same ids: a report has as many tables as runs."""
    return sample_ids


def _arrays(table: PredictionTable) -> dict[str, np.ndarray]:
    """What the file holds, but for its hash."""
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
        "available": table.available,
        "prediction": table.prediction,
        "version": np.array(TABLE_VERSION),
        "row_version": np.array(table.versions),
        "block": np.array(table.block, dtype=np.int64),
        "blocks": np.array([json.dumps(block, sort_keys=True) for block in table.blocks]),
    }
    for name in ("log_variance", "reliability", "routing"):
        if (values := getattr(table, name)) is not None:
            arrays[name] = values
    for joint, draw in sorted(table.joint_levels):
        arrays[f"levels/{joint}/{draw}"] = table.joint_levels[joint, draw]
    return arrays
