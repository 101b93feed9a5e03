"""The price of selection: the same trainings under the habits that the field selects by.

Only the first is allowed here; the others look at the test split. They are read off diagnostics
(``benchmark run --diagnose selection``), which no selection, no other table and no frame reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.diagnostics.kept import SelectionTrace, selection_trace
from benchmark.metrics import LOWER_IS_BETTER, METRICS, PRIMARY, combine, terms
from protocols.modalities import Task
from reports.results import System
from reports.statistics.inference import Array

Habit = Callable[[Mapping[str, Array], Sequence[int], str, str], Array]
"""(metric -> (S, E) test values of every seed and epoch, the epochs that validation selected, the
task's primary metric, the metric) -> (S,) values, or (1,) where one seed is chosen."""


def _validation(values: Mapping[str, Array], own: Sequence[int], main: str, metric: str) -> Array:
    return values[metric][np.arange(len(own)), list(own)]


def _last(values: Mapping[str, Array], own: Sequence[int], main: str, metric: str) -> Array:
    return values[metric][:, -1]


def _best_epoch(values: Mapping[str, Array], own: Sequence[int], main: str, metric: str) -> Array:
    chosen = _best(values[main], main)
    return values[metric][np.arange(len(own)), chosen]


def _best_for_each(
    values: Mapping[str, Array], own: Sequence[int], main: str, metric: str
) -> Array:
    return values[metric][np.arange(len(own)), _best(values[metric], metric)]


def _best_seed(values: Mapping[str, Array], own: Sequence[int], main: str, metric: str) -> Array:
    chosen = int(_best(_validation(values, own, main, main)[None], main)[0])
    return _validation(values, own, main, metric)[[chosen]]


def _best_of_all(values: Mapping[str, Array], own: Sequence[int], main: str, metric: str) -> Array:
    every = values[metric].reshape(1, -1)
    return every[0, _best(every, metric)]


def _best(values: Array, metric: str) -> Array:
    """(A, E) -> (A,) the best of each; what is undefined is never the best."""
    sign = 1.0 if metric in LOWER_IS_BETTER else -1.0
    return np.asarray(np.where(np.isnan(values), np.inf, sign * values).argmin(axis=-1))


HABITS: Mapping[str, Habit] = {
    "the epoch that validation selects (this suite)": _validation,
    "the last epoch": _last,
    "the best epoch on test": _best_epoch,
    "the best epoch on test, for each metric its own": _best_for_each,
    "the best of the seeds on test": _best_seed,
    "the best of all seeds and epochs on test, for each metric its own": _best_of_all,
}
"""What is reported -> how it is chosen; the first is what the others are compared with."""


@dataclass(frozen=True)
class Price:
    """What a habit reports of one metric, in its raw unit.

    Attributes:
        values: (S,) by seed, or (1,) where one seed is chosen.
        gain: how much better its mean looks than the mean of what validation selects.
    """

    values: Array
    gain: float


def traces(runs_dir: Path, system: System) -> list[SelectionTrace]:
    """The traces of a system's runs; none where some run has none.

    Raises:
        BenchmarkError: where one is damaged.
    """
    found = [selection_trace(runs_dir, record.run_id) for record in system.records]
    known = [one for one in found if one is not None]
    return known if len(known) == len(found) else []


def prices(found: Sequence[SelectionTrace], task: Task) -> dict[tuple[str, str], Price]:
    """(habit, metric) -> what it reports."""
    main = PRIMARY[task]
    own = [one.selected for one in found]
    values = {
        metric: np.stack(
            [combine(metric, terms(metric, o.prediction, o.label).sum(axis=-2)) for o in found]
        )
        for metric in METRICS[task]
    }
    made = {}
    for metric in METRICS[task]:
        honest = _validation(values, own, main, metric).mean()
        sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
        for name, habit in HABITS.items():
            one = habit(values, own, main, metric)
            made[name, metric] = Price(one, sign * float(one.mean() - honest) + 0.0)
    return made
