"""Features that somebody else's extractor made: an ``.npy`` file per sample, or a dict by id."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data import columns
from benchmark.data.archive import npy_shape, read_npy
from benchmark.data.ids import JOINT
from benchmark.data.package import check_is_package
from benchmark.data.picklefile import read_pickle
from benchmark.errors import BenchmarkError
from benchmark.files import is_file, is_inside
from benchmark.hygiene import one_line
from protocols.modalities import Modality

SHOWN = 3
"""Ids that a note names."""


@dataclass(frozen=True)
class Segments:
    """One modality of all samples.

    Attributes:
        values: (N, T, d), zeros behind; a sample without a file is all zero.
        lengths: (N,) numbers of real steps.
        sha256: over the samples' files.
        notes: how many have no file or were cut.
    """

    values: NDArray[np.floating]
    lengths: NDArray[np.int64]
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    """A sample's array: its name for messages, its shape as (T, d), and how to get it."""

    name: str
    shape: tuple[int, int]
    read: Callable[[], NDArray[Any]]


Finder = Callable[[str], _Found | None]


def read_segments(
    place: Path, modality: Modality, ids: Sequence[str], steps: int | None = None
) -> Segments:
    """The arrays (T, d), or (d,) for one step, of the samples ``ids``.

    The file of sample ``video$_$clip`` is ``video$_$clip.npy``, ``video_clip.npy``,
    ``video[clip].npy`` or ``video/clip.npy``, and so are the keys of a dict; a sample without one
    lacks the modality.

    Args:
        place: the folder of the files, or a pickle with a dict of arrays by id.
        modality: what they are, for messages.
        ids: of the N samples.
        steps: T; longer arrays are cut there. By default the longest.

    Raises:
        BenchmarkError: nothing there, nothing of any sample, or an array that does not fit the
            others; names it.
    """
    find, there = _in_pickle(place) if is_file(place) else _in_folder(place, modality)
    samples = [find(sample) for sample in ids]
    found = [sample for sample in samples if sample is not None]
    if not found:
        raise BenchmarkError(
            f"{place}: has nothing of any sample: looked for {one_line(ids[0], 60)}"
            f"{'' if is_file(place) else '.npy'}, say (there are:"
            f" {one_line(', '.join(there), 200) or 'no .npy files'}). What is of a sample is named"
            " for its id; --id-columns says what that is."
        )
    width = found[0].shape[1]
    for other in found:
        if other.shape[1] != width:
            raise BenchmarkError(
                f"{other.name}: has {other.shape[1]} channels, {found[0].name} has {width}: all"
                " samples of a modality need as many."
            )
    longest = steps or max(1, *(sample.shape[0] for sample in found))
    values = np.zeros((len(ids), longest, width), np.float32)
    lengths = np.zeros(len(ids), np.int64)
    digest = hashlib.sha256(f"{modality} {values.shape}".encode())
    cut = 0
    for row, (name, sample) in enumerate(zip(ids, samples, strict=True)):
        digest.update(f"{len(name)} {name}".encode())
        if sample is None:
            continue
        array = _as_steps(sample.read())
        digest.update(np.ascontiguousarray(array).tobytes())
        cut += len(array) > longest
        lengths[row] = min(len(array), longest)
        values[row, : lengths[row]] = array[:longest]
    notes = _notes(modality, ids, samples, cut, longest)
    return Segments(values, lengths, digest.hexdigest(), notes)


def _names(sample: str) -> list[str]:
    """The names that an id may have elsewhere."""
    video, joint, clip = sample.rpartition(JOINT)
    bracketed = f"{video}[{clip}]" if joint else sample
    joined = (sample, sample.replace(JOINT, "_"), bracketed, sample.replace(JOINT, "/"))
    return list(dict.fromkeys(joined))


def _in_folder(folder: Path, modality: Modality) -> tuple[Finder, list[str]]:
    """How to find a sample in a folder of files, and the names of some of them."""
    if not folder.is_dir():
        raise BenchmarkError(f"{folder}: no such folder, or pickle, of {modality} features.")

    def find(sample: str) -> _Found | None:
        for name in _names(sample):
            path = folder / f"{name}.npy"
            if "\0" not in name and is_file(path) and is_inside(path, folder):
                shape, dtype = npy_shape(path)
                return _Found(path.name, _shape(shape, dtype, str(path)), partial(read_npy, path))
        return None

    return find, sorted(p.name for p in folder.glob("*.npy"))[:SHOWN]


def _in_pickle(path: Path) -> tuple[Finder, list[str]]:
    """How to find a sample in a dict of arrays by id, and some of its keys."""
    check_is_package(path)
    data = read_pickle(path)
    if not isinstance(data, dict):
        raise BenchmarkError(f"{path}: holds a {type(data).__name__}, no dict of arrays by id.")
    arrays = {columns.shown(key): value for key, value in data.items()}

    def find(sample: str) -> _Found | None:
        name = next((name for name in _names(sample) if arrays.get(name) is not None), None)
        if name is None:
            return None
        where = f"{path}: {one_line(name, 60)}"
        array = columns.array_of(arrays[name])
        if array is None:
            raise BenchmarkError(f"{where}: is a {type(arrays[name]).__name__}, no array.")
        return _Found(name, _shape(array.shape, array.dtype, where), lambda: array)

    return find, list(arrays)[:SHOWN]


def _shape(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> tuple[int, int]:
    """(T, d) of an array of that shape."""
    if len(shape) not in (1, 2) or dtype.kind not in "fiu" or 0 in shape[-1:]:
        raise BenchmarkError(
            f"{where}: must be one array (T, d) of numbers, or (d,) for one step, is {dtype} of"
            f" shape {shape}."
        )
    return (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])


def _as_steps(array: NDArray[Any]) -> NDArray[Any]:
    return array[None, :] if array.ndim == 1 else array


def _notes(
    modality: Modality, ids: Sequence[str], found: Sequence[object], cut: int, steps: int
) -> tuple[str, ...]:
    notes = []
    absent = [sample for sample, array in zip(ids, found, strict=True) if array is None]
    if absent:
        more = f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        notes.append(
            f"{len(absent)} of {len(ids)} samples have no {modality} file"
            f" ({', '.join(absent[:SHOWN])}{more}): {modality} is missing there"
        )
    if cut:
        notes.append(f"{modality}: {cut} sequences were longer than {steps} steps and were cut")
    return tuple(notes)
