"""Metrics, each under a name that says its rule. All take whole splits and sample weights.

The weights make them expectations: with one weight per (sample, availability subset) pair, the
means are exact expectations over missingness, and F1 and Corr are those of the weighted population.
Names and definitions:

==============  ===================================================================
mae             mean |p - y|
corr            Pearson correlation; 0 with ``corr_undefined`` = 1 where p or y is constant
acc7 acc5 acc3  rint(clip(p, ±3 / ±2 / ±1)) equals that of y; rint rounds half to even
acc2_has0       (p >= 0) == (y >= 0), all samples
f1_has0         weighted F1 of those two classes
acc2_non0       (p > 0) == (y > 0), samples with y != 0
f1_non0         weighted F1 of those two classes
acc             argmax of the logits equals the class
f1_weighted     weighted F1, f1_macro: unweighted mean over the classes that occur in y or p
uar             mean recall over the classes that occur in y
acc_ovr         mean over the classes of the accuracy of "this class or not", from the argmax
f1_ovr          mean over the classes of the weighted F1 of "this class or not"
==============  ===================================================================

"Weighted" F1 means weighted by the support of the TRUE labels. On IEMOCAP's four classes
``acc_ovr`` and ``f1_ovr`` are the means over four binary problems that the field reports.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protocols.modalities import Task

Array = NDArray[np.float64]

METRIC_VERSION: Mapping[Task, int] = {"regression": 1, "classification": 2}

LOWER_IS_BETTER = frozenset({"mae"})
PRIMARY: Mapping[Task, str] = {"regression": "mae", "classification": "acc"}
"""The metric that selects checkpoints and summarises a run."""

PAPER_NAMES: Mapping[str, str] = {
    "acc7": "ACC7",
    "acc2_non0": "ACC2",
    "f1_non0": "F1",
    "mae": "MAE",
    "corr": "Corr",
    "acc": "ACC",
    "f1_weighted": "F1",
}
"""Our name -> the column of the paper's tables that it corresponds to (metrics.md, section 1)."""


def evaluate(
    task: Task, prediction: ArrayLike, label: ArrayLike, weight: ArrayLike | None = None
) -> dict[str, float]:
    """All metrics of a task.

    Args:
        task: regression or classification.
        prediction: (N,) values, or (N, C) logits.
        label: (N,) values or class indices.
        weight: (N,) non-negative weights; None weighs all alike.

    Raises:
        ValueError: for no samples, lengths that disagree, or a total weight of zero.
    """
    p, y = np.asarray(prediction, dtype=np.float64), np.asarray(label, dtype=np.float64)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    if not len(p) == len(y) == len(w):
        raise ValueError(f"{len(p)} predictions, {len(y)} labels and {len(w)} weights disagree")
    if w.sum() <= 0:
        raise ValueError("metrics of no samples: the weights sum to zero")
    p, y, w = p[w > 0], y[w > 0], w[w > 0]
    return _regression(p, y, w) if task == "regression" else _classification(p, y, w)


def _regression(p: Array, y: Array, w: Array) -> dict[str, float]:
    corr, undefined = _pearson(p, y, w)
    result = {"mae": float(np.average(np.abs(p - y), weights=w)), "corr": corr}
    for name, limit in (("acc7", 3), ("acc5", 2), ("acc3", 1)):
        same = np.rint(np.clip(p, -limit, limit)) == np.rint(np.clip(y, -limit, limit))
        result[name] = float(np.average(same, weights=w))
    result["acc2_has0"], result["f1_has0"] = _binary(p >= 0, y >= 0, w)
    rated = y != 0
    has_sign = bool(w[rated].sum() > 0)
    result["acc2_non0"], result["f1_non0"] = (
        _binary(p[rated] > 0, y[rated] > 0, w[rated]) if has_sign else (float("nan"),) * 2
    )
    result["corr_undefined"] = float(undefined)
    return result


def _classification(logits: Array, y: Array, w: Array) -> dict[str, float]:
    predicted, actual = logits.argmax(axis=1), y.astype(np.int64)
    return {
        "acc": float(np.average(predicted == actual, weights=w)),
        "f1_weighted": _f1(predicted, actual, w, "weighted"),
        "f1_macro": _f1(predicted, actual, w, "macro"),
        "uar": _unweighted_recall(predicted, actual, w),
        **_one_against_rest(predicted, actual, w, logits.shape[1]),
    }


def _one_against_rest(
    p: NDArray[np.int64], y: NDArray[np.int64], w: Array, classes: int
) -> dict[str, float]:
    pairs = [_binary(p == k, y == k, w) for k in range(classes)]
    accuracy, f1 = np.mean(pairs, axis=0).tolist()
    return {"acc_ovr": accuracy, "f1_ovr": f1}


def _binary(p: NDArray[np.bool_], y: NDArray[np.bool_], w: Array) -> tuple[float, float]:
    f1 = _f1(p.astype(np.int64), y.astype(np.int64), w, "weighted")
    return float(np.average(p == y, weights=w)), f1


def _pearson(p: Array, y: Array, w: Array) -> tuple[float, bool]:
    if np.ptp(p) == 0 or np.ptp(y) == 0:
        return 0.0, True
    dp, dy = p - np.average(p, weights=w), y - np.average(y, weights=w)
    total = float(w @ (dp * dp)) * float(w @ (dy * dy))
    if total <= 0:  # differences too small for their squares to be represented
        return 0.0, True
    return float(w @ (dp * dy)) / total**0.5, False


def _f1(p: NDArray[np.int64], y: NDArray[np.int64], w: Array, average: str) -> float:
    """F1 over classes; p is predicted, y true: the supports are those of y."""
    classes = int(max(p.max(), y.max())) + 1
    hits = np.bincount(y, weights=w * (p == y), minlength=classes)
    support = np.bincount(y, weights=w, minlength=classes)
    claimed = np.bincount(p, weights=w, minlength=classes)
    both = support + claimed
    f1 = np.divide(2 * hits, both, out=np.zeros(classes), where=both > 0)
    if average == "weighted":
        return float(np.average(f1, weights=support))
    return float(f1[both > 0].mean())


def _unweighted_recall(p: NDArray[np.int64], y: NDArray[np.int64], w: Array) -> float:
    support = np.bincount(y, weights=w)
    hits = np.bincount(y, weights=w * (p == y))
    return float((hits[support > 0] / support[support > 0]).mean())
