"""What the sequences of a package hold: real steps, missing samples, broken values, statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import SPLITS
from benchmark.data.package import Package, RawSplit
from benchmark.data.standardise import Flags, Floats, Ints, Moments, chunks, span_mask
from benchmark.errors import BenchmarkError
from protocols.modalities import Modality


@dataclass(frozen=True)
class Scan:
    """One modality of one split.

    Attributes:
        start, stop: (N,) the real steps are start <= t < stop.
        available: (N,) false where the modality is missing by nature (all zero).
        steps: T_m.
        nonfinite: values that are NaN or infinite in real steps.
        trimmed: samples with non-zero rows past their stated length.
    """

    start: Ints
    stop: Ints
    available: Flags
    steps: int
    nonfinite: int
    trimmed: int

    @property
    def mask(self) -> Flags:
        """(N, T) true for real steps."""
        return span_mask(self.start, self.stop, self.steps)

    @property
    def keep(self) -> Flags:
        """(N, T) true where there is content: real steps of samples that have the modality."""
        return self.mask & self.available[:, None]


def as_float32(values: NDArray[Any]) -> Floats:
    """``values`` as native float32; no copy where they are that already."""
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float32)


def row_chunks(values: NDArray[Any]) -> list[slice]:
    """Slices over the samples of (N, T, d) ``values``, in pieces of bounded memory."""
    return list(chunks(len(values), 4 * values.shape[1] * values.shape[2]))


def spans(content: Flags, lengths: Ints | None) -> tuple[Ints, Ints, Flags]:
    """Start, stop and "has rows past its length" per sample, each (n,).

    ``content`` (n, T) says which rows are not zero. Without ``lengths`` the span runs from the
    first to the last such row. With them it is the first L rows, or the last L where all content
    lies there and not in the first (left padding).
    """
    steps = content.shape[1]
    some = content.any(1)
    first = np.where(some, content.argmax(1), 0)
    last = np.where(some, steps - content[:, ::-1].argmax(1), 0)
    if lengths is None:
        return first, last, np.zeros(len(content), bool)
    left_padded = some & (last > lengths) & (first >= steps - lengths)
    start = np.where(left_padded, steps - lengths, 0)
    return start, start + lengths, some & (last > lengths) & ~left_padded


def scan_package(
    package: Package,
) -> tuple[dict[tuple[str, Modality], Scan], dict[Modality, Moments]]:
    """Scan every split and modality, and take the statistics of the train split.

    Raises:
        BenchmarkError: nothing finite is left of a sample's modality; names split, row and id.
    """
    scans: dict[tuple[str, Modality], Scan] = {}
    moments: dict[Modality, Moments] = {}
    for name in SPLITS:
        split = package.splits[name]
        for m in package.present:
            where = f"{package.source}: {name}: {m}"
            scans[name, m], seen = scan_modality(split, m, where, statistics=name == "train")
            if seen is not None:
                _refuse_empty(seen, where, m)
                moments[m] = seen
    for name in SPLITS:
        fill_missing_spans({m: scans[name, m] for m in package.present})
    return scans, moments


def scan_modality(
    split: RawSplit, modality: Modality, where: str, statistics: bool = False
) -> tuple[Scan, Moments | None]:
    """Scan one modality of a split, and take its channels' statistics where they are wanted.

    Raises:
        BenchmarkError: nothing finite is left of a sample's modality; names row and id.
    """
    values = split.features[modality]
    lengths = split.lengths.get(modality)
    count, steps, width = values.shape
    start, stop = np.zeros(count, np.int64), np.zeros(count, np.int64)
    available, trimmed = np.zeros(count, bool), 0
    nonfinite = 0
    moments = Moments.zero(width) if statistics else None
    for rows in row_chunks(values):
        piece = as_float32(values[rows])
        content = (piece != 0).any(2)  # NaN is content too
        stated = None if lengths is None else lengths[rows]
        start[rows], stop[rows], past = spans(content, stated)
        trimmed += int(past.sum())
        inside = span_mask(start[rows], stop[rows], steps)
        available[rows] = (content & inside).any(1)
        finite = np.isfinite(piece)
        clean = bool(finite.all())
        if not clean:
            nonfinite += int((~finite & inside[..., None]).sum())
            _refuse_lost(piece, finite, inside, split.ids[rows], rows.start, where)
        if moments is not None:
            real = inside & available[rows, None]
            moments += Moments.of(piece[real], None if clean else finite[real])
    return Scan(start, stop, available, steps, nonfinite, trimmed), moments


def _refuse_lost(
    piece: Floats, finite: Flags, inside: Flags, ids: tuple[str, ...], offset: int, where: str
) -> None:
    """Refuse samples that have non-finite values and, besides them, only zeros."""
    broken = (~finite & inside[..., None]).any((1, 2))
    sound = (finite & (piece != 0) & inside[..., None]).any((1, 2))
    lost = broken & ~sound
    if lost.any():
        row = int(lost.argmax())
        raise BenchmarkError(
            f"{where}: row {offset + row} (id {ids[row]!r}) has no finite value at all"
            f" ({int(lost.sum())} such samples here). Set the whole sequence to zero if the"
            " modality is missing there, or extract its features again."
        )


def _refuse_empty(moments: Moments, where: str, modality: Modality) -> None:
    if not moments.count.any():
        raise BenchmarkError(
            f"{where}: is zero in every train sample: there is nothing to learn from. If the data"
            f" set does not have it: --rename {modality}=unused leaves it out."
        )


def fill_missing_spans(scans: Mapping[Modality, Scan]) -> None:
    """Give each naturally missing sequence real steps, as an artificially missing one has them.

    Aligned data: the union of the spans of the sample's other modalities. Otherwise, or where
    nothing else is there: its stated length, or one step. Changes the scans of a split in place.
    """
    steps = {scan.steps for scan in scans.values()}
    count = len(next(iter(scans.values())).start)
    some = np.zeros(count, bool)
    first = np.full(count, max(steps))
    last = np.zeros(count, np.int64)
    for scan in scans.values() if len(steps) == 1 and len(scans) > 1 else ():
        some |= scan.available
        first = np.where(scan.available, np.minimum(first, scan.start), first)
        last = np.where(scan.available, np.maximum(last, scan.stop), last)
    for scan in scans.values():
        empty = ~scan.available & (scan.stop == scan.start)
        scan.start[empty] = np.where(some, first, 0)[empty]
        scan.stop[empty] = np.where(some, last, 1)[empty]
