"""The field's feature package (MMSA schema), read and checked."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.data import columns
from benchmark.data.dataset import SPLITS
from benchmark.data.manifest import Encoding
from benchmark.data.unpickle import read_pickle
from benchmark.errors import BenchmarkError
from benchmark.interface import Task
from protocols.modalities import MODALITIES, Modality

TaskChoice = Literal["auto", "regression", "classification"]

LABEL_KEYS: dict[Task, str] = {
    "regression": "regression_labels",
    "classification": "classification_labels",
}
LENGTH_KEYS: dict[Modality, str] = {m: f"{m}_lengths" for m in MODALITIES}
KNOWN_KEYS = {"id", "raw_text", *MODALITIES, *LABEL_KEYS.values(), *LENGTH_KEYS.values()}

SHOWN = 3
"""How many of a kind an error names."""


@dataclass
class RawSplit:
    """One split as the file has it, checked for shape but not for content.

    Attributes:
        ids: N sample ids.
        raw_text: N transcripts, empty where the file has none.
        features: modality -> (N, T_m, d_m) array of any real dtype. The importer removes an entry
            once it is written, to free its memory.
        lengths: modality -> (N,) stated numbers of real steps, for the modalities that have them.
        label: (N,) float32 sentiment or int64 class.
    """

    ids: tuple[str, ...]
    raw_text: tuple[str, ...]
    features: dict[Modality, NDArray[Any]]
    lengths: dict[Modality, NDArray[np.int64]]
    label: NDArray[Any]


@dataclass(frozen=True)
class Package:
    """A whole package.

    Attributes:
        source: the file's name, for messages and the manifest.
        splits: train, valid and test.
        task: what the labels are for.
        classes: number of classes; 1 for regression.
        notes: what was seen and not used.
        class_names: the classes' names by number, where the source names them.
        encoding: what made the text features, where they were made here.
    """

    source: str
    splits: Mapping[str, RawSplit]
    task: Task
    classes: int
    notes: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    encoding: Encoding | None = None

    @property
    def present(self) -> tuple[Modality, ...]:
        """The modalities that the package has, in the order t, a, v."""
        return tuple(m for m in MODALITIES if m in self.splits["train"].features)


def read_package(path: Path, task: TaskChoice = "auto") -> Package:
    """Read and check a feature pickle.

    Raises:
        BenchmarkError: not such a file, or it breaks the schema; the message names the split, the
            key and the row.
    """
    check_is_pickle(path)
    return parse_package(read_pickle(path), path.name, task)


def check_is_pickle(path: Path) -> None:
    """Refuse, with the reason, what cannot be a feature pickle: by its first bytes."""
    if not path.exists():
        raise BenchmarkError(f"{path}: no such file.")
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in (".pkl", ".pickle"))
        hint = f" Did you mean one of {', '.join(inside[:5])} in it?" if inside else ""
        raise BenchmarkError(f"{path}: is a folder; give the feature pickle (.pkl).{hint}")
    try:
        with path.open("rb") as stream:
            head = stream.read(2)
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read: {error.strerror}") from None
    if not head:
        raise BenchmarkError(f"{path}: is empty (0 bytes); fetch it again.")
    binary = head[0] == 0x80 and 2 <= head[-1] <= pickle.HIGHEST_PROTOCOL
    if not binary and path.suffix not in (".pkl", ".pickle"):
        raise BenchmarkError(
            f"{path}: unknown file type '{path.suffix}'. A feature package is a pickle (.pkl) with"
            " train, valid and test, each with id, text, audio, vision and labels."
        )


def parse_package(data: Any, source: str, task: TaskChoice = "auto") -> Package:
    """Check the plain data of a package; see :func:`read_package`."""
    if not isinstance(data, dict):
        raise BenchmarkError(
            f"{source}: holds a {type(data).__name__}, not a dict of {', '.join(SPLITS)}."
        )
    for split in SPLITS:
        if not isinstance(data.get(split), dict):
            found = columns.printable(list(data)[:8])
            raise BenchmarkError(f"{source}: split '{split}' is missing (found: {found}).")
    chosen = _task(data, source, task)
    notes: list[str] = []
    unused = sorted({str(k) for s in SPLITS for k in data[s]} - KNOWN_KEYS)
    if unused:
        notes.append(f"not used: {columns.printable(unused)}")
    splits = {s: _split(data[s], f"{source}: {s}", chosen) for s in SPLITS}
    _check_agreement(splits, source)
    _check_ids(splits, source)
    classes = 1 if chosen == "regression" else _count_classes(splits, source)
    return Package(source, splits, chosen, classes, tuple(notes))


def _task(data: Mapping[str, Any], source: str, task: TaskChoice) -> Task:
    if task == "auto":
        task = "regression" if LABEL_KEYS["regression"] in data["train"] else "classification"
        if LABEL_KEYS[task] not in data["train"]:
            found = columns.printable(data["train"])
            raise BenchmarkError(
                f"{source}: train has neither {' nor '.join(LABEL_KEYS.values())} (found: {found})."
            )
    return task


def _need(split: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in split or split[key] is None:
        found = columns.printable(split)
        raise BenchmarkError(f"{where}: key '{key}' is missing (found: {found}).")
    return split[key]


def _split(split: Mapping[str, Any], where: str, task: Task) -> RawSplit:
    ids = columns.texts(_need(split, "id", where), f"{where}: id")
    if not ids:
        raise BenchmarkError(f"{where}: has no samples.")
    count = len(ids)
    features = {
        m: columns.features(split[m], f"{where}: {m}")
        for m in MODALITIES
        if m in split and split[m] is not None
    }
    if not features:
        raise BenchmarkError(f"{where}: has none of {', '.join(MODALITIES)}.")
    texts = ("",) * count
    if split.get("raw_text") is not None:
        texts = columns.texts(split["raw_text"], f"{where}: raw_text")
    key = LABEL_KEYS[task]
    label = columns.column(_need(split, key, where), f"{where}: {key}")
    sizes: dict[str, int] = {"raw_text": len(texts), key: len(label)}
    sizes.update({m: len(values) for m, values in features.items()})
    lengths = {}
    for m, values in features.items():
        stated = split.get(LENGTH_KEYS[m])
        if stated is not None:
            lengths[m] = columns.lengths(stated, ids, values.shape[1], f"{where}: {LENGTH_KEYS[m]}")
    for name, size in sizes.items():
        if size != count:
            raise BenchmarkError(f"{where}: {name} has {size} rows, id has {count}.")
    check: Callable[..., NDArray[Any]] = (
        columns.sentiment if task == "regression" else columns.classes
    )
    return RawSplit(ids, texts, features, lengths, check(label, ids, f"{where}: {key}"))


def _count_classes(splits: Mapping[str, RawSplit], source: str) -> int:
    seen = np.unique(np.concatenate([s.label for s in splits.values()]))
    if seen[-1] != len(seen) - 1:
        absent = next(k for k in range(len(seen) + 1) if k not in seen)
        raise BenchmarkError(
            f"{source}: classes must be numbered 0..C-1, each used; the largest is {seen[-1]} and"
            f" {absent} never occurs. Number them anew."
        )
    return len(seen)


def _check_agreement(splits: Mapping[str, RawSplit], source: str) -> None:
    """Each modality has the same steps and channels in every split, or is in none."""
    first = splits["train"].features
    for name, split in splits.items():
        for m in MODALITIES:
            one, other = first.get(m), split.features.get(m)
            if (one is None) != (other is None):
                has, lacks = ("train", name) if other is None else (name, "train")
                raise BenchmarkError(f"{source}: {m} is in {has} but not in {lacks}.")
            if one is not None and other is not None and one.shape[1:] != other.shape[1:]:
                raise BenchmarkError(
                    f"{source}: {m} is {one.shape[1:]} (steps, channels) in train but"
                    f" {other.shape[1:]} in {name}."
                )


def _check_ids(splits: Mapping[str, RawSplit], source: str) -> None:
    """Ids key the corruption draws, and an id in two splits is leakage: each occurs once."""
    place: dict[str, str] = {}
    twice: list[str] = []
    for name, split in splits.items():
        for row, sample in enumerate(split.ids):
            here = f"{name} row {row}"
            if sample in place:
                twice.append(f"{sample!r} ({place[sample]}, {here})")
            place[sample] = here
    if twice:
        more = f" and {len(twice) - SHOWN} more" if len(twice) > SHOWN else ""
        raise BenchmarkError(
            f"{source}: ids occur twice: {', '.join(twice[:SHOWN])}{more}. Each sample needs an id"
            " of its own; remove the repeats."
        )
