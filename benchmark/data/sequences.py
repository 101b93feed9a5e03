"""The sequences of a package: padded to one length, told from token ids, and none lost quietly."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data import columns
from benchmark.data.dataset import SPLITS
from benchmark.data.schema import KNOWN_KEYS, LENGTH_KEYS, meant_by
from benchmark.errors import BenchmarkError
from protocols.modalities import MODALITIES, Modality


def pad(
    splits: Mapping[str, dict[str, Any]],
    modality: Modality,
    steps: int | None,
    source: str,
    notes: list[str],
) -> None:
    """Give a modality's sequences of every split one number of steps, in place.

    Sequences of unequal length (a list or an object array of (T, d) arrays) are padded with zeros
    to the longest of all splits, or to ``steps``; so are arrays where ``steps`` is given. What is
    longer is cut at the end, and counted in ``notes``.
    What is of neither form stays as it is.
    """
    given = {name: _without_axes(split.get(modality)) for name, split in splits.items()}
    lists = {name: _sequences(values) for name, values in given.items()}
    longest = max((len(x) for found in lists.values() for x in found or ()), default=0)
    wanted = steps or longest
    for name, values in given.items():
        found = lists[name]
        if modality in splits[name]:
            splits[name][modality] = values
        if found is not None:
            where = f"{source}: {name}: {modality}"
            splits[name][modality], stated = _from_sequences(found, wanted, where)
            if len(set(stated.tolist())) > 1:  # padded already, if all are of one length
                splits[name][LENGTH_KEYS[modality]] = stated
            size, cut = "unequal lengths", sum(len(x) > wanted for x in found)
        elif steps is not None and isinstance(values, np.ndarray) and values.ndim in (2, 3):
            whole = values[:, None, :] if values.ndim == 2 else values
            size, cut = f"{whole.shape[1]} steps", int(whole[:, steps:].any((1, 2)).sum())
            splits[name][modality] = _fitted(whole, steps)
            _shorten_lengths(splits[name], modality, steps)
            if whole.shape[1] == steps:
                continue
        else:
            continue
        said = f"{name}: {modality}: sequences of {size} were set to {wanted} steps"
        notes.append(said + (f"; {cut} were longer and were cut" if cut else ""))


def _shorten_lengths(split: dict[str, Any], modality: Modality, steps: int) -> None:
    """Stated lengths of sequences that were cut; what is no number is left to its check."""
    stated = columns.array_of(split.get(LENGTH_KEYS[modality]))
    if stated is not None and stated.dtype.kind in "iuf":
        split[LENGTH_KEYS[modality]] = np.minimum(stated, steps)


def _without_axes(values: Any) -> Any:
    """(N, 1, T, d) as (N, T, d); lists of numbers of one shape as an array."""
    if isinstance(values, list | tuple) and values and not isinstance(values[0], np.ndarray):
        whole = columns.array_of(values)
        values = whole if whole is not None and whole.dtype.kind in "fiub" else values
    if not isinstance(values, np.ndarray) or values.ndim < 4:
        return values
    shape = [n for n in values.shape[1:] if n != 1]
    return values.reshape(len(values), *shape) if len(shape) == 2 else values


def _sequences(values: Any) -> list[NDArray[Any]] | None:
    """The (T, d) arrays of a list or an object array; None where it is something else."""
    if isinstance(values, np.ndarray) and values.dtype == object:
        values = values.ravel().tolist()
    if not isinstance(values, list | tuple):
        return None
    found = [_sequence(x) for x in values]
    sound = [x for x in found if x is not None]
    return sound if len(sound) == len(found) and any(x.size for x in sound) else None


def _sequence(value: Any) -> NDArray[Any] | None:
    """A (T, d) array, of no steps where there is nothing; None where it is something else."""
    array = np.zeros((0, 0), np.float32) if value is None else columns.array_of(value)
    if array is None or array.dtype.kind not in "fiub":
        return None
    if not array.size:
        return np.zeros((0, 0), np.float32)
    return array if array.ndim == 2 else None


def _from_sequences(
    found: Sequence[NDArray[Any]], steps: int, where: str
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    widths = {x.shape[1] for x in found if len(x)}
    if len(widths) > 1:
        raise BenchmarkError(
            f"{where}: the sequences have {', '.join(map(str, sorted(widths)[:5]))} channels; all"
            " must have as many."
        )
    kind = np.result_type(*{x.dtype for x in found if len(x)})
    whole = np.zeros((len(found), max(steps, 1), max(widths, default=1)), kind)
    for row, x in zip(whole, found, strict=True):
        part = x[:steps]
        row[: len(part), : part.shape[1]] = part if len(part) else 0
    return whole, np.array([min(len(x), steps) for x in found], np.int64)


def _fitted(values: NDArray[Any], steps: int) -> NDArray[Any]:
    """An (N, T, d) array with ``steps`` steps: cut, or with zeros behind."""
    if values.shape[1] >= steps:
        return values[:, :steps]
    behind = ((0, 0), (0, steps - values.shape[1]), (0, 0))
    return np.pad(values, behind)


def refuse_token_ids(split: Mapping[str, Any], where: str) -> None:
    """Refuse BERT's token ids where text features should be; BenchmarkError says what to do."""
    remedy = (
        "Take a package with text features, or encode the transcripts with 'benchmark data encode'"
    )
    if split.get("text") is None and split.get("text_bert") is not None:
        raise BenchmarkError(
            f"{where}: has 'text_bert', BERT's token ids, and no 'text', its features. {remedy}; or"
            " leave the text out: --rename text_bert=unused."
        )
    values = columns.array_of(split.get("text"))
    if values is None or values.ndim not in (2, 3) or values.dtype.kind not in "fiu":
        return
    if not _are_token_ids(values[:64]):
        return
    raise BenchmarkError(
        f"{where}: text: shape {values.shape} of whole numbers: token ids, no features. {remedy};"
        " or leave the text out: --rename text=unused."
    )


def _are_token_ids(values: NDArray[Any]) -> bool:
    """(N, T) or (N, T, 1) ids, or ids, mask and perhaps segments as (N, 3, T) or (N, T, 3)."""
    if not values.size or values.max() < 2:
        return False
    if not (np.isfinite(values) & (values >= 0) & (values == np.floor(values))).all():
        return False
    if values.ndim == 2 or values.shape[2] == 1:
        return True
    return any(
        x.shape[1] in (2, 3) and bool(x[:, 1:].max() <= 1) for x in (values, values.swapaxes(1, 2))
    )


def lost_modalities(
    splits: Mapping[str, Mapping[str, Any]], left_out: Collection[str] = ()
) -> dict[str, str]:
    """Key -> a line, of each that may be a modality, or its lengths, that the package lacks.

    What the user has ``left_out`` is not asked about.
    """
    train = splits["train"]
    absent = [m for m in MODALITIES if train.get(m) is None]
    unread = [k for s in SPLITS for k in splits[s] if isinstance(k, str) and k not in KNOWN_KEYS]
    lines = {}
    for key in sorted({*unread} - {*left_out}):
        lengths = next((m for m in MODALITIES if _are_lengths(key, m, train)), None)
        if lengths is not None:
            lines[key] = (
                f"'{columns.shown(key)}' is not used: {_rename({key: f'{lengths}_lengths'})}"
            )
        if key == "text_bert" or not _like_features(key, train.get(key)):
            continue
        meant = meant_by(key)
        names = {key: meant or "", f"{key}_lengths": f"{meant}_lengths"}
        if meant in absent:
            lines[key] = (
                f"{meant} is absent, and '{columns.shown(key)}' is not used: did you mean {meant}?"
                f" {_rename({old: new for old, new in names.items() if old in train})}"
            )
        elif meant is None and absent:
            lines[key] = (
                f"{' and '.join(absent)} absent, and '{columns.shown(key)}' is not used: is it"
                f" {' or '.join(absent)}? {_rename({key: absent[-1]})}"
            )
    return lines


def _are_lengths(key: str, modality: Modality, train: Mapping[str, Any]) -> bool:
    """Whether a key that is not read holds the lengths of a modality that is."""
    stem = re.sub(r"_?(lengths?|lens?)$", "", key.lower())
    return (
        stem != key.lower()
        and train.get(modality) is not None
        and train.get(LENGTH_KEYS[modality]) is None
        and modality in (stem, meant_by(stem))
    )


def _rename(names: Mapping[str, str]) -> str:
    pairs = ",".join(f"{columns.shown(old)}={new}" for old, new in names.items())
    return f"--rename {shlex.quote(pairs)}"


def _like_features(key: str, values: Any) -> bool:
    """Whether there is a vector of numbers, or a sequence of them, per sample."""
    if "label" in key.lower():
        return False
    objects = isinstance(values, np.ndarray) and values.ndim > 0 and values.dtype == object
    if isinstance(values, list | tuple) or objects:
        first = columns.array_of(next(iter(values), None))
        return first is not None and first.ndim > 0 and first.dtype.kind in "fiub"
    return (
        isinstance(values, np.ndarray)
        and values.dtype.kind in "fiub"
        and values.ndim > 1
        and values.shape[-1] > 1
    )
