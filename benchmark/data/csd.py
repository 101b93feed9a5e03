"""Computational sequences of the CMU SDK (.csd): aligned to words, cut into labelled segments.

A sequence is an HDF5 file with, per video, features (T, d) and their intervals (T, 2) in seconds.
As the SDK's ``align`` does with averaging: at each word stands the plain mean of what overlaps its
interval, and zeros where nothing does; a segment has the words that overlap it; videos that are not
in every sequence, and segments without a word, are left out. Overlaps up to EPSILON are none.

The only module that imports ``h5py`` (the extra ``[csd]``).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.archive import FREE_BYTES, MAX_RATIO
from benchmark.data.cards import known_card
from benchmark.data.csvfile import at, read_rows
from benchmark.data.folds import folds_of
from benchmark.data.grouping import split_by_group
from benchmark.data.manifest import Source
from benchmark.data.recognise import HEAD_BYTES, what_it_is
from benchmark.data.schema import PLAIN_LABELS, SPLIT_NAMES
from benchmark.data.tensorfile import file_sha256
from benchmark.errors import BenchmarkError
from benchmark.files import check_regular
from benchmark.hygiene import one_line
from protocols.modalities import Modality

EPSILON = 1e-5
"""Seconds: shorter words and overlaps are rounding."""


@dataclass(frozen=True)
class Track:
    """One video of a sequence, sorted by start: (T, 2) intervals in seconds and (T, d) features."""

    intervals: NDArray[np.float64]
    features: NDArray[Any]


Videos = dict[str, Track]


def read_csd(path: Path) -> Videos:
    """The videos of a .csd file. Raises BenchmarkError: no such file, or damaged."""
    h5py = _library()
    check_regular(path)
    _refuse_others(path)
    try:
        with h5py.File(path, "r") as file:
            roots = [file[name] for name in file if "data" in file[name]]
            if len(roots) != 1:
                raise ValueError(f"{len(roots)} groups with 'data' in it, must be one")
            room = [FREE_BYTES + MAX_RATIO * path.stat().st_size]
            data = roots[0]["data"]
            entries: dict[str, list[Track]] = {}
            for name in data:  # "video", or "video[3]" as the SDK leaves it when it has aligned
                video = re.sub(r"\[\d+\]$", "", str(name))
                entries.setdefault(video, []).append(_video(data[name], room, h5py))
            return {video: _joined(tracks) for video, tracks in entries.items()}
    except BenchmarkError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise BenchmarkError(
            f"{path}: damaged, or no computational sequence ({one_line(error, 200)}). It must be"
            " an HDF5 file with features and intervals per video, as the CMU SDK writes it."
        ) from None


def _refuse_others(path: Path) -> None:
    """Say what a file is that is no HDF5, by its first bytes."""
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read: {error.strerror}.") from None
    known = None if head.startswith(b"\x89HDF") else what_it_is(path, head)
    if known is not None:
        raise BenchmarkError(f"{path}: is no computational sequence (.csd): it {known}")


def _joined(tracks: Sequence[Track]) -> Track:
    """The parts of one video as one track, sorted by start."""
    if len(tracks) == 1:
        return tracks[0]
    intervals = np.concatenate([track.intervals for track in tracks])
    features = np.concatenate([track.features for track in tracks])
    order = np.argsort(intervals[:, 0], kind="stable")
    return Track(intervals[order], features[order])


def _library() -> Any:
    try:
        import h5py
    except ImportError:
        raise BenchmarkError(
            "computational sequences need the package h5py: pip install"
            " 'robust-msa-benchmark[csd]' (in a clone: pip install -e '.[csd]')."
        ) from None
    return h5py


def _video(group: Any, room: list[int], h5py: Any) -> Track:
    intervals = _array(group, "intervals", room, h5py).astype(np.float64)
    features = _array(group, "features", room, h5py)
    if intervals.shape == (2,):  # of one step
        intervals, features = intervals[None], features.reshape(1, -1)
    features = features.reshape(len(features), math.prod(features.shape[1:]))
    if intervals.ndim != 2 or intervals.shape[1] != 2 or len(intervals) != len(features):
        raise ValueError(f"{group.name}: {features.shape} features at {intervals.shape} intervals")
    order = np.argsort(intervals[:, 0], kind="stable")
    return Track(intervals[order], features[order])


def _array(group: Any, name: str, room: list[int], h5py: Any) -> NDArray[Any]:
    """A data set of numbers that lies in the file itself, and in what is left of the room."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{group.name}/{name} is kept elsewhere")
    values = group[name]
    if values.dtype.kind in "SUO":
        raise BenchmarkError(
            f"{values.file.filename}: holds words, no features: give the sequence of word vectors"
            " (TimestampedWordVectors) instead of the words."
        )
    if values.external or values.is_virtual or values.dtype.kind not in "fiu":
        raise ValueError(f"{group.name}/{name} holds no plain numbers")
    room[0] -= values.nbytes
    if room[0] < 0:
        raise ValueError("it states far more content than its size allows")
    content: NDArray[Any] = values[()]
    return content


def overlapping(intervals: NDArray[np.float64], start: float, stop: float) -> NDArray[np.int64]:
    """Which of (T, 2) intervals, sorted by start, overlap one by more than EPSILON."""
    if not len(intervals):
        return np.zeros(0, np.int64)
    reach = np.maximum.accumulate(intervals[:, 1])  # ends need not be sorted
    first = int(np.searchsorted(reach, start, side="right"))
    last = int(np.searchsorted(intervals[:, 0], stop, side="left"))
    part = intervals[first:last]
    shared = np.minimum(part[:, 1], stop) - np.maximum(part[:, 0], start)
    return first + np.flatnonzero(shared > EPSILON)


def at_words(words: Track, other: Track) -> NDArray[np.float32]:
    """(W, d) means of another sequence over each word's interval; zeros where there is nothing.

    Means are over finite values (COVAREP's hold -inf); NaN where there is something, but none.
    """
    result = np.zeros((len(words.intervals), other.features.shape[1]), np.float32)
    for row, (start, stop) in zip(result, words.intervals, strict=True):
        found = overlapping(other.intervals, start, stop)
        if not len(found):
            continue
        values = other.features[found].astype(np.float64)
        finite = np.isfinite(values)
        count = finite.sum(0)
        total = np.where(finite, values, 0).sum(0)
        row[:] = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return result


@dataclass(frozen=True)
class Aligned:
    """What was aligned: columns by split for the import, and what was left out."""

    columns: dict[str, dict[str, Any]]
    source: Source
    notes: tuple[str, ...]


def align(paths: Mapping[Modality, Path], labels: Path, splits: Path | None) -> Aligned:
    """Align sequences to the words of the text, and cut them into the segments of the labels.

    Args:
        paths: modality -> its .csd file; text, the words, among them.
        labels: the .csd file of the labels: an interval is a segment, its features are labels.
        splits: a CSV with the columns video and split; None: split here by whole videos.

    Raises:
        BenchmarkError: a file that is none, or nothing in common.
    """
    place: Mapping[str, str] | None = None if splits is None else _read_splits(splits)
    parts = {m: read_csd(path) for m, path in paths.items()}
    segments = read_csd(labels)
    known = set(segments).intersection(*parts.values())
    if not known:
        raise BenchmarkError(f"{labels.name}: no video is in all of the files.")
    notes = [f"left out: {name}" for name in _left_out(parts, segments, known)]
    by = splits.name if splits else ""
    if place is None:
        place, by, note = _made_here(sorted(known))
        notes.append(note)
    lost = len(known - set(place))
    if lost:
        notes.append(f"left out: {lost} videos that {by} does not name")
    columns: dict[str, dict[str, list[Any]]] = {
        split: {"id": [], PLAIN_LABELS: [], **{m: [] for m in paths}}
        for split in ("train", "valid", "test")
    }
    empty = 0
    for video in sorted(known & set(place)):
        empty += _cut(
            video, {m: p[video] for m, p in parts.items()}, segments[video], columns[place[video]]
        )
    if empty:
        notes.append(f"left out: {empty} segments without a word")
    notes += [_not_finite(m, (p[video] for video in known)) for m, p in parts.items()]
    _refuse_empty(columns, empty, by or "the split", labels.name)
    files = [*paths.values(), labels]
    return Aligned(
        {s: {**c, PLAIN_LABELS: np.array(c[PLAIN_LABELS])} for s, c in columns.items()},
        _source(files),
        (*filter(None, notes), "aligned to words: the mean of what overlaps a word's interval"),
    )


def _not_finite(modality: Modality, tracks: Iterable[Track]) -> str:
    """How many values of a sequence are in no mean; empty where all are."""
    count = sum(int((~np.isfinite(track.features)).sum()) for track in tracks)
    if not count or modality == "text":
        return ""
    return f"{modality}: {count} values are NaN or infinite: they are in no mean"


def _refuse_empty(columns: Mapping[str, Any], empty: int, by: str, labels: str) -> None:
    bare = [split for split, content in columns.items() if not content["id"]]
    if len(bare) == len(columns):
        raise BenchmarkError(
            f"{labels}: none of its {empty} segments has a word in it: are the times of both files"
            " seconds of the same videos?"
        )
    if bare:
        raise BenchmarkError(
            f"{by} leaves no segment for {' and '.join(bare)}: all three need some."
        )


def _made_here(videos: Sequence[str]) -> tuple[Mapping[str, str], str, str]:
    """Video -> split, by whom, and a sentence: the standard folds, or else our own."""
    standard = folds_of(videos)
    if standard is not None:
        name, folds = standard
        by = f"the list of {known_card(name).title}'s standard folds"
        return folds, by, f"split by {by}, as the CMU SDK has it"
    found, note = split_by_group(videos, "video")
    return dict(zip(videos, found, strict=True)), "", note


def _cut(
    video: str,
    parts: Mapping[Modality, Track],
    segments: Track,
    columns: dict[str, list[Any]],
) -> int:
    """Add the segments of a video to the columns of its split; returns how many have no word."""
    text = parts["text"]
    spoken = text.intervals[:, 1] - text.intervals[:, 0] > EPSILON
    words = Track(text.intervals[spoken], text.features[spoken])
    steps = {m: words.features if m == "text" else at_words(words, x) for m, x in parts.items()}
    empty = 0
    for k, (start, stop) in enumerate(segments.intervals):
        rows = overlapping(words.intervals, start, stop)
        if not len(rows):
            empty += 1
            continue
        columns["id"].append(f"{video}[{k}]")
        columns[PLAIN_LABELS].append(segments.features[k])
        for m, values in steps.items():
            columns[m].append(values[rows])
    return empty


def _left_out(parts: Mapping[Modality, Videos], segments: Videos, known: set[str]) -> list[str]:
    every = set(segments).union(*parts.values())
    files: dict[str, Videos] = {**dict(parts.items()), "labels": segments}
    lost = {name: len(every - set(found)) for name, found in files.items()}
    said = ", ".join(f"{name} lacks {count}" for name, count in lost.items() if count)
    return [f"{len(every) - len(known)} videos that are not in every file ({said})"] if said else []


def _read_splits(path: Path) -> dict[str, str]:
    """Video -> split. Raises BenchmarkError."""
    place = {}
    for row in read_rows(path, [("video", "video"), ("split", "split")]):
        split = row.cells["split"].lower()
        if split not in SPLIT_NAMES:
            raise BenchmarkError(
                f"{at(path, row)}: 'split' is {row.cells['split']!r}, must be train, valid or test."
            )
        place[row.cells["video"]] = SPLIT_NAMES[split]
    return place


def _source(files: Sequence[Path]) -> Source:
    sums = [file_sha256(path) for path in files]
    return Source(
        name=" + ".join(path.name for path in files),
        sha256=hashlib.sha256("".join(sums).encode()).hexdigest(),
        bytes=sum(path.stat().st_size for path in files),
    )
