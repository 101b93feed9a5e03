"""Features that somebody else's extractor made: a folder with one ``.npy`` file per sample."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.archive import npy_shape, read_npy
from benchmark.data.ids import JOINT
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


def read_segments(
    folder: Path, modality: Modality, ids: Sequence[str], steps: int | None = None
) -> Segments:
    """The arrays (T, d), or (d,) for one step, of the samples ``ids``.

    The file of sample ``video$_$clip`` is ``video$_$clip.npy``, ``video_clip.npy`` or
    ``video/clip.npy``; a sample without one lacks the modality.

    Args:
        folder: where the files are.
        modality: what they are, for messages.
        ids: of the N samples.
        steps: T; longer arrays are cut there. By default the longest.

    Raises:
        BenchmarkError: no folder, no file of any sample, or an array that does not fit the others;
            names the file.
    """
    if not folder.is_dir():
        raise BenchmarkError(f"{folder}: no such folder of {modality} features.")
    paths = [_file_of(folder, sample) for sample in ids]
    shapes = [None if path is None else _shape(path) for path in paths]
    found = [(path, shape) for path, shape in zip(paths, shapes, strict=True) if path and shape]
    if not found:
        there = sorted(p.name for p in folder.glob("*.npy"))[:SHOWN]
        raise BenchmarkError(
            f"{folder}: has no file of any sample: looked for {one_line(ids[0], 60)}.npy, say"
            f" (there are: {one_line(', '.join(there), 200) or 'no .npy files'}). A file is named"
            " for its sample's id; --id-columns says what that is."
        )
    width = found[0][1][1]
    for path, shape in found:
        if shape[1] != width:
            raise BenchmarkError(
                f"{path}: has {shape[1]} channels, {found[0][0].name} has {width}: all files of"
                " a modality need as many."
            )
    longest = steps or max(1, *(shape[0] for _, shape in found))
    values = np.zeros((len(ids), longest, width), np.float32)
    lengths = np.zeros(len(ids), np.int64)
    digest = hashlib.sha256(f"{modality} {values.shape}".encode())
    cut = 0
    for row, (sample, file) in enumerate(zip(ids, paths, strict=True)):
        digest.update(f"{len(sample)} {sample}".encode())
        if file is None:
            continue
        array = _as_steps(read_npy(file))
        digest.update(np.ascontiguousarray(array).tobytes())
        cut += len(array) > longest
        lengths[row] = min(len(array), longest)
        values[row, : lengths[row]] = array[:longest]
    notes = _notes(modality, ids, paths, cut, longest)
    return Segments(values, lengths, digest.hexdigest(), notes)


def _file_of(folder: Path, sample: str) -> Path | None:
    for name in dict.fromkeys((sample, sample.replace(JOINT, "_"), sample.replace(JOINT, "/"))):
        path = folder / f"{name}.npy"
        if "\0" not in name and is_file(path) and is_inside(path, folder):
            return path
    return None


def _shape(path: Path) -> tuple[int, int]:
    """(T, d) of a file, from its header."""
    shape, dtype = npy_shape(path)
    if len(shape) not in (1, 2) or dtype.kind not in "fiu" or 0 in shape[-1:]:
        raise BenchmarkError(
            f"{path}: must be one array (T, d) of numbers, or (d,) for one step, is {dtype} of"
            f" shape {shape}."
        )
    return (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])


def _as_steps(array: NDArray[Any]) -> NDArray[Any]:
    return array[None, :] if array.ndim == 1 else array


def _notes(
    modality: Modality, ids: Sequence[str], paths: Sequence[Path | None], cut: int, steps: int
) -> tuple[str, ...]:
    notes = []
    absent = [sample for sample, path in zip(ids, paths, strict=True) if path is None]
    if absent:
        more = f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else ""
        notes.append(
            f"{len(absent)} of {len(ids)} samples have no {modality} file"
            f" ({', '.join(absent[:SHOWN])}{more}): {modality} is missing there"
        )
    if cut:
        notes.append(f"{modality}: {cut} sequences were longer than {steps} steps and were cut")
    return tuple(notes)
