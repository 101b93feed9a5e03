"""The field's feature package (MMSA schema), read and checked."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.data import columns
from benchmark.data.archive import ARCHIVES, read_archive
from benchmark.data.dataset import SPLITS
from benchmark.data.layouts import from_mult, is_mult_layout
from benchmark.data.manifest import Encoding
from benchmark.data.unpickle import read_pickle
from benchmark.errors import BenchmarkError
from benchmark.files import check_regular
from protocols.modalities import MODALITIES, Modality, Task

TaskChoice = Literal["auto", "regression", "classification"]

LABEL_KEYS: dict[Task, str] = {
    "regression": "regression_labels",
    "classification": "classification_labels",
}
LENGTH_KEYS: dict[Modality, str] = {m: f"{m}_lengths" for m in MODALITIES}
KNOWN_KEYS = {"id", "raw_text", *MODALITIES, *LABEL_KEYS.values(), *LENGTH_KEYS.values()}

SUFFIXES = (".pkl", ".pickle", *ARCHIVES)
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
    """Read and check a feature package: a pickle, .npz or .safetensors.

    Raises:
        BenchmarkError: not such a file, or it breaks the schema; the message names the split, the
            key and the row.
    """
    return parse_package(read_columns(path), path.name, task)


def read_columns(path: Path) -> Any:
    """The plain content of a pickle, .npz or .safetensors, unchecked. Raises BenchmarkError."""
    check_is_package(path)
    return read_archive(path) if path.suffix in ARCHIVES else read_pickle(path)


def check_is_package(path: Path) -> None:
    """Refuse, with the reason, what cannot be a feature package: by its name or first bytes."""
    if not path.exists():
        raise BenchmarkError(f"{path}: no such file.")
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in SUFFIXES)
        hint = f" Did you mean one of {', '.join(inside[:5])} in it?" if inside else ""
        raise BenchmarkError(f"{path}: is a folder; give the feature package (.pkl).{hint}")
    check_regular(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(2)
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read: {error.strerror}") from None
    if not head:
        raise BenchmarkError(f"{path}: is empty (0 bytes); fetch it again.")
    binary = head[0] == 0x80 and 2 <= head[-1] <= pickle.HIGHEST_PROTOCOL
    if not binary and path.suffix not in SUFFIXES:
        raise BenchmarkError(
            f"{path}: unknown file type '{path.suffix}'. A feature package is a pickle (.pkl), .npz"
            " or .safetensors with train, valid and test, each with id, text, audio, vision and"
            " labels."
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
    notes: list[str] = []
    if is_mult_layout(data["train"]):
        data = {s: from_mult(data[s], s, f"{source}: {s}", notes) for s in SPLITS}
    chosen = _task(data, source, task)
    class_names = _name_classes(data, source) if chosen == "classification" else ()
    unused = sorted({columns.shown(k) for s in SPLITS for k in data[s]} - KNOWN_KEYS)
    if unused:
        notes.append(f"not used: {columns.printable(unused)}")
    place = {name: k for k, name in enumerate(class_names)}
    splits = {s: _split(data[s], f"{source}: {s}", chosen, place) for s in SPLITS}
    _check_agreement(splits, source)
    notes += [note for s in SPLITS for note in _number_repeats(splits[s], s)]
    _check_ids(splits, source)
    classes = 1 if chosen == "regression" else _count_classes(splits, source)
    return Package(source, splits, chosen, classes, tuple(notes), class_names)


def _name_classes(data: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """The names, in order, of classes that the file names instead of numbering them."""
    key = LABEL_KEYS["classification"]
    named = {}
    for split in SPLITS:
        values = _need(data[split], key, f"{source}: {split}")
        values = values.tolist() if isinstance(values, np.ndarray) else values
        if isinstance(values, list | tuple) and values and isinstance(values[0], str | bytes):
            named[split] = columns.texts(values, f"{source}: {split}: {key}")
    if named and len(named) < len(SPLITS):
        raise BenchmarkError(f"{source}: {key} are names in {', '.join(named)} only.")
    return tuple(sorted({name for values in named.values() for name in values}))


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


def _split(split: Mapping[str, Any], where: str, task: Task, place: Mapping[str, int]) -> RawSplit:
    """``place`` numbers the classes, where the file names them."""
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
    found = _need(split, key, where)
    if place:
        found = [place[name] for name in columns.texts(found, f"{where}: {key}")]
    label = columns.column(found, f"{where}: {key}")
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


def _number_repeats(split: RawSplit, name: str) -> Iterator[str]:
    """Number an id's second and later occurrence within a split: ids key the corruption draws."""
    seen: set[str] = set()
    taken = set(split.ids)
    ids, repeats = [], []
    for sample in split.ids:
        fresh, k = sample, 1
        while fresh in seen or (k > 1 and fresh in taken):
            k += 1
            fresh = f"{sample}#{k}"
        if k > 1:
            repeats.append(sample)
        seen.add(fresh)
        ids.append(fresh)
    if repeats:
        split.ids = tuple(ids)
        yield (
            f"{name}: {len(repeats)} samples repeat an id ({repeats[0]!r}, for one); they are kept,"
            " numbered '#2' and on"
        )


def _check_ids(splits: Mapping[str, RawSplit], source: str) -> None:
    """An id in two splits is leakage: refused."""
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
            f"{source}: ids occur in two splits: {', '.join(twice[:SHOWN])}{more}. Is a sample"
            " trained and tested on? Remove it from one, or give different samples different ids."
        )
