"""What a user asks an import to change on the way: names, splits, labels, lengths.

Each answers something that would else be refused. What was asked is kept in the manifest; what it
changes enters the data set's hash with the content.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.columns import formula_of
from benchmark.errors import BenchmarkError, unknown
from benchmark.hygiene import one_line
from protocols.modalities import MODALITIES, Modality

MAX_FORMULA = 100
MAX_STEPS = 100_000


@dataclass(frozen=True)
class Adjustments:
    """What to change; nothing by default.

    Attributes:
        rename: key in the file -> the key that it is read as.
        split_names: split in the file -> train, valid or test.
        label_column: which of several numbers per sample is the label, from 0.
        label_map: a formula in x that maps the file's labels to [-3, 3].
        clip_labels: set labels beyond [-3, 3] to its ends.
        pad_to: modality -> steps that its sequences are padded or cut to.
        labelled_only: leave out samples without a label.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    split_names: Mapping[str, str] = field(default_factory=dict)
    label_column: int | None = None
    label_map: str = ""
    clip_labels: bool = False
    pad_to: Mapping[Modality, int] = field(default_factory=dict)
    labelled_only: bool = False

    def recorded(self) -> dict[str, str]:
        """Option -> value of what was asked, for the manifest."""
        pairs = {
            "rename": _joined(self.rename),
            "split-names": _joined(self.split_names),
            "label-column": "" if self.label_column is None else str(self.label_column),
            "label-map": self.label_map,
            "clip-labels": "yes" if self.clip_labels else "",
            "pad-to": _joined(self.pad_to),
            "labelled-only": "yes" if self.labelled_only else "",
        }
        return {option: value for option, value in pairs.items() if value}


def _joined(pairs: Mapping[Any, Any]) -> str:
    return ",".join(f"{old}={new}" for old, new in pairs.items())


def parse_pairs(values: Sequence[str], option: str) -> dict[str, str]:
    """``["video=vision", "speech=audio"]``, or both with a comma, as a dict.

    Raises:
        BenchmarkError: another form, or one name twice.
    """
    pairs: dict[str, str] = {}
    for part in (part.strip() for value in values for part in value.split(",")):
        old, equals, new = (piece.strip() for piece in part.partition("="))
        if not (old and equals and new):
            raise BenchmarkError(f"{option} {one_line(part, 60)!r}: must be OLD=NEW.")
        if old in pairs:
            raise BenchmarkError(f"{option}: '{one_line(old, 60)}' is there twice.")
        pairs[old] = new
    return pairs


def parse_steps(values: Sequence[str]) -> dict[Modality, int]:
    """``["50"]`` for all modalities, or ``["text=50,audio=375"]``. Raises BenchmarkError."""
    if len(values) == 1 and "=" not in values[0]:
        pairs: dict[Any, str] = dict.fromkeys(MODALITIES, values[0])
    else:
        pairs = dict(parse_pairs(values, "--pad-to"))
    for name, steps in pairs.items():
        if name not in MODALITIES:
            raise unknown("modality in --pad-to", name, MODALITIES)
        if not steps.isdecimal() or not 0 < int(steps) <= MAX_STEPS:
            raise BenchmarkError(f"--pad-to: '{one_line(steps, 60)}' must be a number of steps.")
    return {m: int(pairs[m]) for m in MODALITIES if m in pairs}


def label_formula(text: str, scale: float | None, centre: float | None) -> str:
    """The formula of ``--label-map``, or of ``--label-scale`` and ``--label-center``.

    Raises:
        BenchmarkError: both ways at once, or no formula.
    """
    if scale is not None or centre is not None:
        if text:
            raise BenchmarkError("give --label-map, or --label-scale and --label-center, not both.")
        text = formula_of(centre or 0, 1 if scale is None else scale)
    if text:
        map_labels(text, np.zeros(1))
    return text


_SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def _kind(formula: str) -> type:
    """The syntax tree's type of a formula's operator."""
    node: Any = ast.parse(formula, mode="eval").body
    return type(node.op)


_BINARY: dict[type, Any] = {_kind(f"x {sign} x"): function for sign, function in _SIGNS.items()}
_UNARY: dict[type, Any] = {_kind("-x"): operator.neg, _kind("+x"): operator.pos}


def map_labels(formula: str, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The labels through a formula in x: numbers, + - * / and brackets. Raises BenchmarkError."""
    try:
        if len(formula) > MAX_FORMULA:
            raise ValueError
        tree = ast.parse(formula.strip(), mode="eval").body
        with np.errstate(all="ignore"):
            return labels * 0.0 + _value(tree, labels)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        raise BenchmarkError(
            f"--label-map {one_line(formula, 60)!r}: must be a formula in x with numbers, + - * /"
            ' and brackets, "(x - 4) / 1.5" for instance.'
        ) from None


def _value(node: ast.AST, x: NDArray[np.float64]) -> Any:
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        return _BINARY[type(node.op)](_value(node.left, x), _value(node.right, x))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_value(node.operand, x))
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id == "x":
        return x
    raise ValueError


def renamed(content: Mapping[Any, Any], names: Mapping[str, str], where: str) -> dict[Any, Any]:
    """A mapping with some of its keys renamed.

    Raises:
        BenchmarkError: a key is not there, or its new name is taken by another.
    """
    result = dict(content)
    for old, new in names.items():
        if old not in content:
            raise unknown(f"key in {where}", old, filter(_is_text, content))
        if new in content and new not in names:
            raise BenchmarkError(f"{where}: '{old}' cannot become '{new}': there is a '{new}'.")
    for old in names:
        del result[old]
    return result | {new: content[old] for old, new in names.items()}


def rename_columns(
    splits: Mapping[str, Mapping[Any, Any]], names: Mapping[str, str], source: str
) -> dict[str, dict[Any, Any]]:
    """:func:`renamed` for each split; a key that only some splits have is renamed there."""
    for old in names:
        if not any(old in split for split in splits.values()):
            raise unknown(
                f"key in {source}", old, {k for x in splits.values() for k in x if _is_text(k)}
            )
    return {
        name: renamed(split, {o: n for o, n in names.items() if o in split}, f"{source}: {name}")
        for name, split in splits.items()
    }


def text_keys(content: Mapping[Any, Any]) -> dict[Any, Any]:
    """A mapping whose keys that are bytes, as of Python 2, are texts."""
    return {
        k.decode("utf-8", "replace") if isinstance(k, bytes) else k: v for k, v in content.items()
    }


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def keep_rows(content: Mapping[str, Any], keep: NDArray[np.bool_]) -> dict[str, Any]:
    """The columns of a split with some of its rows: out of arrays and lists alike."""
    places = np.flatnonzero(keep)

    def part(values: Any) -> Any:
        if isinstance(values, np.ndarray) and values.ndim and len(values) == len(keep):
            return values[places]
        if isinstance(values, list | tuple) and len(values) == len(keep):
            return [values[k] for k in places]
        return values

    return {key: part(values) for key, values in content.items()}
