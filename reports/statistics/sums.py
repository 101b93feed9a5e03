"""Every metric as a function of sums over samples.

``terms`` gives what each sample adds, ``combine`` makes the metric of the added-up terms:

    evaluate(task, p, y)[metric] == combine(metric, terms(metric, p, y).sum(over samples))

Sums are linear, so one matrix product gives a metric under a thousand resamples of the test split
(:mod:`reports.statistics.resampling`), and another one along a continuous missing rate η
(:mod:`reports.statistics.surface`): exactly, and for F1 and the correlation as well as for means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def terms(metric: str, prediction: NDArray[np.floating], label: Array) -> Array:
    """What each sample adds.

    Args:
        metric: a metric's name.
        prediction: (..., N) values, or (..., N, C) logits for a classification metric.
        label: (N,) values or class indices.

    Returns:
        (..., N, K) terms; K depends on the metric (and the number of classes).
    """
    p, y = np.asarray(prediction, dtype=np.float64), np.asarray(label, dtype=np.float64)
    return _TERMS[metric](p, y)


def combine(metric: str, sums: Array) -> Array:
    """The metric of summed terms: (..., K) -> (...)."""
    if metric in MEANS:
        return _ratio(sums[..., 0], sums[..., 1])
    return _COMBINE[metric](sums)


def _mean_terms(value: Array, counted: Array | float = 1.0) -> Array:
    counted = np.broadcast_to(np.asarray(counted, dtype=np.float64), value.shape)
    return np.stack([value * counted, counted], axis=-1)


def _absolute_error(p: Array, y: Array) -> Array:
    return _mean_terms(np.abs(p - y))


def _rounded(limit: int) -> Callable[[Array, Array], Array]:
    def hits(p: Array, y: Array) -> Array:
        same = np.rint(np.clip(p, -limit, limit)) == np.rint(np.clip(y, -limit, limit))
        return _mean_terms(same.astype(np.float64))

    return hits


def _sign_hits_non0(p: Array, y: Array) -> Array:
    return _mean_terms(((p > 0) == (y > 0)).astype(np.float64), (y != 0).astype(np.float64))


def _sign_hits_has0(p: Array, y: Array) -> Array:
    return _mean_terms(((p >= 0) == (y >= 0)).astype(np.float64))


def _class_hits(logits: Array, y: Array) -> Array:
    return _mean_terms((logits.argmax(-1) == y).astype(np.float64))


def _f1_terms(predicted: Array, actual: Array, classes: int, counted: Array | float = 1.0) -> Array:
    """Per class: hits, support, claimed; (..., N, 3 C)."""
    every = np.arange(classes)
    claimed = predicted[..., None] == every
    support = np.broadcast_to(actual[..., None] == every, claimed.shape)
    flags = np.concatenate([claimed & support, support, claimed], axis=-1)
    return flags * np.asarray(counted, dtype=np.float64)[..., None]


def _f1_non0_terms(p: Array, y: Array) -> Array:
    rated = (y != 0).astype(np.float64)
    return _f1_terms((p > 0).astype(np.float64), (y > 0).astype(np.float64), 2, rated)


def _f1_has0_terms(p: Array, y: Array) -> Array:
    return _f1_terms((p >= 0).astype(np.float64), (y >= 0).astype(np.float64), 2)


def _class_terms(logits: Array, y: Array) -> Array:
    classes = max(logits.shape[-1], int(y.max()) + 1)
    return _f1_terms(logits.argmax(-1).astype(np.float64), y, classes)


def _moments(p: Array, y: Array) -> Array:
    # The shift changes no correlation; it keeps the differences of sums below well conditioned.
    q, z = p - y.mean(), y - y.mean()
    z = np.broadcast_to(z, q.shape)
    return np.stack([np.ones_like(q), q, z, q * q, z * z, q * z], axis=-1)


def _correlation(sums: Array) -> Array:
    n, q, z, qq, zz, qz = np.moveaxis(sums, -1, 0)
    var_q, var_z = n * qq - q * q, n * zz - z * z
    # A constant leaves rounding error only; its correlation is 0 by the suite's definition.
    defined = (var_q > 1e-11 * n * qq) & (var_z > 1e-11 * n * zz)
    spread = np.sqrt(np.where(defined, var_q * var_z, 1.0))
    return np.where(defined, (n * qz - q * z) / spread, 0.0)


def _f1_per_class(sums: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    hits, support, claimed = np.split(sums, 3, axis=-1)
    return _ratio(2 * hits, support + claimed), support, support + claimed > 0


def _weighted_f1(sums: Array) -> Array:
    f1, support, _ = _f1_per_class(sums)
    return _ratio((f1 * support).sum(-1), support.sum(-1))


def _macro_f1(sums: Array) -> Array:
    f1, _, occurs = _f1_per_class(sums)
    return _ratio((f1 * occurs).sum(-1), occurs.sum(-1).astype(np.float64))


def _mean_recall(sums: Array) -> Array:
    hits, support, _ = np.split(sums, 3, axis=-1)
    occurs = (support > 0).sum(-1).astype(np.float64)
    return _ratio(_ratio(hits, support).sum(-1), occurs)


def _one_against_rest(sums: Array) -> tuple[Array, Array]:
    """(hits, support, claimed) of each class and of its complement: two (..., 3, C) arrays."""
    hits, support, claimed = np.split(sums, 3, axis=-1)
    total = support.sum(-1, keepdims=True)
    rest = (total - support - claimed + hits, total - support, total - claimed)
    return np.stack([hits, support, claimed], -2), np.stack(rest, -2)


def _one_against_rest_accuracy(sums: Array) -> Array:
    one, rest = _one_against_rest(sums)
    return _ratio(one[..., 0, :] + rest[..., 0, :], one[..., 1, :] + rest[..., 1, :]).mean(-1)


def _one_against_rest_f1(sums: Array) -> Array:
    sides = _one_against_rest(sums)
    weighted = sum(
        _ratio(2 * s[..., 0, :], s[..., 1, :] + s[..., 2, :]) * s[..., 1, :] for s in sides
    )
    return _ratio(np.asarray(weighted), sides[0][..., 1, :] + sides[1][..., 1, :]).mean(-1)


def _ratio(numerator: Array, denominator: Array) -> Array:
    """Zero where the denominator is."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.divide(numerator, denominator, out=np.zeros(shape), where=denominator > 0)


_TERMS: Mapping[str, Callable[[Array, Array], Array]] = {
    "mae": _absolute_error,
    "acc7": _rounded(3),
    "acc5": _rounded(2),
    "acc3": _rounded(1),
    "acc2_non0": _sign_hits_non0,
    "acc2_has0": _sign_hits_has0,
    "acc": _class_hits,
    "f1_non0": _f1_non0_terms,
    "f1_has0": _f1_has0_terms,
    "f1_weighted": _class_terms,
    "f1_macro": _class_terms,
    "uar": _class_terms,
    "acc_ovr": _class_terms,
    "f1_ovr": _class_terms,
    "corr": _moments,
}

_COMBINE: Mapping[str, Callable[[Array], Array]] = {
    "f1_non0": _weighted_f1,
    "f1_has0": _weighted_f1,
    "f1_weighted": _weighted_f1,
    "f1_macro": _macro_f1,
    "uar": _mean_recall,
    "acc_ovr": _one_against_rest_accuracy,
    "f1_ovr": _one_against_rest_f1,
    "corr": _correlation,
}

MEANS = frozenset(_TERMS) - frozenset(_COMBINE)
"""Metrics that are means over samples: their denominators do not depend on the prediction, so
their terms may be averaged over runs before they are combined."""
