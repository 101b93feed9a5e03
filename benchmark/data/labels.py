"""The labels of a package: which column, for which task, on which scale, and who has none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data import columns
from benchmark.data.adjust import Adjustments, keep_rows, map_labels
from benchmark.data.dataset import SPLITS
from benchmark.data.schema import LABEL_KEYS, PLAIN_LABELS
from benchmark.errors import BenchmarkError
from protocols.modalities import Task

EMOTIONS = ("neutral", "happy", "sad", "angry")
"""The order of the four yes-or-no questions in MulT's package of IEMOCAP."""
MOST_CLASSES = 20
"""More whole numbers than these under a key that says nothing are no classes."""

Splits = dict[str, dict[str, Any]]


def settle_labels(
    data: Mapping[str, Mapping[str, Any]],
    source: str,
    asked_task: Task | None,
    asked: Adjustments,
    notes: list[str],
) -> tuple[Splits, Task]:
    """The splits with one label column of the schema, and what the labels are for.

    ``labels``, MulT's key, may be sentiment, (N, 1, 1) too, whole numbers or names of classes, or
    IEMOCAP's (N, 4, 2) answers. What was done is said in ``notes``.

    Raises:
        BenchmarkError: there are no labels of that kind, or several numbers per sample.
    """
    key = _key(data["train"], source, asked_task)
    splits: Splits = {name: dict(data[name]) for name in SPLITS}
    if any(_is_answers(split.get(key)) for split in splits.values()):
        if asked_task == "regression":
            raise BenchmarkError(
                f"{source}: train: '{key}' answers four yes-or-no questions"
                f" ({', '.join(EMOTIONS)}): no sentiment for --task regression."
            )
        splits = {s: _one_emotion(x, key, s, f"{source}: {s}", notes) for s, x in splits.items()}
        return splits, "classification"
    for name, split in splits.items():
        if split.get(key) is not None:
            split[key] = _one_number(split[key], asked.label_column, f"{source}: {name}: {key}")
    task = asked_task or _task(key, splits, notes)
    if key == PLAIN_LABELS:
        for split in splits.values():
            split[LABEL_KEYS[task]] = split.pop(key, None)
        key = LABEL_KEYS[task]
    if asked.drop_unlabelled:
        splits = {s: _labelled(x, key, s, f"{source}: {s}", notes) for s, x in splits.items()}
    if asked.label_map or asked.clip_labels:
        if task == "classification" and asked.clip_labels:
            raise BenchmarkError("--clip-labels is for sentiment, not for classes.")
        for name, split in splits.items():
            split[key] = _on_the_scale(split.get(key), asked, f"{source}: {name}: {key}", notes)
    return splits, task


def _key(train: Mapping[str, Any], source: str, task: Task | None) -> str:
    """The column that holds the labels."""
    wanted = [*LABEL_KEYS.values()] if task is None else [LABEL_KEYS[task]]
    wanted.append(PLAIN_LABELS)
    for key in wanted:
        if train.get(key) is not None:
            return key
    other = [key for key in LABEL_KEYS.values() if train.get(key) is not None]
    hint = (
        f"To take '{other[0]}' as they are: --rename {other[0]}={wanted[0]}"
        if other
        else f"If another key holds them: --rename KEY={PLAIN_LABELS}"
    )
    found = columns.printable(train)
    raise BenchmarkError(
        f"{source}: train has no labels for this: neither {' nor '.join(wanted)} (found: {found})."
        f" {hint}."
    )


def _is_answers(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.shape[1:] == (len(EMOTIONS), 2)


def _one_emotion(
    content: dict[str, Any], key: str, name: str, where: str, notes: list[str]
) -> dict[str, Any]:
    """Four answers as one class; samples with none or several are left out, and counted."""
    if not _is_answers(content.get(key)):
        raise BenchmarkError(f"{where}: {key} must be (N, 4, 2) answers as in the other splits.")
    answers = content.pop(key).argmax(2)
    single = answers.sum(1) == 1
    content = keep_rows(content, single)
    content[LABEL_KEYS["classification"]] = [EMOTIONS[k] for k in answers[single].argmax(1)]
    if not single.all():
        notes.append(
            f"{name}: {int((~single).sum())} of {len(single)} samples have no or several of"
            f" {', '.join(EMOTIONS)} and were left out"
        )
    return content


def _one_number(values: Any, column: int | None, where: str) -> Any:
    """One label per sample out of (N, 1, 1), or out of (N, K) by its column."""
    array = columns.array_of(values)
    if array is None or array.ndim < 2 or not len(array):
        if column is not None:
            raise BenchmarkError(f"{where}: --label-column: there is one number per sample.")
        return values
    rows = array.reshape(len(array), -1)
    if column is not None:
        if not 0 <= column < rows.shape[1]:
            raise BenchmarkError(
                f"{where}: --label-column {column}: there are columns 0 to {rows.shape[1] - 1}."
            )
        return rows[:, column]
    if rows.shape[1] == 1:
        return rows[:, 0]
    raise BenchmarkError(
        f"{where} has shape {array.shape}: several numbers per sample. --label-column K takes one"
        " of them (from 0; of MOSEI's 7 the first is sentiment, the others are emotions; of POM's"
        " 17 each is a trait)."
    )


def _task(key: str, splits: Splits, notes: list[str]) -> Task:
    """What the labels are for, by the key or, where it says nothing, by the values."""
    if key != PLAIN_LABELS:
        return next(task for task, name in LABEL_KEYS.items() if name == key)
    known = [columns.array_of(split.get(key)) for split in splits.values()]
    arrays = [values for values in known if values is not None and values.size]
    if arrays and all(values.dtype.kind in "USO" for values in arrays):
        return "classification"
    if not arrays or any(values.dtype.kind not in "fiub" for values in arrays):
        return "regression"  # whose check says what is wrong
    values = np.unique(np.concatenate([x.ravel().astype(np.float64) for x in arrays]))
    values = values[np.isfinite(values)]
    whole = len(values) > 1 and bool((values == np.floor(values)).all()) and values[0] >= 0
    if not whole or len(values) > MOST_CLASSES:
        return "regression"
    notes.append(
        f"'{key}' holds the whole numbers {values[0]:g} to {values[-1]:g}: taken as"
        f" {len(values)} classes; if they are sentiment, import with --task regression"
    )
    return "classification"


def _labelled(
    content: dict[str, Any], key: str, name: str, where: str, notes: list[str]
) -> dict[str, Any]:
    """The samples that have a label; the others go from every column."""
    values = content.get(key)
    rows = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(rows, list | tuple):
        return content
    keep = np.array([not _is_absent(x) for x in rows], dtype=bool)
    if keep.all():
        return content
    if not keep.any():
        raise BenchmarkError(
            f"{where}: no sample has a label. Answers for such a set: 'benchmark predict'."
        )
    notes.append(f"{name}: {int((~keep).sum())} of {len(keep)} samples have no label: left out")
    return keep_rows(content, keep)


def _is_absent(value: Any) -> bool:
    """None, NaN, or an empty text."""
    if isinstance(value, str | bytes):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def _on_the_scale(values: Any, asked: Adjustments, where: str, notes: list[str]) -> Any:
    """The labels through the user's formula, and clipped where that is asked for."""
    if values is None:
        return None
    labels = columns.column(values, where).astype(np.float64)
    if asked.label_map:
        labels = map_labels(asked.label_map, labels)
    limit = columns.LABEL_LIMIT
    beyond = int((np.abs(labels) > limit).sum())
    if asked.clip_labels and beyond:
        labels = np.clip(labels, -limit, limit)
        notes.append(f"{where.rpartition(': ')[0].rpartition(': ')[2]}: {beyond} labels clipped")
    return labels


def shape_of_sentiment(label: NDArray[Any]) -> list[str]:
    """What is odd about all sentiment labels together: constant, or as classes are."""
    values = np.unique(label)
    if len(values) == 1:
        return [f"every label is {values[0]:g}: a constant; there is nothing to learn"]
    whole = values[0] >= 0 and bool((values == np.floor(values)).all())
    if len(values) > 2 and not whole:
        return []
    shown = ", ".join(f"{x:g}" for x in values)
    count = "two" if len(values) == 2 else str(len(values))
    return [
        f"the labels are {shown} only: {count} classes? Then take them with --task classification"
        f" (and --rename {LABEL_KEYS['regression']}=labels)"
    ]
