"""Predictions for labelled samples, scored: metrics, and figures for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data import columns
from benchmark.data.schema import LABEL_KEYS
from benchmark.errors import BenchmarkError, unknown
from benchmark.metrics import evaluate

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.data.inputs import InputForm


def labels_in(
    values: Mapping[str, Any], form: InputForm, ids: Sequence[str], where: str
) -> NDArray[Any] | None:
    """The labels of a package's split, for the task of a run; None where there are none.

    Args:
        values: the columns.
        form: of the run's inputs.
        ids: N ids.
        where: the split, for messages.

    Raises:
        BenchmarkError: for labels that are none of the task: the row is named.
    """
    key = LABEL_KEYS[form.spec.task]
    found = values.get(key)
    if found is None:
        return None
    names = tuple(ids)
    if form.class_names and np.asarray(found).dtype.kind in "US":
        found = _numbered(found, form, f"{where}: {key}")
    label = columns.column(found, f"{where}: {key}")
    if len(label) != len(names):
        raise BenchmarkError(f"{where}: {key} has {len(label)} rows, the features {len(names)}")
    if form.spec.task == "regression":
        return columns.sentiment(label, names, f"{where}: {key}")
    classes = columns.classes(label, names, f"{where}: {key}")
    if classes.max() >= form.spec.classes:
        row = int(classes.argmax())
        raise BenchmarkError(
            f"{where}: {key}: row {row} (id {names[row]!r}) is class {classes[row]}; the run knows "
            f"{form.spec.classes}, numbered from 0"
        )
    return classes


def _numbered(names: Any, form: InputForm, where: str) -> list[int]:
    """Classes given by their names. Raises BenchmarkError for one that the run does not know."""
    place = {name: number for number, name in enumerate(form.class_names)}
    found = columns.texts(names, where)
    for name in found:
        if name not in place:
            raise unknown(f"class in {where}", name, place)
    return [place[name] for name in found]


def class_names(form: InputForm) -> list[str]:
    """The classes by number."""
    return list(form.class_names or (str(k) for k in range(form.spec.classes)))


def with_labels(table: pd.DataFrame, label: NDArray[Any], form: InputForm) -> pd.DataFrame:
    """Predictions with a ``label`` and an ``error`` column.

    The error of a sentiment is prediction minus label; of a class 1 where it is another, else 0.
    """
    if form.spec.task == "regression":
        return table.assign(label=label, error=table["prediction"].to_numpy() - label)
    named = np.array(class_names(form))[label]
    wrong = (table["prediction"].to_numpy() != named).astype(int)
    return table.assign(label=named, error=wrong)


def metrics_of(table: pd.DataFrame, label: NDArray[Any], form: InputForm) -> dict[str, float]:
    """All metrics of the task. An argmax is all that they read of a class's probabilities."""
    shares = [f"probability_{name}" for name in class_names(form)]
    wanted: Any = "prediction" if form.spec.task == "regression" else shares
    predicted: NDArray[Any] = table[wanted].to_numpy()
    return evaluate(form.spec.task, predicted, label)


def per_class(table: pd.DataFrame, label: NDArray[Any], form: InputForm) -> pd.DataFrame:
    """A row per class: precision, recall, F1 (NaN where nothing defines them) and support."""
    import pandas as pd

    names = class_names(form)
    shares = table[[f"probability_{name}" for name in names]].to_numpy()
    every = np.arange(len(names))
    claimed = np.equal.outer(shares.argmax(axis=1), every)
    support = np.equal.outer(label, every)
    hits = (claimed & support).sum(axis=0).astype(float)
    with np.errstate(invalid="ignore"):
        found = {
            "precision": hits / claimed.sum(axis=0),
            "recall": hits / support.sum(axis=0),
            "f1": 2 * hits / (claimed.sum(axis=0) + support.sum(axis=0)),
        }
    return pd.DataFrame(
        {**found, "support": support.sum(axis=0)}, index=pd.Index(names, name="class")
    )
