"""Search spaces: which settings are searched, and over which values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.config import TrainingConfig
from benchmark.errors import BenchmarkError, unknown
from benchmark.interface import MultimodalModel

Value = bool | int | float | str | None

GRID_LIMIT = 64
"""A finite space of at most this many points is searched as a grid."""

_FORM = "[value, value, ...] or {low: 1, high: 8} with optional 'log: true' or 'step: 1'"


@dataclass(frozen=True)
class Choices:
    """A finite set of values."""

    values: tuple[Value, ...]

    def plain(self) -> Any:
        """As a space file has it."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """The numbers from ``low`` to ``high``, both included: integers where both are."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def integer(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def plain(self) -> Any:
        """As a space file has it."""
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}


Space = Mapping[str, Choices | Range]
"""``model.<setting>`` or ``training.<setting>`` -> its values."""


def parse_space(values: Mapping[str, Any], model: type[MultimodalModel], where: str) -> Space:
    """Check a search space.

    Args:
        values: dotted setting -> list of choices, or mapping with low and high.
        model: the class whose settings ``model.*`` are.
        where: what the space is, for messages.

    Raises:
        BenchmarkError: for an empty space, an unknown setting, or values of another form.
    """
    if not values:
        raise BenchmarkError(f"{where} is empty: name at least one setting")
    known = [f"training.{name}" for name in TrainingConfig.model_fields]
    known += [f"model.{name}" for name in model.Config.model_fields]
    for name in values:
        if name not in known:
            raise unknown(f"setting in {where}", str(name), known)
    return {name: _dimension(value, f"{where}: {name}") for name, value in values.items()}


def _dimension(value: Any, where: str) -> Choices | Range:
    if isinstance(value, Mapping):
        return _range(value, where)
    if not isinstance(value, list | tuple) or not value:
        raise BenchmarkError(f"{where}: write it as {_FORM}")
    for choice in value:
        if not isinstance(choice, Value):
            raise BenchmarkError(f"{where}: {choice!r} is no number, text or truth value")
    return Choices(tuple(dict.fromkeys(value)))


def _range(value: Mapping[str, Any], where: str) -> Range:
    try:
        found = Range(**value)
    except TypeError:
        raise BenchmarkError(f"{where}: write it as {_FORM}") from None
    numbers = [x for x in (found.low, found.high, found.step) if x is not None]
    if any(isinstance(x, bool) or not isinstance(x, int | float) for x in numbers):
        raise BenchmarkError(f"{where}: low, high and step are numbers, not {dict(value)}")
    if not found.low < found.high or not all(map(math.isfinite, numbers)):
        raise BenchmarkError(f"{where}: low {found.low} must be below high {found.high}")
    if found.step is not None and (found.log or found.step <= 0):
        raise BenchmarkError(f"{where}: step is positive, and not together with log")
    if found.log and found.low <= 0:
        raise BenchmarkError(f"{where}: a logarithmic range begins above 0, not at {found.low}")
    return found


def grid_of(space: Space) -> list[dict[str, Value]] | None:
    """All points of a finite space of at most :data:`GRID_LIMIT` points, in order; else None."""
    values = [_values(dimension) for dimension in space.values()]
    if math.prod(math.inf if v is None else len(v) for v in values) > GRID_LIMIT:
        return None
    product = itertools.product(*(v for v in values if v is not None))
    return [dict(zip(space, point, strict=True)) for point in product]


def _values(dimension: Choices | Range) -> Sequence[Value] | None:
    if isinstance(dimension, Choices):
        return dimension.values
    step = dimension.step or (1 if dimension.integer and not dimension.log else None)
    if step is None:
        return None
    count = math.floor((dimension.high - dimension.low) / step * (1 + 1e-12)) + 1
    if count > GRID_LIMIT:
        return None
    return [min(dimension.high, dimension.low + step * i) for i in range(count)]
