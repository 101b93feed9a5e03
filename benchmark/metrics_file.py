"""``metrics.json``: what is read off a prediction table, and what it was read off and by."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.metrics import METRIC_VERSION, METRICS
from benchmark.questions import KEYS, Question, question_of
from benchmark.readouts import summarise
from benchmark.seal import sealed_json
from benchmark.table import PredictionTable
from protocols.conditions import PROTOCOL_VERSIONS
from protocols.modalities import Task
from protocols.rules import FAMILIES, NOISE_RULES, RULE_VERSIONS

if TYPE_CHECKING:
    import pandas as pd


def to_json(table: PredictionTable, seal: str) -> bytes:
    """The file's bytes; ``seal`` is the table's, :func:`benchmark.table.seal_of`."""
    rows = io.StringIO()
    summarise(table).to_json(rows, orient="records", double_precision=15)
    found = {**_read_off(table.task, seal, table.noise_rules), "conditions": len(table.conditions)}
    return sealed_json({**found, "rows": json.loads(rows.getvalue())}).encode()


def is_current(values: Mapping[str, Any], task: Task, seal: str) -> bool:
    """Whether a file's values were read off the table with this seal, by what is valid now."""
    rows = values.get("rows")
    rules = {str(row.get("noise_rule")) for row in rows} if isinstance(rows, list) else set()
    present = _read_off(task, seal, sorted(rules))
    return {name: values.get(name) for name in present} == present


def check(values: Mapping[str, Any], task: Task) -> None:
    """Whether a file's values have a number for everything that is asked.

    Raises:
        KeyError, TypeError, ValueError: where they have not.
    """
    rows, names = values["rows"], (*KEYS, *METRICS[task])
    shared = set(names).intersection(*rows) if rows else set()
    if lacking := [name for name in names if name not in shared]:
        raise ValueError(f"its rows have no {', '.join(lacking)}")
    kinds = {type(row[name]) for row in rows for name in METRICS[task]}
    if not kinds <= {int, float, bool, type(None)}:
        raise TypeError("a metric that is no number")


def frame(values: Mapping[str, Any], task: Task) -> pd.DataFrame:
    """:func:`benchmark.readouts.summarise` of the table, from a file's values.

    Raises:
        KeyError, TypeError, ValueError: where they are no such thing.
    """
    import pandas as pd

    check(values, task)
    rows = values["rows"]
    names = dict.fromkeys((*KEYS, *METRICS[task], *rows[0]))  # in the file they are sorted
    columns = {name: [row[name] for row in rows] for name in names}
    return pd.DataFrame(  # a column by itself: a quarter of the time; None is undefined
        {k: x if k in KEYS else np.array(x, dtype=np.float64) for k, x in columns.items()}
    )


_keys = itemgetter(*KEYS)


def answers(values: Mapping[str, Any], metric: str) -> dict[Question, float]:
    """A metric's value for each question, from a file's values.

    Raises:
        KeyError: where they do not have it.
    """
    return {
        question_of(_keys(row)): math.nan if row[metric] is None else row[metric]
        for row in values["rows"]
    }


def _read_off(task: Task, seal: str, noise_rules: Iterable[str]) -> dict[str, Any]:
    """The table, what the numbers mean, and which rows are not out of date."""
    return {"table": seal[:12], "versions": definitions(task, noise_rules)}


def definitions(task: Task, noise_rules: Iterable[str] = NOISE_RULES) -> dict[str, int]:
    """The versions of everything that numbers about these rules depend on."""
    versions = {"metric": METRIC_VERSION[task], **RULE_VERSIONS, **PROTOCOL_VERSIONS}
    own = {rule: FAMILIES[rule].version for rule in NOISE_RULES if rule in set(noise_rules)}
    return versions | {rule: version for rule, version in own.items() if version is not None}
