"""The sequences of a package: padded to one length, told from token ids, and none lost quietly."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data import columns
from benchmark.data.dataset import SPLITS
from benchmark.data.schema import KNOWN_KEYS, LENGTH_KEYS, OTHER_NAMES
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
    given = {name: split.get(modality) for name, split in splits.items()}
    lists = {name: _sequences(values) for name, values in given.items()}
    longest = max((len(x) for found in lists.values() for x in found or ()), default=0)
    wanted = steps or longest
    for name, values in given.items():
        found = lists[name]
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
        else:
            continue
        said = f"{name}: {modality}: sequences of {size} were set to {wanted} steps"
        notes.append(said + (f"; {cut} were longer and were cut" if cut else ""))


def _shorten_lengths(split: dict[str, Any], modality: Modality, steps: int) -> None:
    """Stated lengths of sequences that were cut; what is no number is left to its check."""
    stated = columns.array_of(split.get(LENGTH_KEYS[modality]))
    if stated is not None and stated.dtype.kind in "iuf":
        split[LENGTH_KEYS[modality]] = np.minimum(stated, steps)


def _sequences(values: Any) -> list[NDArray[Any]] | None:
    """The (T, d) arrays of a list or an object array; None where it is something else."""
    if isinstance(values, np.ndarray) and values.dtype == object:
        values = values.ravel().tolist()
    if not isinstance(values, list | tuple) or not values:
        return None
    sound = all(isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind in "fiu" for x in values)
    return list(values) if sound else None


def _from_sequences(
    found: Sequence[NDArray[Any]], steps: int, where: str
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    widths = {x.shape[1] for x in found if len(x)}
    if len(widths) > 1:
        raise BenchmarkError(
            f"{where}: the sequences have {', '.join(map(str, sorted(widths)[:5]))} channels; all"
            " must have as many."
        )
    kind = np.result_type(*{x.dtype for x in found})
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
    """(N, T) or (N, T, 1) ids, or (N, 3, T) ids, mask and segments."""
    if not values.size or values.max() < 2:
        return False
    if not (np.isfinite(values) & (values >= 0) & (values == np.floor(values))).all():
        return False
    return (
        values.ndim == 2
        or values.shape[2] == 1
        or (values.shape[1] == 3 and bool(values[:, 1:].max() <= 1))
    )


def lost_modalities(splits: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line for each key that looks like a modality that the package lacks."""
    absent = [m for m in MODALITIES if splits["train"].get(m) is None]
    for key in sorted({k for s in SPLITS for k in splits[s] if isinstance(k, str)} - KNOWN_KEYS):
        near = get_close_matches(key.lower(), [*OTHER_NAMES, *MODALITIES], 1, 0.8)
        meant = next((OTHER_NAMES.get(word, word) for word in near), None)
        if meant in absent and key != "text_bert":
            yield (
                f"{meant} is absent, and '{columns.shown(key)}' is not used: did you mean {meant}?"
                f" --rename {shlex.quote(columns.shown(key))}={meant}"
            )
