"""Transcripts as people hold them: the columns of a CSV file, checked row by row."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.adjust import Adjustments
from benchmark.data.columns import LABEL_LIMIT, remedy
from benchmark.data.csvfile import UTF8, Row, at, read_rows
from benchmark.data.dataset import SPLITS
from benchmark.data.grouping import split_by_group
from benchmark.data.ids import JOINT, SHOWN
from benchmark.data.labels import on_the_scale
from benchmark.data.package import UNCHANGED, TaskChoice
from benchmark.data.schema import SPLIT_NAMES
from benchmark.errors import BenchmarkError
from protocols.modalities import Task

MAX_CLASSES = 200


@dataclass(frozen=True)
class Columns:
    """Which columns of the file mean what.

    Attributes:
        text, label: their names.
        split: the column with train, valid and test; None where the split is made by ``group``.
        group: the speaker, video or session that no split may share; None where the file splits.
        test_group: the group that is the test split; None for the default.
        encoding: of the file's text.
        scale: how to bring sentiment to [-3, 3].
        ids: columns whose joined values are the sample ids; empty: "id" if there is one, else
            the row numbers.
    """

    text: str = "text"
    label: str = "label"
    split: str | None = "split"
    group: str | None = None
    test_group: str | None = None
    encoding: str = UTF8
    ids: tuple[str, ...] = ()
    scale: Adjustments = UNCHANGED

    def asked(self) -> list[tuple[str, str]]:
        """(what it is, its name) of each column that must be there."""
        named = {"text": self.text, "label": self.label, "split": self.split, "group": self.group}
        ids = [("id", name) for name in self.ids]
        return [(what, name) for what, name in named.items() if name is not None] + ids


@dataclass(frozen=True)
class Transcripts:
    """The labelled rows of a file, in its order.

    Attributes:
        ids: N distinct sample ids.
        texts: N transcripts; empty where the text is missing.
        label: (N,) float32 sentiment or int64 class.
        splits: N names of splits.
        task: what the labels are for.
        class_names: the classes' names by number; empty for regression.
        notes: what a reader of the manifest should know.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    label: NDArray[Any]
    splits: tuple[str, ...]
    task: Task
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def read_transcripts(path: Path, columns: Columns, task: TaskChoice = "auto") -> Transcripts:
    """Read and check a CSV file (comma, semicolon, tab or bar).

    Rows with an empty label are left out, since label sets often cover only part of a file. A row
    with an empty text is kept as a sample whose text is missing.

    Args:
        path: the file.
        columns: which column is what.
        task: "auto" takes names and whole numbers from 0 as classes, other numbers as sentiment.

    Raises:
        BenchmarkError: anything else than such a file; the message names the file and the row.
    """
    rows = read_rows(path, columns.asked(), columns.encoding)
    labelled = [row for row in rows if row.cells[columns.label]]
    notes: list[str] = []
    if len(labelled) < len(rows):
        notes.append(
            f"{len(rows) - len(labelled)} of {len(rows)} rows have no '{columns.label}' and were"
            " left out"
        )
    if not labelled:
        raise BenchmarkError(f"{path}: column '{columns.label}' is empty in every row.")
    ids = _ids(path, labelled, columns, notes)
    notes += _empty_texts(labelled, ids, columns.text)
    chosen, label, names = _labels(path, labelled, columns, task, notes)
    splits = _splits(path, labelled, columns, notes)
    notes += _unseen_classes(label, names, splits)
    texts = tuple(row.cells[columns.text] for row in labelled)
    return Transcripts(ids, texts, label, splits, chosen, names, tuple(notes))


def _ids(path: Path, rows: Sequence[Row], columns: Columns, notes: list[str]) -> tuple[str, ...]:
    """The sample ids: they key the corruption draws, so each occurs once."""
    names = columns.ids or (("id",) if "id" in rows[0].cells else ())
    if not names:
        notes.append("no id column was named: the row numbers are the sample ids (--id-columns)")
        return tuple(f"row{row.number}" for row in rows)
    seen: dict[str, Row] = {}
    for row in rows:
        sample = JOINT.join(row.cells[name] for name in names)
        if not all(row.cells[name] for name in names):
            raise BenchmarkError(f"{at(path, row)}: the id ({', '.join(names)}) is empty.")
        if sample in seen:
            raise BenchmarkError(
                f"{at(path, row)}: id {sample!r} is that of row {seen[sample].number} already."
                " Each sample needs an id of its own: remove the repeat, or name more columns with"
                " --id-columns."
            )
        seen[sample] = row
    return tuple(seen)


def _empty_texts(rows: Sequence[Row], ids: Sequence[str], column: str) -> Iterator[str]:
    empty = [
        f"row {row.number} (id {sample})"
        for row, sample in zip(rows, ids, strict=True)
        if not row.cells[column]
    ]
    if empty:
        more = f" and {len(empty) - SHOWN} more" if len(empty) > SHOWN else ""
        yield (
            f"empty '{column}' in {', '.join(empty[:SHOWN])}{more}: kept, as samples whose text is"
            " missing"
        )


ABSENT = {"nan", "na", "n/a", "null", "none", "-"}
"""What stands in a cell that was meant to be empty."""


def _labels(
    path: Path, rows: Sequence[Row], columns: Columns, task: TaskChoice, notes: list[str]
) -> tuple[Task, NDArray[Any], tuple[str, ...]]:
    """The task, the labels and the classes' names."""
    column = columns.label
    texts = [row.cells[column] for row in rows]
    numbers = [_number(text) for text in texts]
    numeric = [x is not None for x in numbers]
    if task == "auto":
        if any(numeric) and not all(numeric):
            _refuse_mixed(path, rows, column, numeric)
        mapped = bool(columns.scale.label_map or columns.scale.clip_labels)
        whole = not mapped and all(x is not None and x >= 0 and x == int(x) for x in numbers)
        task = "classification" if whole or not any(numeric) else "regression"
    if task == "regression":
        return task, _sentiment(path, rows, columns, numbers, notes), ()
    classes = _class_order(texts, numbers if all(numeric) else None)
    if len(classes) > MAX_CLASSES:
        raise BenchmarkError(
            f"{path}: column '{column}' has {len(classes)} different labels: too many for classes."
            " Is it the right column? Sentiment is taken with --task regression."
        )
    names = tuple(classes)
    place = {text: k for k, same in enumerate(classes.values()) for text in same}
    return task, np.array([place[text] for text in texts], np.int64), names


def _number(text: str) -> float | None:
    """A finite number, or None; "0,5" is one too."""
    try:
        value = float(re.sub(r"^([+-]?\d+),(\d+)$", r"\1.\2", text))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _refuse_mixed(path: Path, rows: Sequence[Row], column: str, numeric: Sequence[bool]) -> None:
    rare = sum(numeric) * 2 < len(numeric)
    odd, usual = rows[numeric.index(rare)], rows[numeric.index(not rare)]
    count = sum(is_number is rare for is_number in numeric)
    hint = "Labels are all numbers or all names; --task classification takes each as a name."
    if odd.cells[column].lower() in ABSENT:
        hint = "A row without a label has an empty cell, and is left out."
    raise BenchmarkError(
        f"{at(path, odd)}: '{column}' is {odd.cells[column]!r}, {'a' if rare else 'no'} number,"
        f" while row {usual.number} has {usual.cells[column]!r} ({count} such rows). {hint}"
    )


def _sentiment(
    path: Path,
    rows: Sequence[Row],
    columns: Columns,
    numbers: Sequence[float | None],
    notes: list[str],
) -> NDArray[np.float32]:
    given = np.array([math.nan if x is None else x for x in numbers])
    mapped, clipped = on_the_scale(given, columns.scale)
    notes += [f"{clipped} labels clipped"] if clipped else []
    label = mapped.astype(np.float32)
    wrong = ~(np.abs(label) <= LABEL_LIMIT)  # also true for NaN
    if wrong.any():
        row = rows[int(wrong.argmax())]
        names = not np.isfinite(label[wrong]).any()
        hint = "Names are taken with --task classification." if names else remedy(label, wrong)
        raise BenchmarkError(
            f"{at(path, row)}: '{columns.label}' is {row.cells[columns.label]!r}, must be a number"
            f" in [-3, 3] ({int(wrong.sum())} such rows). {hint}"
        )
    return label


def _class_order(
    texts: Sequence[str], numbers: Sequence[float | None] | None
) -> dict[str, set[str]]:
    """Class name -> its spellings; numbers in numeric order ("1" and "1.0" are one), else a-z."""
    if numbers is None:
        return {name: {name} for name in sorted(set(texts))}
    spellings: dict[float, set[str]] = {}
    for text, x in zip(texts, numbers, strict=True):
        spellings.setdefault(x or 0.0, set()).add(text)
    return {f"{x:g}": spellings[x] for x in sorted(spellings)}


def _splits(path: Path, rows: Sequence[Row], columns: Columns, notes: list[str]) -> tuple[str, ...]:
    if columns.group is not None:
        groups = []
        for row in rows:
            if not row.cells[columns.group]:
                raise BenchmarkError(f"{at(path, row)}: '{columns.group}' is empty.")
            groups.append(row.cells[columns.group])
        found, note = split_by_group(groups, columns.group, columns.test_group)
        notes.append(note)
        return found
    assert columns.split is not None
    splits = []
    for row in rows:
        value = row.cells[columns.split]
        if value.lower() not in SPLIT_NAMES:
            raise BenchmarkError(
                f"{at(path, row)}: '{columns.split}' is {value!r}, must be one of"
                f" {', '.join(SPLITS)} (val, dev and validation mean valid)."
            )
        splits.append(SPLIT_NAMES[value.lower()])
    absent = next((name for name in SPLITS if name not in splits), None)
    if absent:
        raise BenchmarkError(f"{path}: column '{columns.split}' has no row of split '{absent}'.")
    return tuple(splits)


def _unseen_classes(
    label: NDArray[Any], names: Sequence[str], splits: Sequence[str]
) -> Iterator[str]:
    train = {int(k) for k, split in zip(label, splits, strict=True) if split == "train"}
    unseen = [name for k, name in enumerate(names) if k not in train]
    if unseen:
        yield f"no train sample has the class {', '.join(unseen)}"
