"""Every metric, defined once: what each sample adds, and a function of the sums.

``terms`` gives what each sample adds, ``combine`` makes the metric of the added-up terms::

    evaluate(task, p, y, w)[metric] == combine(metric, (w * terms(metric, p, y)).sum(over samples))

Sums are linear, so the same two functions give a value, an exact expectation over what is missing
(weights on (sample, availability subset) pairs), the error over samples of any of them (by the
function's slope at the sums) and a surface along a continuous missing rate: for F1 and the
correlation as well as for means. Names and definitions:

==============  ===================================================================
mae             mean |p - y|
corr            Pearson correlation
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

"Weighted" F1 means weighted by the support of the TRUE labels; a class that is neither there nor
claimed adds nothing. On IEMOCAP's four classes ``acc_ovr`` and ``f1_ovr`` are the means over four
binary problems that the field reports.

**Undefined is NaN**, everywhere: the correlation of a constant, and a metric of no samples
(``acc2_non0`` where every label is 0). NaN passes through every mean, so a mean of an undefined
value is undefined; tables print "–" with a footnote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protocols.modalities import Task

Array = NDArray[np.float64]

METRIC_VERSION: Mapping[Task, int] = {"regression": 2, "classification": 2}

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

CONSTANT = 1e-11
"""A variance below this share of the mean square about the labels' mean is that of a constant: the
sums keep no more of it than rounding. It is met where p varies by less than 3 millionths of its
distance from the labels' mean, where single precision says little more."""

_STEP = 1e-6


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
    found = {_METRICS[name].columns for name in METRICS[task]}
    sums = {one: w @ _stacked(one(p, y)) for one in found}
    return {m: float(combine(m, sums[_METRICS[m].columns])) for m in METRICS[task]}


def terms(metric: str, prediction: NDArray[np.floating], label: Array) -> Array:
    """What each sample adds.

    Args:
        metric: a metric's name.
        prediction: (..., N) values, or (..., N, C) logits for a classification metric.
        label: (N,) values or class indices.

    Returns:
        (..., N, K) terms; K depends on the metric (and the number of classes).
    """
    return _stacked(columns(metric, prediction, label))


def columns(metric: str, prediction: NDArray[np.floating], label: Array) -> list[Array]:
    """The K terms of :func:`terms` one by one: (..., N), or (N,) of those of labels alone, which
    are the same whatever is predicted."""
    p, y = np.asarray(prediction, dtype=np.float64), np.asarray(label, dtype=np.float64)
    return _METRICS[metric].columns(p, y)


def combine(metric: str, sums: Array) -> Array:
    """The metric of summed terms: (..., K) -> (...); NaN where it is undefined."""
    return _METRICS[metric].combine(sums)


def slopes(metric: str, sums: Array, size: Array) -> Array:
    """How fast the metric moves with each of its sums, by central differences.

    Args:
        metric: a metric's name.
        sums: (..., K) sums, or means.
        size: (..., K) how large a term is, say its root mean square; 0 where all terms are 0.

    Returns:
        (..., K); NaN where the metric is undefined nearby.
    """
    step = _STEP * size
    moved = step[..., None] * np.eye(sums.shape[-1])
    rise = combine(metric, sums[..., None, :] + moved) - combine(metric, sums[..., None, :] - moved)
    return np.divide(rise, 2 * step, out=np.zeros(sums.shape), where=step > 0)


def family(metric: str) -> str:
    """A name that metrics with the same terms share."""
    return _METRICS[metric].columns.__name__


def _stacked(found: list[Array]) -> Array:
    return np.stack(np.broadcast_arrays(*found), axis=-1)


def _absolute_error(p: Array, y: Array) -> list[Array]:
    error = p - y
    return [np.abs(error, out=error), np.ones_like(y)]


def _rounded_hits(p: Array, y: Array, limit: int) -> list[Array]:
    same = np.rint(np.clip(p, -limit, limit)) == np.rint(np.clip(y, -limit, limit))
    return [same.astype(np.float64), np.ones_like(y)]


def _hits_of_7(p: Array, y: Array) -> list[Array]:
    return _rounded_hits(p, y, 3)


def _hits_of_5(p: Array, y: Array) -> list[Array]:
    return _rounded_hits(p, y, 2)


def _hits_of_3(p: Array, y: Array) -> list[Array]:
    return _rounded_hits(p, y, 1)


def _sign_hits_non0(p: Array, y: Array) -> list[Array]:
    rated = (y != 0).astype(np.float64)
    return [((p > 0) == (y > 0)) * rated, rated]


def _sign_hits_has0(p: Array, y: Array) -> list[Array]:
    return [((p >= 0) == (y >= 0)).astype(np.float64), np.ones_like(y)]


def _class_hits(logits: Array, y: Array) -> list[Array]:
    return [(logits.argmax(-1) == y).astype(np.float64), np.ones_like(y)]


def _sign_classes_non0(p: Array, y: Array) -> list[Array]:
    support, rated = (y > 0).astype(np.float64), (y != 0).astype(np.float64)
    claims = (p > 0).astype(np.float64) * rated
    return [claims * support, support, claims, rated]


def _sign_classes_has0(p: Array, y: Array) -> list[Array]:
    """Hits, support and claims of the upper class; those of the lower are what is left of all."""
    support, claims = (y >= 0).astype(np.float64), (p >= 0).astype(np.float64)
    return [claims * support, support, claims, np.ones_like(y)]


def _classes(logits: Array, y: Array) -> list[Array]:
    """Hits of each class, then the support of each, then how often each is claimed."""
    count, claimed = max(logits.shape[-1], int(y.max()) + 1), logits.argmax(-1)
    support = [(y == c).astype(np.float64) for c in range(count)]
    claims = [(claimed == c).astype(np.float64) for c in range(count)]
    return [*(one * of for one, of in zip(claims, support, strict=True)), *support, *claims]


def _moments(p: Array, y: Array) -> list[Array]:
    # The shift changes no correlation; it keeps the differences of sums below well conditioned.
    # It is the labels' own, so that the terms of any rows may be added up.
    q, z = p - y.mean(), y - y.mean()
    return [np.ones_like(z), q, z, q * q, z * z, q * z]


def _mean(sums: Array) -> Array:
    return _ratio(sums[..., 0], sums[..., 1], empty=np.nan)


def _correlation(sums: Array) -> Array:
    n, q, z, qq, zz, qz = np.moveaxis(sums, -1, 0)
    var_q, var_z = n * qq - q * q, n * zz - z * z
    defined = (var_q > CONSTANT * n * qq) & (var_z > CONSTANT * n * zz)
    spread = np.sqrt(np.where(defined, var_q, 1.0)) * np.sqrt(np.where(defined, var_z, 1.0))
    return np.where(defined, np.clip((n * qz - q * z) / spread, -1, 1), np.nan)


def _weighted_f1(sums: Array) -> Array:
    hits, support, claimed = np.split(sums, 3, axis=-1)
    f1 = _ratio(2 * hits, support + claimed)
    return _ratio((f1 * support).sum(-1), support.sum(-1), empty=np.nan)


def _weighted_f1_of_two(sums: Array) -> Array:
    hits, support, claimed, total = np.moveaxis(sums, -1, 0)
    upper = hits, support, claimed
    return _f1_of_sides([upper, _rest(hits, support, claimed, total)], total)


def _rest(hits: Array, support: Array, claimed: Array, total: Array) -> tuple[Array, Array, Array]:
    """The hits, support and claims of all other classes as one."""
    return total - support - claimed + hits, total - support, total - claimed


def _f1_of_sides(sides: Iterable[Sequence[Array]], total: Array) -> Array:
    """Weighted F1 of a class and of all others as one, from (hits, support, claims) of each."""
    f1 = sum(_ratio(2 * hits, support + claimed) * support for hits, support, claimed in sides)
    return _ratio(np.asarray(f1), total, empty=np.nan)


def _macro_f1(sums: Array) -> Array:
    hits, support, claimed = np.split(sums, 3, axis=-1)
    occurs = (support + claimed > 0).sum(-1).astype(np.float64)
    return _ratio(_ratio(2 * hits, support + claimed).sum(-1), occurs, empty=np.nan)


def _mean_recall(sums: Array) -> Array:
    hits, support, _ = np.split(sums, 3, axis=-1)
    occurs = (support > 0).sum(-1).astype(np.float64)
    return _ratio(_ratio(hits, support).sum(-1), occurs, empty=np.nan)


def _one_against_rest(sums: Array) -> tuple[Array, Array]:
    """(hits, support, claimed) of each class and of its complement: two (..., 3, C) arrays."""
    hits, support, claimed = np.split(sums, 3, axis=-1)
    total = support.sum(-1, keepdims=True)
    # Differences of sums of weights: what should be nothing is rounding, of either sign.
    rest = _rest(hits, support, claimed, total)
    return np.stack([hits, support, claimed], -2), np.maximum(np.stack(rest, -2), 0.0)


def _one_against_rest_accuracy(sums: Array) -> Array:
    one, rest = _one_against_rest(sums)
    total = one[..., 1, :] + rest[..., 1, :]
    return _ratio(one[..., 0, :] + rest[..., 0, :], total, empty=np.nan).mean(-1)


def _one_against_rest_f1(sums: Array) -> Array:
    sides = _one_against_rest(sums)
    total = sides[0][..., 1, :] + sides[1][..., 1, :]
    return _f1_of_sides([list(np.moveaxis(side, -2, 0)) for side in sides], total).mean(-1)


def _ratio(numerator: Array, denominator: Array, empty: float = 0.0) -> Array:
    """``empty`` where the denominator is 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.full(shape, empty), where=denominator > 0)


@dataclass(frozen=True)
class _Metric:
    """The K columns of what each sample adds, and the metric of the sums, (..., K) to (...)."""

    columns: Callable[[Array, Array], list[Array]]
    combine: Callable[[Array], Array] = _mean


_REGRESSION: Mapping[str, _Metric] = {
    "mae": _Metric(_absolute_error),
    "corr": _Metric(_moments, _correlation),
    "acc7": _Metric(_hits_of_7),
    "acc5": _Metric(_hits_of_5),
    "acc3": _Metric(_hits_of_3),
    "acc2_has0": _Metric(_sign_hits_has0),
    "f1_has0": _Metric(_sign_classes_has0, _weighted_f1_of_two),
    "acc2_non0": _Metric(_sign_hits_non0),
    "f1_non0": _Metric(_sign_classes_non0, _weighted_f1_of_two),
}
_CLASSIFICATION: Mapping[str, _Metric] = {
    "acc": _Metric(_class_hits),
    "f1_weighted": _Metric(_classes, _weighted_f1),
    "f1_macro": _Metric(_classes, _macro_f1),
    "uar": _Metric(_classes, _mean_recall),
    "acc_ovr": _Metric(_classes, _one_against_rest_accuracy),
    "f1_ovr": _Metric(_classes, _one_against_rest_f1),
}
_METRICS = {**_REGRESSION, **_CLASSIFICATION}

METRICS: Mapping[Task, tuple[str, ...]] = {
    "regression": tuple(_REGRESSION),
    "classification": tuple(_CLASSIFICATION),
}
"""Task -> the names of its metrics."""

MEANS = frozenset(name for name, metric in _METRICS.items() if metric.combine is _mean)
"""Metrics that are means over samples: their denominators do not depend on the prediction, so
their terms may be averaged over runs before they are combined."""
