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
from benchmark.data.adjust import Adjustments, rename_columns, renamed, text_keys
from benchmark.data.archive import ARCHIVES, read_archive
from benchmark.data.cards import Card
from benchmark.data.dataset import SPLITS
from benchmark.data.ids import distinct_ids, joined_ids, number_nameless
from benchmark.data.labels import Settled, settle_labels, shape_of_sentiment
from benchmark.data.manifest import Encoding
from benchmark.data.picklefile import read_pickle
from benchmark.data.recognise import HEAD_BYTES, by_id, layout_of, what_it_is
from benchmark.data.schema import KNOWN_KEYS, LABEL_KEYS, LENGTH_KEYS
from benchmark.data.sequences import lost_modalities, pad, refuse_token_ids
from benchmark.errors import BenchmarkError
from benchmark.files import check_regular
from protocols.modalities import MODALITIES, Modality, Task

TaskChoice = Literal["auto", "regression", "classification"]

SUFFIXES = (".pkl", ".pickle", *ARCHIVES)
SEVERAL = " All splits must come from one extraction."


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
        if not inside and any(path.glob("*.npy")):
            hint = (
                " One .npy file per sample goes beside a CSV of transcripts: 'benchmark data encode"
                " --audio-folder'."
            )
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
        data = renamed(text_keys(data), asked.split_names, source)
    sound = isinstance(data, dict) and all(isinstance(data.get(s), dict) for s in SPLITS)
    if not sound or any(by_id(data[s]) for s in SPLITS):
        raise BenchmarkError(f"{source}: {layout_of(data)}.")
    notes: list[str] = []
    splits = rename_columns({s: text_keys(data[s]) for s in SPLITS}, asked.rename, source)
    number_nameless(splits, source, notes)
    settled = settle_labels(splits, source, None if task == "auto" else task, asked, notes)
    splits, chosen = settled.splits, settled.task
    for name in SPLITS:
        refuse_token_ids(splits[name], f"{source}: {name}")
    lost = lost_modalities(splits, asked.rename.values())
    for m in MODALITIES:
        pad(splits, m, asked.pad_to.get(m), source, notes)
    class_names = _name_classes(splits, source) if chosen == "classification" else ()
    notes += lost.values()
    told = {*lost, *(f"{key}_lengths" for key in lost), *asked.rename.values()}
    notes += _unused(data, splits, told)
    place = {name: k for k, name in enumerate(class_names)}
    raw = {s: _split(splits[s], f"{source}: {s}", settled, place) for s in SPLITS}
    _check_agreement(raw, source)
    for name, ids in distinct_ids({s: x.ids for s, x in raw.items()}, source, notes).items():
        raw[name].ids = ids
    classes = 1 if chosen == "regression" else _count_classes(raw, source)
    if chosen == "regression":
        label = np.concatenate([x.label for x in raw.values()])
        notes += shape_of_sentiment(label, settled.key, said=task != "auto")
    options = asked.recorded()
    return Package(source, raw, chosen, classes, tuple(notes), class_names, options=options)


def _unused(
    data: Mapping[str, Any], splits: Mapping[str, Mapping[str, Any]], known: set[str]
) -> Iterator[str]:
    """What of the file is not read, and not spoken of elsewhere."""
    others = [columns.shown(name) for name in data if name not in SPLITS]
    if others:
        yield f"not used: {columns.printable(others)} beside {', '.join(SPLITS)}"
    unused = {columns.shown(k) for s in SPLITS for k in splits[s]} - KNOWN_KEYS - known
    if unused:
        yield f"not used: {columns.printable(sorted(unused))}"


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


def _split(
    split: Mapping[str, Any], where: str, settled: Settled, place: Mapping[str, int]
) -> RawSplit:
    """``place`` numbers the classes, where the file names them."""
    task = settled.task
    ids = joined_ids(_need(split, "id", where), f"{where}: id")
    if not ids:
        raise BenchmarkError(f"{where}: has no samples; a package needs some in all three splits.")
    count = len(ids)
    features = {
        m: columns.features(
            split[m],
            f"{where}: {m}",
            f": --pad-to {m}=1 takes it so",
            f"; --rename {m}=unused leaves it out",
        )
        for m in MODALITIES
        if m in split and split[m] is not None
    }
    if not features:
        lost = "; ".join(lost_modalities(dict.fromkeys(SPLITS, split)).values())
        raise BenchmarkError(
            f"{where}: has none of {', '.join(MODALITIES)} (found: {columns.printable(split)})."
            f" {lost or 'Say which key is which: --rename KEY=vision'}"
        )
    texts = ("",) * count
    if split.get("raw_text") is not None:
        texts = columns.sentences(split["raw_text"], f"{where}: raw_text")
    key = settled.key
    found = split[LABEL_KEYS[task]]
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
            shape = features[name].shape if name in features else ()
            turned = f" Its shape is {shape}: in another order?" if count in shape else ""
            raise BenchmarkError(f"{where}: {name} has {size} rows, id has {count}.{turned}")
    check: Callable[..., NDArray[Any]] = (
        columns.sentiment if task == "regression" else columns.classes
    )
    return RawSplit(ids, texts, features, lengths, check(label, ids, f"{where}: {key}"))


def _count_classes(splits: Mapping[str, RawSplit], source: str) -> int:
    seen = np.unique(np.concatenate([s.label for s in splits.values()]))
    if len(seen) == 1:
        raise BenchmarkError(f"{source}: every sample is of class {seen[0]}: nothing to learn.")
    if seen[-1] != len(seen) - 1:
        absent = next(k for k in range(len(seen) + 1) if k not in seen)
        remedy = columns.renumbering(seen.tolist()) or "Number them anew."
        raise BenchmarkError(
            f"{source}: classes must be numbered 0..C-1, each used; the largest is {seen[-1]} and"
            f" {absent} never occurs. {remedy} If they are sentiment: --task regression."
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
                raise BenchmarkError(
                    f"{source}: {m} is in {has} but not in {lacks}; --rename {m}=unused leaves it"
                    " out of all."
                )
            hint = f" --pad-to {m}=STEPS gives all splits as many steps."
            if one is not None and other is not None and one.shape[1:] != other.shape[1:]:
                raise BenchmarkError(
                    f"{source}: {m} is {one.shape[1:]} (steps, channels) in train but"
                    f" {other.shape[1:]} in {name}."
                    f"{hint if one.shape[2] == other.shape[2] else SEVERAL}"
                )
