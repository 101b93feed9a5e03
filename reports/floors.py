"""What predicting without looking at the input scores: the rows to read a table against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmark.metrics import evaluate
from reports.results import Results
from reports.views import DROP, RISES, STEEPEST, VALUE


@dataclass(frozen=True)
class Floor:
    """A constant prediction: the same under every condition, since it looks at nothing.

    Attributes:
        label: the row's name.
        metrics: its metrics on the test split.
    """

    label: str
    metrics: Mapping[str, float]

    def value(self, metric: str, quantity: str = VALUE) -> float:
        """A metric, or what else is made of it: nothing is lost where nothing changes."""
        return 0.0 if quantity in (DROP, STEEPEST, RISES) else self.metrics[metric]


_TITLES = {
    "mean": "floor: train mean",
    "median": "floor: train median",
    "majority": "floor: majority class",
}


def floors(results: Results) -> list[Floor]:
    """The floors of a data set, from the train-split constants that the records keep.

    Empty where no record keeps them.
    """
    found: Mapping[str, float] = next(
        (r.environment["floors"] for r in results.records if "floors" in r.environment), {}
    )
    return [
        Floor(_title(name, value), evaluate(results.task, _predict(results, value), results.label))
        for name, value in found.items()
        if name in _TITLES
    ]


def _title(name: str, value: float) -> str:
    shown = f"{value:+.2f}".replace("-", "−") if name != "majority" else f"{value}"
    return f"{_TITLES[name]} ({shown})"


def _predict(results: Results, value: float) -> np.ndarray:
    """The constant prediction: (N,) values, or (N, C) logits with a one at the class."""
    size = len(results.label)
    if results.task == "regression":
        return np.full(size, value)
    classes = max(int(value), int(results.label.max())) + 1
    return np.tile(np.eye(classes)[int(value)], (size, 1))
