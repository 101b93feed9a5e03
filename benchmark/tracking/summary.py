"""The few numbers that tracking shows of a record, and their names there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmark.metrics import PRIMARY
from benchmark.questions import overview
from benchmark.readouts import answers_in, headline_value, questions_in
from benchmark.records import RunRecord
from benchmark.search.objective import OBJECTIVES, Objective
from benchmark.table import to_make
from protocols.modalities import Task

if TYPE_CHECKING:
    import pandas as pd

HEADLINES: Mapping[Task, tuple[str, ...]] = {
    "regression": ("mae", "corr", "acc7", "acc2_non0", "f1_non0"),
    "classification": ("acc", "f1_weighted"),
}


def summary_of(record: RunRecord) -> dict[str, float]:
    """The test metrics, where there are some, and the search objectives that can be read off."""
    values = summary(record.metrics, record.spec.task) if record.is_evaluated() else {}
    table = record.validation
    if table is None:
        return values
    for name in OBJECTIVES:
        objective = Objective(name, table.task, table.present)
        if not to_make(table, objective.conditions()):
            values[f"valid/{name}_{objective.metric}"] = objective.value(table)
    return values


def summary(metrics: pd.DataFrame, task: Task) -> dict[str, float]:
    """The overview of a record's metrics, under the names that tracking shows.

    ``test/<headline>_<metric>``, by :attr:`benchmark.questions.Headline.name`: ``test/clean_mae``,
    ``test/protocol_III_mae``, ``test/grid_gaussian_av_corr``. The clean test, Protocol III and the
    grid in the headline metrics, the others in the primary one; an undefined value is left out.
    """
    found = {metric: answers_in(metrics, metric) for metric in HEADLINES[task]}
    values: dict[str, float] = {}
    for headline in overview(questions_in(metrics)):
        narrow = headline.questions[0].protocol in ("I", "II")
        for metric in (PRIMARY[task],) if narrow else HEADLINES[task]:
            value = headline_value(found[metric], headline)
            if value is not None and math.isfinite(value):
                values[f"test/{headline.name}_{metric}"] = value
    return values
