"""The field's feature package (MMSA schema), read and checked."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.data import columns
from benchmark.data.adjust import Adjustments, renamed
from benchmark.data.archive import ARCHIVES, read_archive
from benchmark.data.cards import Card
from benchmark.data.dataset import SPLITS
from benchmark.data.ids import joined_ids
from benchmark.data.labels import settle_labels, shape_of_sentiment
from benchmark.data.manifest import Encoding
from benchmark.data.recognise import HEAD_BYTES, layout_of, what_it_is
from benchmark.data.schema import KNOWN_KEYS, LABEL_KEYS, LENGTH_KEYS, PLAIN_LABELS
from benchmark.data.sequences import lost_modalities, pad, refuse_token_ids
from benchmark.data.unpickle import read_pickle
from benchmark.errors import BenchmarkError
from benchmark.files import check_regular
from protocols.modalities import MODALITIES, Modality, Task

TaskChoice = Literal["auto", "regression", "classification"]

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
        options: option -> value of what the user had changed on the way.
        card: the user's own data card.
    """

    source: str
    splits: Mapping[str, RawSplit]
    task: Task
    classes: int
    notes: tuple[str, ...]
    class_names: tuple[str, ...] = ()
    encoding: Encoding | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    card: Card | None = None

    @property
    def present(self) -> tuple[Modality, ...]:
        """The modalities that the package has, in the order t, a, v."""
        return tuple(m for m in MODALITIES if m in self.splits["train"].features)


UNCHANGED = Adjustments()


def read_package(path: Path, task: TaskChoice = "auto", asked: Adjustments = UNCHANGED) -> Package:
    """Read and check a feature package: a pickle, .npz or .safetensors.

    Raises:
        BenchmarkError: not such a file, or it breaks the schema; the message names the split, the
            key and the row.
    """
    return parse_package(read_columns(path), path.name, task, asked)


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
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read: {error.strerror}") from None
    if not head:
        raise BenchmarkError(f"{path}: is empty (0 bytes); fetch it again.")
    archive = path.suffix == ".npz" and head.startswith(b"PK\x03\x04")
    known = None if archive else what_it_is(path, head)
    kind = "" if path.suffix in SUFFIXES else f"unknown file type '{path.suffix}': "
    if known is not None:
        raise BenchmarkError(f"{path}: {kind}it {known}")
    binary = head[0] == 0x80 and len(head) > 1 and 2 <= head[1] <= pickle.HIGHEST_PROTOCOL
    if not binary and path.suffix not in SUFFIXES:
        raise BenchmarkError(
            f"{path}: unknown file type '{path.suffix}'. A feature package is a pickle (.pkl), .npz"
            " or .safetensors with train, valid and test, each with id, text, audio, vision and"
            " labels. A table of transcripts (CSV) goes to 'benchmark data encode'."
        )


def parse_package(
    data: Any, source: str, task: TaskChoice = "auto", asked: Adjustments = UNCHANGED
) -> Package:
    """Check the plain data of a package; see :func:`read_package`."""
    if isinstance(data, dict):
        data = renamed(data, asked.split_names, source)
    if not isinstance(data, dict) or not all(isinstance(data.get(s), dict) for s in SPLITS):
        raise BenchmarkError(f"{source}: {layout_of(data)}.")
    notes: list[str] = []
    splits = {s: renamed(data[s], asked.rename, f"{source}: {s}") for s in SPLITS}
    _number_nameless(splits, notes)
    splits, chosen = settle_labels(splits, source, None if task == "auto" else task, asked, notes)
    for name in SPLITS:
        refuse_token_ids(splits[name], f"{source}: {name}")
    for m in MODALITIES:
        pad(splits, m, asked.pad_to.get(m), source, notes)
    class_names = _name_classes(splits, source) if chosen == "classification" else ()
    unused = sorted({columns.shown(k) for s in SPLITS for k in splits[s]} - KNOWN_KEYS)
    notes += lost_modalities(splits)
    if unused:
        notes.append(f"not used: {columns.printable(unused)}")
    place = {name: k for k, name in enumerate(class_names)}
    raw = {s: _split(splits[s], f"{source}: {s}", chosen, place) for s in SPLITS}
    _check_agreement(raw, source)
    notes += [note for s in SPLITS for note in _number_repeats(raw[s], s)]
    _check_ids(raw, source)
    classes = 1 if chosen == "regression" else _count_classes(raw, source)
    if chosen == "regression":
        notes += shape_of_sentiment(np.concatenate([x.label for x in raw.values()]))
    options = asked.recorded()
    return Package(source, raw, chosen, classes, tuple(notes), class_names, options=options)


def _number_nameless(splits: Mapping[str, dict[str, Any]], notes: list[str]) -> None:
    """MulT's packages may have no ids."""
    for name, split in splits.items():
        labels = columns.array_of(split.get(PLAIN_LABELS))
        if split.get("id") is None and labels is not None and labels.ndim:
            split["id"] = [f"{name}{row}" for row in range(len(labels))]
            notes.append(f"{name}: no ids: the samples are numbered")


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


def _need(split: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in split or split[key] is None:
        found = columns.printable(split)
        raise BenchmarkError(
            f"{where}: key '{key}' is missing (found: {found}). If another key holds it: --rename"
            f" KEY={key}."
        )
    return split[key]


def _split(split: Mapping[str, Any], where: str, task: Task, place: Mapping[str, int]) -> RawSplit:
    """``place`` numbers the classes, where the file names them."""
    ids = joined_ids(_need(split, "id", where), f"{where}: id")
    if not ids:
        raise BenchmarkError(f"{where}: has no samples.")
    count = len(ids)
    features = {
        m: columns.features(split[m], f"{where}: {m}", f": --pad-to {m}=1 takes it so")
        for m in MODALITIES
        if m in split and split[m] is not None
    }
    if not features:
        lost = next(lost_modalities(dict.fromkeys(SPLITS, split)), "")
        raise BenchmarkError(
            f"{where}: has none of {', '.join(MODALITIES)} (found: {columns.printable(split)})."
            f" {lost or 'Say which key is which: --rename KEY=vision'}"
        )
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
        shifted = seen[0] > 0 and seen[-1] - seen[0] == len(seen) - 1
        remedy = (
            f"--label-map 'x - {seen[0]}' numbers them from 0" if shifted else "Number them anew"
        )
        raise BenchmarkError(
            f"{source}: classes must be numbered 0..C-1, each used; the largest is {seen[-1]} and"
            f" {absent} never occurs. {remedy}. If they are sentiment: --task regression."
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
            hint = f" --pad-to {m}=STEPS gives all splits as many steps."
            if one is not None and other is not None and one.shape[1:] != other.shape[1:]:
                raise BenchmarkError(
                    f"{source}: {m} is {one.shape[1:]} (steps, channels) in train but"
                    f" {other.shape[1:]} in {name}."
                    f"{hint if one.shape[2] == other.shape[2] else ''}"
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
