"""The few numbers that tracking shows of a record, and their names there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from benchmark.metrics import PRIMARY
from benchmark.records import RunRecord
from benchmark.search.objective import OBJECTIVES, Objective
from protocols.conditions import LEVELS
from protocols.modalities import Task

_HEADLINES: Mapping[Task, tuple[str, ...]] = {
    "regression": ("mae", "corr", "acc7", "acc2_non0", "f1_non0"),
    "classification": ("acc", "f1_weighted"),
}
_DEFAULT_RULES = frozenset({"", "seed_a1", "bernoulli"})
_DEFAULT_JOINT = "uniform_0.7"


def summary_of(record: RunRecord) -> dict[str, float]:
    """The test metrics, where there are some, and the search objectives that can be read off."""
    values = summary(record.metrics, record.spec.task) if record.is_evaluated() else {}
    table = record.validation
    if table is None:
        return values
    for name in OBJECTIVES:
        objective = Objective(name, table.task, table.present)
        if table.covers(objective.conditions()):
            values[f"valid/{name}_{objective.metric}"] = objective.value(table)
    return values


def summary(metrics: pd.DataFrame, task: Task) -> dict[str, float]:
    """The numbers of a record's metrics, under the names that tracking shows.

    ``test/clean_*``, ``test/protocol_III_*`` and ``test/grid_*`` (mean over the grid's cells) in
    the headline metrics; ``test/protocol_I_*`` (mean over the fixed non-empty subsets),
    ``test/protocol_II_*`` (mean over the levels) and ``test/grid_worst_*`` (highest λ and η) in
    the primary one. A rule other than the default is part of the name.
    """
    primary, headlines = (PRIMARY[task],), _HEADLINES[task]
    fixed = (metrics["protocol"] != "I") | (metrics["missing_rule"] == "")
    values: dict[str, float] = {}
    for key, rows in metrics[fixed].groupby(["protocol", "noise_rule", "missing_rule"]):
        protocol, *rules = (str(part) for part in key)
        suffix = "".join(f"_{rule}" for rule in rules if rule not in _DEFAULT_RULES)
        name = protocol if protocol in ("clean", "grid") else f"protocol_{protocol}"
        if protocol == "III":
            for joint, cells in rows.groupby("available"):
                of_joint = "" if joint == _DEFAULT_JOINT else f"_{joint}"
                values |= _means(name + suffix + of_joint, cells, headlines)
            continue
        values |= _means(name + suffix, rows, primary if protocol in ("I", "II") else headlines)
        if protocol == "grid":
            worst = (rows["intensity"] == max(LEVELS)) & (rows["rate"] == max(LEVELS))
            values |= _means(f"grid_worst{suffix}", rows[worst], primary)
    return values


def _means(part: str, rows: pd.DataFrame, names: Sequence[str]) -> dict[str, float]:
    means = {f"test/{part}_{name}": float(rows[name].mean()) for name in names}
    return {name: value for name, value in means.items() if math.isfinite(value)}
