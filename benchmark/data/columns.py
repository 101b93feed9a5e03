"""The columns of a feature package, each checked with an error that names its row."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.hygiene import one_line

LABEL_LIMIT = 3.0
CONTAINERS = (list, tuple, dict, set, frozenset, np.ndarray)
SHOWN = 20
"""Names of keys in a message."""


def texts(values: Any, where: str) -> tuple[str, ...]:
    """A column of text: a list or a one-dimensional array."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple) or any(isinstance(v, CONTAINERS) for v in values):
        raise BenchmarkError(f"{where}: must be one text per sample.")
    try:
        return tuple(_text(value) for value in values)
    except ValueError as error:  # a whole number of thousands of digits
        raise BenchmarkError(f"{where}: must be one text per sample ({error}).") from None


def printable(names: Iterable[object]) -> str:
    """Names out of a file, for a message."""
    found = [shown(name) for name in islice(names, SHOWN)]
    return ", ".join(found) or "nothing"


def shown(name: object) -> str:
    """A key of a file in a message; one that is no text could have no end."""
    return one_line(name, 60) if isinstance(name, str) else f"a {type(name).__name__}"


def _text(value: Any) -> str:
    """Text that can be written as UTF-8: what cannot becomes a question mark."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value).encode("utf-8", "replace").decode("utf-8")


def array_of(values: Any) -> NDArray[Any] | None:
    """Lists as an array; None where they are none, or of unequal length."""
    if isinstance(values, np.ndarray):
        return values
    if not isinstance(values, list | tuple):
        return None
    try:
        return np.asarray(values)
    except (ValueError, OverflowError):
        return None


def features(values: Any, where: str, option: str = "") -> NDArray[Any]:
    """A (N, T, d) array of real numbers; ``option`` is what to do about one vector per sample."""
    if not isinstance(values, np.ndarray):
        raise BenchmarkError(
            f"{where}: must be one array (N, T, d), or a list of (T, d) arrays, is"
            f" {type(values).__name__}."
        )
    if values.dtype.kind not in "fiub":
        raise BenchmarkError(
            f"{where}: has dtype {values.dtype}; it must be one (N, T, d) array of numbers, or a"
            " list of one (T, d) array of numbers per sample, all with as many channels."
        )
    if values.ndim != 3:
        raise BenchmarkError(
            f"{where}: has shape {values.shape}, must be (N, T, d); one vector per sample is"
            f" (N, 1, d){option}."
        )
    if 0 in values.shape[1:]:
        raise BenchmarkError(f"{where}: has shape {values.shape}: no steps or no channels.")
    return values


def column(values: Any, where: str) -> NDArray[Any]:
    """A one-dimensional array of numbers; (N, 1) is taken as (N,)."""
    if isinstance(values, list | tuple) and any(isinstance(v, CONTAINERS) for v in values):
        raise BenchmarkError(f"{where}: must be one number per sample, holds lists.")
    try:
        column = np.asarray(values)
    except (ValueError, OverflowError):  # bytes beside text, say
        raise BenchmarkError(f"{where}: must be one number per sample.") from None
    if column.ndim > 1 and column.size == len(column):
        column = column.reshape(len(column))
    if column.dtype.kind not in "fiub" or column.ndim != 1:
        raise BenchmarkError(
            f"{where}: must be one number per sample, is {column.dtype} of shape {column.shape}."
        )
    return column


def _row(where: str, ids: tuple[str, ...], row: int) -> str:
    return f"{where}: row {row} (id {ids[row]!r})"


def lengths(values: Any, ids: tuple[str, ...], steps: int, where: str) -> NDArray[np.int64]:
    """(N,) numbers of real steps, each from 0 to ``steps``."""
    stated = column(values, where)
    if len(stated) != len(ids):
        raise BenchmarkError(f"{where} has {len(stated)} rows, id has {len(ids)}.")
    wrong = ~((stated >= 0) & (stated <= steps))
    if wrong.any():
        row = int(wrong.argmax())
        raise BenchmarkError(
            f"{_row(where, ids, row)} is {stated[row]}, the array has {steps} steps"
            f" ({int(wrong.sum())} such rows)."
        )
    return stated.astype(np.int64)


def sentiment(label: NDArray[Any], ids: tuple[str, ...], where: str) -> NDArray[np.float32]:
    """(N,) float32 sentiment in [-3, 3]; what lies outside, or is no number, is refused."""
    values = label.astype(np.float32)
    wrong = ~(np.abs(values) <= LABEL_LIMIT)  # also true for NaN
    if np.isnan(values).all():
        raise BenchmarkError(
            f"{where}: no labels here: all {len(values)} are NaN. A set without labels cannot be"
            " evaluated; for the answers of a trained model: 'benchmark predict'."
        )
    if wrong.any():
        row = int(wrong.argmax())
        raise BenchmarkError(
            f"{_row(where, ids, row)} is {values[row]:g}, must be a number in [-3, 3]"
            f" ({int(wrong.sum())} such rows). {_remedy(values, wrong)}"
        )
    return values


FEW = 0.05
"""A share of labels beyond the scale that is an accident, and no other scale."""


def _remedy(values: NDArray[np.float32], wrong: NDArray[np.bool_]) -> str:
    """The option that helps against labels that are no number in [-3, 3]."""
    if np.isnan(values[wrong]).all():
        return "--drop-unlabelled leaves out the samples without a label."
    finite = values[np.isfinite(values)]
    if wrong.mean() <= FEW and np.abs(finite).max() <= 2 * LABEL_LIMIT:
        return "--clip-labels sets what lies beyond to -3 or 3."
    low, high = float(finite.min()), float(finite.max())
    if not low < high:
        return "Is it the right column?"
    formula = f"(x - {(low + high) / 2:g}) * {2 * LABEL_LIMIT / (high - low):g}"
    return (
        "ACC7 is defined on that scale: map your labels to it, 1..5 with --label-map 'x - 3';"
        f" these run from {low:g} to {high:g}, which --label-map '{formula}' spreads over it."
    )


def classes(label: NDArray[Any], ids: tuple[str, ...], where: str) -> NDArray[np.int64]:
    """(N,) int64 class numbers from 0; what is no whole number is refused."""
    wrong = ~(np.isfinite(label) & (label >= 0) & (label == np.floor(label)) & (label < 2**31))
    if wrong.any():
        row = int(wrong.argmax())
        raise BenchmarkError(
            f"{_row(where, ids, row)} is {label[row]}, must be a whole number from 0"
            f" ({int(wrong.sum())} such rows)."
        )
    return label.astype(np.int64)
