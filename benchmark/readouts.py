"""Every protocol, read off the prediction table: arithmetic only, no model, no GPU.

A missing rule at rate η is a set of weights on the availability subsets, so a cell is the metric
of the weighted (sample, subset) pairs: means are exact expectations over what is missing. With
several corruption draws the metric is computed per draw and averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.metrics import evaluate
from benchmark.table import PredictionTable
from protocols.availability import mask_of, name_of, subsets
from protocols.conditions import LEVELS, Condition, Joint, at_joint, at_level
from protocols.expectation import availability_weights
from protocols.rules import MissingRule, NoiseRule

Weights = NDArray[np.float64]
Metrics = dict[str, float]


def clean(table: PredictionTable) -> Metrics:
    """λ = 0, everything available."""
    return at(table, "seed_a1", 0.0, mask_of(table.present))


def at(table: PredictionTable, rule: NoiseRule, intensity: float, mask: int) -> Metrics:
    """The metrics at noise intensity λ with exactly the modalities of ``mask`` available."""
    return mean_over(
        evaluate(table.task, table.prediction[table.row(c)], table.label)
        for c in _distinct(at_level(rule, d, intensity, mask) for d in range(table.draws))
    )


def cell(
    table: PredictionTable,
    rule: NoiseRule,
    intensity: float,
    rate: float,
    missing_rule: MissingRule = "bernoulli",
) -> Metrics:
    """The metrics at (λ, η): the exact expectation over what is missing.

    Args:
        table: the run's table; it must have the rows of level ``intensity``.
        rule: the noise rule.
        intensity: λ, one of the table's levels.
        rate: any η in [0, 1].
        missing_rule: what a missing rate means.

    Raises:
        KeyError: where the table has no rows at this level.
    """
    weights = availability_weights(missing_rule, rate, table.present)
    weights = np.broadcast_to(weights, (len(table.label), len(weights)))
    return mean_over(
        _weighted(table, [at_level(rule, d, intensity, m) for m in subsets(table.present)], weights)
        for d in _draws_at(table, intensity)
    )


def protocol_three(
    table: PredictionTable,
    rule: NoiseRule,
    joint: Joint = "uniform_0.7",
    missing_rule: MissingRule = "bernoulli",
) -> Metrics:
    """Protocol III: each sample at its own (λ_i, η_i), exact over what is missing at η_i."""

    def of_draw(draw: int) -> Metrics:
        rates = table.joint_levels[joint, draw][1]
        weights = availability_weights(missing_rule, rates, table.present)
        conditions = [at_joint(rule, draw, joint, m) for m in subsets(table.present)]
        return _weighted(table, conditions, weights)

    return mean_over(of_draw(draw) for draw in range(table.draws))


def summarise(
    table: PredictionTable, missing_rules: Sequence[MissingRule] = ("bernoulli",)
) -> pd.DataFrame:
    """Every protocol's metrics that the table covers, tidy: a row per condition, a column per
    metric. Key columns: protocol, noise_rule, missing_rule, intensity, rate, available."""
    rows: list[dict[str, Any]] = [_entry("clean", clean(table), available=_full_name(table))]
    masks = subsets(table.present)
    if _has(table, [at_level("seed_a1", 0, 0.0, m) for m in masks]):
        rows += [
            _entry("I", at(table, "seed_a1", 0.0, m), available=name_of(m)) for m in masks if m
        ]
        rows += _random_missing(table, missing_rules)
    for rule in table.noise_rules:
        rows += _summarise_rule(table, rule, missing_rules)  # type: ignore[arg-type]
    return pd.DataFrame(rows)


def with_missing_rules(
    summary: pd.DataFrame, table: PredictionTable, missing_rules: Sequence[MissingRule]
) -> pd.DataFrame:
    """A table's summary with Protocol I under further missing rules, where it has Protocol I."""
    known = set(summary["missing_rule"])
    if not (summary["protocol"] == "I").any():
        return summary
    rows = _random_missing(table, [rule for rule in missing_rules if rule not in known])
    return pd.concat([summary, pd.DataFrame(rows)], ignore_index=True) if rows else summary


def _random_missing(
    table: PredictionTable, missing_rules: Sequence[MissingRule]
) -> list[dict[str, Any]]:
    return [
        _entry("I", cell(table, "seed_a1", 0.0, rate, missing), missing_rule=missing, rate=rate)
        for missing in missing_rules
        for rate in LEVELS
    ]


def _summarise_rule(
    table: PredictionTable, rule: NoiseRule, missing_rules: Sequence[MissingRule]
) -> list[dict[str, Any]]:
    full, masks = mask_of(table.present), subsets(table.present)
    rows: list[dict[str, Any]] = []
    if _has(table, [at_level(rule, 0, level, full) for level in LEVELS]):
        rows += [
            _entry("II", at(table, rule, x, full), rule, intensity=x, available=_full_name(table))
            for x in LEVELS
        ]
    if _has(table, [at_level(rule, 0, level, m) for level in LEVELS for m in masks]):
        rows += [
            _entry("grid", cell(table, rule, x, rate, missing), rule, missing, x, rate)
            for missing in missing_rules
            for x in LEVELS
            for rate in LEVELS
        ]
    for joint in table.joints:
        if not _has(table, [at_joint(rule, 0, joint, m) for m in masks]):  # type: ignore[arg-type]
            continue
        for missing in missing_rules:
            metrics = protocol_three(table, rule, joint, missing)  # type: ignore[arg-type]
            rows.append(_entry("III", metrics, rule, missing, available=joint))
    return rows


def _entry(
    protocol: str,
    metrics: Metrics,
    noise_rule: str = "",
    missing_rule: str = "",
    intensity: float = 0.0,
    rate: float = 0.0,
    available: str = "",
) -> dict[str, Any]:
    return {
        "protocol": protocol,
        "noise_rule": noise_rule,
        "missing_rule": missing_rule,
        "intensity": intensity,
        "rate": rate,
        "available": available,
        **metrics,
    }


def _weighted(table: PredictionTable, conditions: Sequence[Condition], weights: Weights) -> Metrics:
    """The metrics of (subset, sample) pairs; ``weights`` is (N, 8) by bit mask."""
    used = [c for c in conditions if weights[:, c.mask].any()]
    index = [table.row(c) for c in used]
    prediction = table.prediction[index]
    flat = prediction.reshape(-1, *prediction.shape[2:])
    pair_weights = np.concatenate([weights[:, c.mask] for c in used])
    return evaluate(table.task, flat, np.tile(table.label, len(used)), pair_weights)


def _draws_at(table: PredictionTable, intensity: float) -> range:
    return range(table.draws if intensity > 0 else 1)


def _distinct(conditions: Iterator[Condition]) -> list[Condition]:
    return list(dict.fromkeys(conditions))


def _has(table: PredictionTable, conditions: list[Condition]) -> bool:
    return table.covers(tuple(conditions))


def _full_name(table: PredictionTable) -> str:
    return name_of(mask_of(table.present))


def mean_over(results: Iterator[Metrics]) -> Metrics:
    """Each metric's mean over draws."""
    frame = pd.DataFrame(list(results))
    return {str(name): float(value) for name, value in frame.mean().items()}
