"""The arithmetic of printed tables: what a paper claims, recomputed, and a verdict.

It works on any file of the form of ``reports/published``: averages, margins, F1 at a given
accuracy, accuracies that are no k/n of the test set and best-everywhere claims are checked for
every table that has them; what the text says in words is listed under the file's ``_meta: claims``.
A verdict is about the printed text only; it does not say who erred.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from reports.audit.claims import claims
from reports.audit.values import (
    LOWER,
    Finding,
    Paper,
    Row,
    decimals_of,
    shown,
    table_title,
    tolerance,
)

AVERAGE = "Avg"
COMPLETE = "tav"


def audit(paper: Paper) -> list[Finding]:
    """Every finding about a paper: its tables first, then the claims of its text."""
    found: list[Finding] = []
    for check in (averages, margins, best_everywhere, f1_bounds, counts, active_parameters):
        found += check(paper)
    return [*found, *claims(paper)]


@dataclass(frozen=True)
class Averaging:
    """One way to average a row: "6 of 7" leaves out the complete input."""

    name: str
    value: float


def averagings(row: Row, metric: str) -> list[Averaging]:
    """The averages that a printed one may be: over all conditions, and without the complete one."""
    conditions = [c for c in row.values if c != AVERAGE and row.values[c].get(metric) is not None]
    parts = {f"all {len(conditions)}": conditions}
    if COMPLETE in conditions:
        few = [c for c in conditions if c != COMPLETE]
        parts = {f"the {len(few)} incomplete": few, **parts}
    return [
        Averaging(name, float(np.mean([row.values[c][metric] for c in part])))
        for name, part in parts.items()
        if part
    ]


def averages(paper: Paper) -> Iterator[Finding]:
    """Each printed average against the means of its row."""
    for row in paper.rows():
        for metric, printed in row.values.get(AVERAGE, {}).items():
            if printed is None:
                continue
            options = averagings(row, metric)
            digits = decimals_of(row, metric)
            recomputed = ", ".join(f"{o.value:.{digits}f} over {o.name}" for o in options)
            yield Finding(
                table_title(row.table),
                f"{row.name}: average {metric} {shown(printed, digits)}",
                recomputed,
                _which(options, printed, digits),
            )


def _which(options: Sequence[Averaging], printed: float, digits: int) -> str:
    """Which averaging gives the printed number: rounded, cut off, or nearly."""
    scale = 10**digits
    for option in options:
        if round(option.value, digits) == printed:
            return f"ok, over {option.name}"
    for option in options:
        if math.floor(option.value * scale) / scale == printed:
            return f"truncated, over {option.name}"
        if abs(option.value - printed) <= tolerance(digits):
            return f"ok, over {option.name}"
    return "differs"


def margins(paper: Paper) -> Iterator[Finding]:
    """The reference's lead in each Avg column, beside its lead when both average alike."""
    for group in paper.tables_with(AVERAGE):
        reference = next((r for r in group if r.model == paper.reference), None)
        others = [r for r in group if r.model != paper.reference]
        if reference is None or not others:
            continue
        for metric, mine in reference.values[AVERAGE].items():
            rivals = [r for r in others if r.values.get(AVERAGE, {}).get(metric) is not None]
            if mine is None or not rivals:
                continue
            sign = -1 if metric in LOWER else 1
            best = max(rivals, key=lambda r: sign * r.values[AVERAGE][metric])
            digits = decimals_of(reference, metric)
            printed = sign * (mine - best.values[AVERAGE][metric])
            alike = {
                a.name: sign * (a.value - b.value)
                for a, b in zip(
                    averagings(reference, metric), averagings(best, metric), strict=False
                )
            }
            inflated = all(printed > margin + 2 * tolerance(digits) for margin in alike.values())
            yield Finding(
                table_title(reference.table),
                f"{reference.dataset}: lead in average {metric} over {best.model}, "
                f"{printed:.{digits}f}",
                ", ".join(f"{margin:.{digits}f} over {name}" for name, margin in alike.items()),
                "inflated: the two rows average differently" if inflated else "ok",
            )


def best_everywhere(paper: Paper) -> Iterator[Finding]:
    """Where another model's printed value is better than the reference's in the same table."""
    for group in paper.tables_with(None):
        reference = next((r for r in group if r.model == paper.reference), None)
        others = [r for r in group if r.model != paper.reference]
        if reference is None or not others:
            continue
        cells, lost, tied = 0, [], 0
        for condition, metrics in reference.values.items():
            for metric, mine in metrics.items():
                values = [r.values.get(condition, {}).get(metric) for r in others]
                rivals = [v for v in values if v is not None]
                if mine is None or not rivals or condition == AVERAGE:
                    continue
                cells += 1
                best = min(rivals) if metric in LOWER else max(rivals)
                tied += best == mine
                if (best < mine) if metric in LOWER else (best > mine):
                    lost.append(f"{condition} {metric} {mine:g} against {best:g}")
        yield Finding(
            table_title(reference.table),
            f"{reference.dataset}: {paper.reference} is best in every condition",
            f"in {cells - len(lost)} of {cells}"
            + (f", {tied} of them tied" if tied else "")
            + (f"; not in {'; '.join(lost)}" if lost else ""),
            "ok" if not lost else "not in all",
        )


def f1_bounds(paper: Paper) -> Iterator[Finding]:
    """Weighted F1 values that no binary prediction of the printed accuracy can have."""
    for row in paper.rows():
        if row.dataset not in paper.binary_counts:
            continue
        balance = paper.binary_counts[row.dataset]
        checked, impossible = 0, []
        for condition, values in row.values.items():
            accuracy, f1 = values.get("ACC2"), values.get("F1")
            if accuracy is None or f1 is None or condition == AVERAGE:
                continue
            checked += 1
            slack = tolerance(decimals_of(row, "ACC2"))
            lowest = 100 * lowest_f1(max(0.0, (accuracy - slack) / 100))
            if f1 < lowest - slack:
                here = 100 * lowest_f1_at(accuracy / 100, *balance)
                impossible.append(
                    f"{condition}: F1 {f1:g} at ACC2 {accuracy:g}, at least {lowest:.1f} at any "
                    f"class balance and {here:.1f} at this one"
                )
        if checked:
            yield Finding(
                table_title(row.table),
                f"{row.name}: F1 is a weighted F1 at its ACC2",
                "; ".join(impossible) or f"possible in all {checked}",
                "impossible" if impossible else "ok",
            )


def lowest_f1(accuracy: float) -> float:
    """The lowest weighted F1 at an accuracy a in [0, 1], over all class balances: 2a²/(1 + a).

    It is reached where one class is exactly what is hit: that class has F1 2a/(1 + a) and weight a,
    the other F1 0.
    """
    return 2 * accuracy**2 / (1 + accuracy)


def lowest_f1_at(accuracy: float, positive: int, negative: int) -> float:
    """The same for a test set of so many positive and negative samples, by trying every table."""
    total = positive + negative
    errors = round((1 - accuracy) * total)
    missed = np.arange(max(0, errors - negative), min(errors, positive) + 1)
    hits, rejected = positive - missed, negative - (errors - missed)
    of_positive = 2 * hits / np.maximum(2 * hits + errors, 1)
    of_negative = 2 * rejected / np.maximum(2 * rejected + errors, 1)
    return float(((positive * of_positive + negative * of_negative) / total).min())


def counts(paper: Paper) -> Iterator[Finding]:
    """Accuracies that are no k/n: a table's values of one metric on a test set of known size."""
    for (dataset, sizes), group in product(paper.test_sizes.items(), paper.tables_with(None)):
        for metric, size in sizes.items():
            rows = [row for row in group if row.dataset == dataset]
            values = [
                (value[metric], decimals_of(row, metric))
                for row in rows
                for condition, value in row.values.items()
                if condition != AVERAGE and value.get(metric) is not None
            ]
            if not values:
                continue
            digits = max(d for _, d in values)
            wrong = [v for v, _ in values if not is_count(v, size, digits)]
            by_chance = max(0.0, 1 - size / (100 * 10**digits))
            yield Finding(
                table_title(rows[0].table),
                f"{dataset}: each {metric} is k/{size} of the test set",
                f"{len(wrong)} of {len(values)} are not"
                + (f" ({', '.join(f'{v:.{digits}f}' for v in wrong[:6])}" if wrong else "")
                + (", …)" if len(wrong) > 6 else ")" if wrong else "")
                + (f"; of arbitrary numbers {100 * by_chance:.0f} % would not be" if wrong else ""),
                "not one model's counts: averaged over runs, or not on this test set"
                if wrong
                else "ok",
            )


def is_count(percent: float, size: int, digits: int) -> bool:
    """Whether some k of ``size`` samples is this percentage after rounding to ``digits``."""
    nearest = round(percent * size / 100)
    half = 0.5 * 10.0**-digits + 1e-9
    return any(abs(100 * k / size - percent) <= half for k in (nearest - 1, nearest, nearest + 1))


def active_parameters(paper: Paper) -> Iterator[Finding]:
    """Active parameters below what k of N experts leave, were every parameter an expert's."""
    for table, content in paper.content.items():
        models: Mapping[str, Any] = content.get("models", {}) if isinstance(content, dict) else {}
        for model, (kept, experts) in paper.experts.items():
            values = models.get(model, {})
            if "params_active_M" not in values:
                continue
            total, active = values["params_total_M"], values["params_active_M"]
            least = kept / experts * total
            yield Finding(
                table_title(table),
                f"{model}: {active:g} M of {total:g} M parameters active, {kept} of {experts} "
                "experts",
                f"at least {least:.2f} M, were every parameter an expert's",
                "ok" if active >= least - 0.05 else "impossible",
            )
