"""Masks, train statistics and standardisation of feature sequences, in numpy and in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]

CHUNK_BYTES = 32 * 2**20
"""Work is done in pieces of about this size: large enough for numpy, small beside any array."""

RESOLUTION = 1e-7
"""A channel whose std is below this share of its mean is constant: float32 holds no more."""


def chunks(count: int, row_bytes: int) -> Iterator[slice]:
    """Slices that cover ``count`` rows of ``row_bytes`` each, about CHUNK_BYTES at a time."""
    step = max(1, CHUNK_BYTES // max(1, row_bytes))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations per channel, each (d,) float64.

    Merged by Chan's formula, so that large offsets (F0 in Hz) cost no precision.
    """

    count: NDArray[np.float64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    @staticmethod
    def zero(width: int) -> Moments:
        """The moments of no rows at all."""
        return Moments(np.zeros(width), np.zeros(width), np.zeros(width))

    @staticmethod
    def of(rows: NDArray[np.floating], finite: Flags | None = None) -> Moments:
        """The moments of (K, d) rows; entries where ``finite`` is false are left out."""
        values = rows.astype(np.float64)
        if finite is None:
            count = np.full(values.shape[1], float(len(values)))
            mean = values.sum(0) / np.maximum(count, 1)
            values -= mean
        else:
            values[~finite] = 0
            count = finite.sum(0).astype(np.float64)
            mean = values.sum(0) / np.maximum(count, 1)
            values -= mean
            values[~finite] = 0
        return Moments(count, mean, np.einsum("kd,kd->d", values, values))

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        gap = other.mean - self.mean
        return Moments(
            count,
            self.mean + gap * share,
            self.squares + other.squares + gap**2 * self.count * share,
        )

    @property
    def std(self) -> NDArray[np.float64]:
        """(d,) population standard deviation; 0 for a channel that was never seen."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))

    @property
    def pooled_std(self) -> float:
        """One standard deviation over all entries of all channels."""
        total = max(self.count.sum(), 1.0)
        centre = (self.count * self.mean).sum() / total
        spread = self.squares + self.count * (self.mean - centre) ** 2
        return float(np.sqrt(spread.sum() / total))


@dataclass(frozen=True)
class Scale:
    """What standardises a modality: (d,) float32 mean and std, and which channels are constant."""

    mean: Floats
    std: Floats
    constant: Flags

    @staticmethod
    def of(moments: Moments) -> Scale:
        """The scale of train moments; a constant channel gets std 1 and becomes 0."""
        std = moments.std
        floor = np.maximum(RESOLUTION * np.abs(moments.mean), np.finfo(np.float32).tiny)
        constant = std <= floor
        return Scale(
            moments.mean.astype(np.float32),
            np.where(constant, 1.0, std).astype(np.float32),
            constant,
        )

    @staticmethod
    def from_lists(mean: Sequence[float], std: Sequence[float], constant: Sequence[int]) -> Scale:
        """The scale whose mean and std, and whose constant channels' numbers, are known."""
        flags = np.zeros(len(mean), dtype=bool)
        flags[list(constant)] = True
        return Scale(np.array(mean, np.float32), np.array(std, np.float32), flags)

    def apply(self, values: Floats, keep: Flags) -> None:
        """Standardise (n, T, d) ``values`` in place.

        A non-finite value becomes its channel's train mean, which is 0 here. Rows where the (n, T)
        ``keep`` is false (padding, missing samples) become zero.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            values -= self.mean
            values /= self.std
        values[..., self.constant] = 0
        fill_nonfinite(values)
        values[~keep] = 0


def constant_channels(values: NDArray[np.floating], keep: Flags) -> Flags:
    """The (d,) channels of (N, T, d) ``values`` that have one value at all steps of ``keep``.

    Cheap where every channel varies, which the first chunk shows; the others are read to the end.
    """
    constant = np.ones(values.shape[2], dtype=bool)
    first = None
    for part in chunks(len(values), values[:1].nbytes):
        rows = values[part][keep[part]].astype(np.float32, copy=False)
        if not len(rows):
            continue
        if first is None:
            first = rows[0]
        constant &= (np.abs(rows - first) <= RESOLUTION * np.abs(first)).all(0)
        if not constant.any():
            break
    return constant


def channel_sigma(sigma: float, constant: Flags) -> Floats:
    """(d,) reference deviation of the noise: ``sigma``, and 0 where training never varies.

    No reference supports noise on a channel that is constant in training, and a model may have
    learned to divide by its spread.
    """
    return np.where(constant, 0.0, sigma).astype(np.float32)


def fill_nonfinite(values: Floats) -> None:
    """Set the non-finite entries of ``values`` to zero, in place."""
    finite = np.isfinite(values)
    if not finite.all():
        values[~finite] = 0


def span_mask(start: Ints, stop: Ints, steps: int) -> Flags:
    """(N, T) mask that is true from ``start`` up to, not including, ``stop``; each (N,)."""
    time = np.arange(steps)
    return (time >= start[:, None]) & (time < stop[:, None])
