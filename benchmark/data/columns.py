"""The columns of a feature package, each checked with an error that names its row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
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


def sentences(values: Any, where: str) -> tuple[str, ...]:
    """A column of transcripts: a list of words is one, and what is not there is an empty one."""
    rows = values.tolist() if isinstance(values, np.ndarray) else values
    if isinstance(rows, list | tuple):
        rows = [
            " ".join(texts(row, where)) if isinstance(row, list | tuple | np.ndarray) else row
            for row in rows
        ]
        rows = ["" if is_nothing(row) else row for row in rows]
    return texts(rows, where)


def is_nothing(value: Any) -> bool:
    """None, NaN or an empty text."""
    return value is None or value in ("", b"") or (isinstance(value, float) and math.isnan(value))


def printable(names: Iterable[object]) -> str:
    """Names out of a file, for a message."""
    found = [shown(name) for name in islice(names, SHOWN)]
    return ", ".join(found) or "nothing"


def shown(name: object) -> str:
    """A key of a file in a message; one that is no text could have no end."""
    if isinstance(name, str | bytes | bool | float | None) or (
        isinstance(name, int) and name.bit_length() < 64
    ):
        return one_line(name, 60)
    return f"a {type(name).__name__}"


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


def features(values: Any, where: str, vectors: str = "", absent: str = "") -> NDArray[Any]:
    """A (N, T, d) array of real numbers.

    Args:
        values: what is to be one.
        where: what it is, for messages.
        vectors: what to do about one vector per sample.
        absent: what to do about a modality that is there in name only.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        array = isinstance(values, np.ndarray)
        kind = f"has dtype {values.dtype}" if array else f"is a {type(values).__name__}"
        raise BenchmarkError(
            f"{where}: {kind}; it must be one (N, T, d) array of numbers, or a list of one (T, d)"
            " array of numbers per sample, all with as many channels."
            f"{_texts_in(values, where.rpartition(': ')[2])}"
        )
    if values.ndim == 2:
        raise BenchmarkError(
            f"{where}: has shape {values.shape}, must be (N, T, d); one vector per sample is"
            f" (N, 1, d){vectors}."
        )
    if values.ndim != 3:
        hint = " Are they images, or layers? Extract, or choose, first." if values.ndim > 3 else ""
        raise BenchmarkError(
            f"{where}: has shape {values.shape}, must be (N, T, d): one vector per step.{hint}"
        )
    if 0 in values.shape[1:]:
        raise BenchmarkError(f"{where}: has shape {values.shape}: no steps or no channels{absent}.")
    return values


def _texts_in(values: Any, key: str) -> str:
    """What to do where words are in place of features."""
    while isinstance(values, list | tuple) or (isinstance(values, np.ndarray) and values.ndim):
        if not len(values):
            return ""
        values = values[0]
    if not isinstance(values, str | bytes):
        return ""
    return (
        " These are texts: 'benchmark data encode' makes features of transcripts; --rename"
        f" {key}=raw_text keeps them beside the features."
    )


def column(values: Any, where: str) -> NDArray[Any]:
    """A one-dimensional array of numbers; (N, 1) is taken as (N,)."""
    if isinstance(values, list | tuple) and any(isinstance(v, CONTAINERS) for v in values):
        raise BenchmarkError(f"{where}: must be one number per sample, holds lists.")
    if isinstance(values, dict):
        keys = printable(values)
        raise BenchmarkError(f"{where}: must be one number per sample, is a dict of {keys}.")
    try:
        column = np.asarray(values)
    except (ValueError, OverflowError):  # bytes beside text, say
        raise BenchmarkError(f"{where}: must be one number per sample.") from None
    if column.ndim > 1 and column.size == len(column):
        column = column.reshape(len(column))
    if column.ndim == 1 and column.dtype.kind in "OSU":
        rows = column.tolist()
        numbers = [as_number(row) for row in rows]
        odd = [k for k, number in enumerate(numbers) if number is None]
        if odd:
            raise BenchmarkError(
                f"{where}: must be one number per sample; row {odd[0]} is"
                f" {one_line(rows[odd[0]], 60)!r} ({len(odd)} such rows of {len(rows)})."
            )
        return np.array(numbers, np.float64)
    if column.dtype.kind not in "fiub" or column.ndim != 1:
        raise BenchmarkError(
            f"{where}: must be one number per sample, is {column.dtype} of shape {column.shape}."
        )
    return column


def as_number(value: Any) -> float | None:
    """A number, or a text that is one; else None. No number at all (None, "") is NaN."""
    if value is None:
        return float("nan")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    try:
        text = str(value).strip()
        if "_" in text:  # Python's own 1_000
            return None
        return float(text) if text else float("nan")
    except (TypeError, ValueError, OverflowError):
        return None


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
            f" ({int(wrong.sum())} such rows). Are its axes (N, d, T)? If the lengths are wrong:"
            f" --rename {where.rpartition(': ')[2]}=unused takes padding for what is zero."
        )
    return stated.astype(np.int64)


def sentiment(label: NDArray[Any], ids: tuple[str, ...], where: str) -> NDArray[np.float32]:
    """(N,) float32 sentiment in [-3, 3]; what lies outside, or is no number, is refused."""
    values = label.astype(np.float32)
    wrong = ~(np.abs(values) <= LABEL_LIMIT)  # also true for NaN
    if np.isnan(values).all():
        raise BenchmarkError(f"{where}: no labels here: all {len(values)} are NaN. {UNLABELLED}")
    if wrong.any():
        row = int(wrong.argmax())
        raise BenchmarkError(
            f"{_row(where, ids, row)} is {values[row]:g}, must be a number in [-3, 3]"
            f" ({int(wrong.sum())} such rows). {remedy(values, wrong)}"
        )
    return values


UNLABELLED = (
    "A set without labels cannot be evaluated; for the answers of a trained model: 'benchmark"
    " predict'."
)
FEW = 0.05
"""A share of labels beyond the scale that is an accident, and no other scale."""


def remedy(values: NDArray[np.float32], wrong: NDArray[np.bool_]) -> str:
    """The option that helps against labels that are no number in [-3, 3]."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "Is it the right column?"
    if not np.isfinite(values[wrong]).any():
        return "--labelled-only leaves out the samples without a label."
    if wrong.mean() <= FEW and np.abs(finite).max() <= 2 * LABEL_LIMIT:
        return "--clip-labels sets what lies beyond to -3 or 3."
    low, high = math.floor(finite.min()), math.ceil(finite.max())
    if not low < high:
        return "Is it the right column?"
    factor = 2 * LABEL_LIMIT / (high - low)
    formula = formula_of((low + high) / 2, factor)
    return (
        "ACC7 is defined on that scale: map your labels to it, 1..5 with --label-map 'x - 3'."
        f" If the scale of these is {low} to {high}: --label-map '{formula}'."
    )


def formula_of(centre: float, factor: float) -> str:
    """(x - centre) * factor, as short as it can be written."""
    shifted = f"x - {centre:g}" if centre > 0 else f"x + {-centre:g}" if centre else "x"
    if factor == 1:
        return shifted
    return f"({shifted}) * {factor:g}" if centre else f"x * {factor:g}"


def classes(label: NDArray[Any], ids: tuple[str, ...], where: str) -> NDArray[np.int64]:
    """(N,) int64 class numbers from 0; what is no whole number is refused."""
    wrong = ~(np.isfinite(label) & (label >= 0) & (label == np.floor(label)) & (label < 2**31))
    if wrong.any():
        row = int(wrong.argmax())
        raise BenchmarkError(
            f"{_row(where, ids, row)} is {label[row]}, must be a whole number from 0"
            f" ({int(wrong.sum())} such rows). {_remedy_of_classes(label, where)}"
        )
    return label.astype(np.int64)


def _remedy_of_classes(label: NDArray[Any], where: str) -> str:
    finite = label[np.isfinite(label)]
    if len(finite) and (finite != np.floor(finite)).any():
        key = where.rpartition(": ")[2]
        rename = "" if key == "labels" else f" --rename {key}=labels"
        return f"Sentiment is taken with{rename} --task regression."
    drop = "--labelled-only leaves out the samples without a label"
    if len(finite) and finite.min() >= 0:
        return f"{drop}."
    seen = np.unique(finite).tolist()
    if seen[:2] == [-1, 0]:
        return f"If -1 means no label, {drop}; if it is a class: --label-map 'x + 1'."
    return f"{renumbering(seen)} {drop[0].upper()}{drop[1:]}.".strip()


def renumbering(seen: Sequence[float]) -> str:
    """The option that numbers evenly spaced classes from 0; empty for others."""
    steps = set(np.diff(seen).tolist())
    if len(steps) != 1:
        return ""
    return f"--label-map '{formula_of(seen[0], 1 / steps.pop())}' numbers them from 0."
