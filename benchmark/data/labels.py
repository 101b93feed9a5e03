"""The labels of a package: which column, for which task, on which scale, and who has none."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
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
LIKE_LABELS = re.compile(r"label|senti|emotion|annotation|target|class|score|intent|^y$", re.I)
"""Keys that may hold labels, for a hint."""

Splits = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Settled:
    """The splits with one label column of the schema.

    Attributes:
        splits: their columns.
        task: what the labels are for.
        key: what the file calls them, for messages.
    """

    splits: Splits
    task: Task
    key: str


def settle_labels(
    data: Mapping[str, Mapping[str, Any]],
    source: str,
    asked_task: Task | None,
    asked: Adjustments,
    notes: list[str],
) -> Settled:
    """Find the labels, and bring them to the schema.

    ``labels``, MulT's key, may be sentiment, (N, 1, 1) too, whole numbers or names of classes, or
    IEMOCAP's (N, 4, 2) answers. What was done is said in ``notes``.

    Raises:
        BenchmarkError: there are no labels of that kind, or several numbers per sample.
    """
    key = _key(data["train"], source, asked_task)
    shown = next((old for old, new in asked.rename.items() if new == key), key)
    splits: Splits = {name: dict(data[name]) for name in SPLITS}
    for name, split in splits.items():
        if split.get(key) is None:
            raise BenchmarkError(
                f"{source}: {name}: no '{shown}', the labels (found:"
                f" {columns.printable(k for k in split if split[k] is not None)})."
                f" {columns.UNLABELLED}"
            )
    if any(_is_answers(split.get(key)) for split in splits.values()):
        if asked_task == "regression":
            raise BenchmarkError(
                f"{source}: train: '{shown}' answers four yes-or-no questions"
                f" ({', '.join(EMOTIONS)}): no sentiment for --task regression."
            )
        splits = {s: _one_emotion(x, key, s, f"{source}: {s}", notes) for s, x in splits.items()}
        return Settled(splits, "classification", shown)
    if asked.label_column is None and key != LABEL_KEYS["regression"]:
        _from_one_hot(splits, key, shown, notes)
    for name, split in splits.items():
        split[key] = _one_number(split[key], asked.label_column, f"{source}: {name}: {shown}")
    if key != LABEL_KEYS["classification"]:
        _from_texts(splits, key, source, shown)
    task = asked_task or _task(key, splits, shown, notes)
    if key == PLAIN_LABELS:
        for split in splits.values():
            split[LABEL_KEYS[task]] = split.pop(key)
        key = LABEL_KEYS[task]
    if asked.labelled_only:
        splits = {s: _labelled(x, key, s, f"{source}: {s}", notes, task) for s, x in splits.items()}
    if asked.label_map or asked.clip_labels:
        if task == "classification" and asked.clip_labels:
            raise BenchmarkError("--clip-labels is for sentiment, not for classes.")
        for name, split in splits.items():
            labels = columns.column(split[key], f"{source}: {name}: {shown}").astype(np.float64)
            split[key], clipped = on_the_scale(labels, asked)
            notes += [f"{name}: {clipped} labels clipped"] if clipped else []
    return Settled(splits, task, shown)


def _key(train: Mapping[str, Any], source: str, task: Task | None) -> str:
    """The column that holds the labels."""
    wanted = [*LABEL_KEYS.values()] if task is None else [LABEL_KEYS[task]]
    wanted.append(PLAIN_LABELS)
    for key in wanted:
        if train.get(key) is not None:
            return key
    other = [key for key in LABEL_KEYS.values() if train.get(key) is not None]
    like = [columns.shown(key) for key in train if LIKE_LABELS.search(str(key))]
    hint = f"If another key holds them: --rename KEY={PLAIN_LABELS}"
    if other:
        hint = f"To take '{other[0]}' as they are: --rename {other[0]}={wanted[0]}"
    elif like:
        hint = f"Did you mean {' or '.join(like)}? --rename {shlex.quote(like[0])}={PLAIN_LABELS}"
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


def _from_one_hot(splits: Splits, key: str, shown: str, notes: list[str]) -> None:
    """Rows with a single 1 become the class of its place, in place."""
    found = {name: columns.array_of(split[key]) for name, split in splits.items()}
    rows = {
        name: x.reshape(len(x), -1)
        for name, x in found.items()
        if x is not None and x.ndim > 1 and len(x) and x.dtype.kind in "fiub"
    }
    if len(rows) < len(splits) or not all(
        x.shape[1] > 1 and ((x == 0) | (x == 1)).all() and (x.sum(1) == 1).all()
        for x in rows.values()
    ):
        return
    for name, split in splits.items():
        split[key] = rows[name].argmax(1)
    notes.append(f"'{shown}' is one-hot: the place of the 1 is the class")


def _from_texts(splits: Splits, key: str, source: str, shown: str) -> None:
    """Texts that are numbers in every split become numbers, in place.

    Raises:
        BenchmarkError: under the key of sentiment there are names.
    """
    rows = {}
    for name, split in splits.items():
        values = columns.array_of(split[key])
        if values is None or values.dtype.kind not in "SUO" or values.ndim != 1:
            return
        rows[name] = values.tolist()
    numbers = {name: [columns.as_number(x) for x in values] for name, values in rows.items()}
    known = [x is not None for values in numbers.values() for x in values]
    if all(known):
        for name, split in splits.items():
            split[key] = np.array(numbers[name])
    first = next(iter(rows["train"]), None)
    if key == LABEL_KEYS["regression"] and not any(known) and isinstance(first, str | bytes):
        raise BenchmarkError(
            f"{source}: train: {shown}: must be one number per sample, is {columns.shown(first)!r},"
            f" say. Names of classes are taken with --rename {shlex.quote(shown)}={PLAIN_LABELS}."
        )


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
    turned = ", or swapped axes" if len(array) == 1 else ""
    raise BenchmarkError(
        f"{where} has shape {array.shape}: several numbers per sample{turned}. --label-column K"
        " takes one of them (from 0; of MOSEI's 7 the first is sentiment, the others are emotions;"
        " of POM's 17 each is a trait)."
    )


def _task(key: str, splits: Splits, shown: str, notes: list[str]) -> Task:
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
        f"'{shown}' holds the whole numbers {values[0]:g} to {values[-1]:g}: taken as"
        f" {len(values)} classes; if they are sentiment, import with --task regression"
    )
    return "classification"


def _labelled(
    content: dict[str, Any], key: str, name: str, where: str, notes: list[str], task: Task
) -> dict[str, Any]:
    """The samples that have a label; the others go from every column."""
    values = content[key]
    rows = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(rows, list | tuple):
        return content
    keep = np.array([not _is_absent(x, task) for x in rows], dtype=bool)
    if keep.all():
        return content
    if not keep.any():
        raise BenchmarkError(
            f"{where}: no sample has a label. Answers for such a set: 'benchmark predict'."
        )
    notes.append(f"{name}: {int((~keep).sum())} of {len(keep)} samples have no label: left out")
    return keep_rows(content, keep)


def _is_absent(value: Any, task: Task) -> bool:
    """None, no finite number, an empty text, or the class -1."""
    if isinstance(value, str | bytes):
        return not value.strip()
    if value is None or not isinstance(value, int | float):
        return value is None
    return not math.isfinite(value) or (task == "classification" and value == -1)


def on_the_scale(
    labels: NDArray[np.float64], asked: Adjustments
) -> tuple[NDArray[np.float64], int]:
    """The labels through the user's formula, clipped where that is asked for, and how many were.

    Raises:
        BenchmarkError: the formula makes no number of a label that is one.
    """
    mapped = map_labels(asked.label_map, labels) if asked.label_map else labels
    lost = np.isfinite(labels) & ~np.isfinite(mapped)
    if lost.any():
        raise BenchmarkError(
            f"--label-map {asked.label_map!r}: makes no number of the label"
            f" {labels[lost.argmax()]:g}."
        )
    limit = columns.LABEL_LIMIT
    beyond = int((np.abs(mapped) > limit).sum()) if asked.clip_labels else 0
    return (np.clip(mapped, -limit, limit) if beyond else mapped), beyond


def shape_of_sentiment(label: NDArray[Any], key: str, said: bool) -> list[str]:
    """What is odd about all sentiment labels together: constant, or as classes are.

    ``key`` is what the file calls them; nothing is asked where the task was ``said``.
    """
    values = np.unique(label)
    if len(values) == 1:
        return [f"every label is {values[0]:g}: a constant; there is nothing to learn"]
    if said:
        return []
    whole = values[0] >= 0 and bool((values == np.floor(values)).all())
    if len(values) > 2 and not whole:
        return []
    shown = ", ".join(f"{x:g}" for x in values)
    count = "two" if len(values) == 2 else str(len(values))
    rename = f" --rename {shlex.quote(key)}={PLAIN_LABELS}" if key != PLAIN_LABELS else ""
    return [
        f"the labels are {shown} only: {count} classes? Then take them with --task"
        f" classification{rename}"
    ]
