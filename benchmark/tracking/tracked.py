"""What tracking says of a run and of its record, as plain values; knows no tracking library.

Live tracking and the rebuilding from records both say what is said here, so they say the same.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import BenchmarkError
from benchmark.metrics import PRIMARY
from benchmark.questions import overview
from benchmark.readouts import answers_in, headline_value, questions_in
from benchmark.records import CONFIG, METRICS, RunRecord
from benchmark.search.objective import OBJECTIVES, Objective
from benchmark.spec import RunSpec
from benchmark.table import to_make
from protocols.conditions import PROTOCOLS
from protocols.modalities import Task

RUN_ID = "run_id"
VERSION_TAGS = ("conditions", "table", "versions", "validation_conditions")
"""What a record's numbers were made from: a tracked run with other values is out of date."""

VALIDATION_ONLY = "validation"
"""The tag ``protocol`` of a search's trial, which was not evaluated on test."""

MAX_VALUE = 500
"""Longer parameter values are cut: every server takes this many characters."""

Curve = tuple[int, dict[str, float]]
"""(epochs done, metric -> value)"""

LEARNING_RATE = "train/learning_rate"
"""The curve that has a value at every epoch of every run."""

_NO_CURVE = frozenset({"epoch", "best"})
_HEADLINES: Mapping[Task, tuple[str, ...]] = {
    "regression": ("mae", "corr", "acc2_non0"),
    "classification": ("acc", "f1_weighted"),
}
UNREADABLE = (OSError, ValueError, KeyError, TypeError, BenchmarkError)
"""What reading a damaged file of a record raises."""


@dataclass(frozen=True)
class Tracked:
    """A record as tracking shows it.

    Attributes:
        spec: what was run.
        tags: all of the run's tags.
        curves: the values of each epoch.
        summary: about ten test metrics.
        started, ended: in milliseconds since 1970.
        epoch_seconds: the mean duration of an epoch.
        record: the record.
    """

    spec: RunSpec
    tags: Mapping[str, str]
    curves: Sequence[Curve]
    summary: Mapping[str, float]
    started: int
    ended: int
    epoch_seconds: float
    record: RunRecord


def read(record: RunRecord) -> Tracked:
    """All that tracking shows of a record. Raises BenchmarkError where a file cannot be read."""
    try:
        environment = record.environment
        training = float(environment.get("seconds_training", 0.0))
        duration = training + float(environment.get("seconds_table", 0.0))
        ended = _milliseconds(environment, record.path)
        curves = [
            (step, curve_values(row))
            for step, row in enumerate(record.history.to_dict("records"), start=1)
        ]
        return Tracked(
            spec=record.spec,
            tags={**tags_of(record.spec), **_record_tags(record)},
            curves=curves,
            summary=_summary(record),
            started=ended - int(1000 * duration),
            ended=ended,
            epoch_seconds=training / max(1, len(curves)),
            record=record,
        )
    except UNREADABLE as error:
        problem = f"{type(error).__name__}: {error}"
        raise BenchmarkError(f"the record {record.path} cannot be read ({problem})") from error


def _milliseconds(environment: Mapping[str, Any], path: Path) -> int:
    """When the run ended."""
    if "finished" in environment:
        return int(1000 * datetime.fromisoformat(environment["finished"]).timestamp())
    return int(1000 * (path / CONFIG).stat().st_mtime)


def params_of(spec: RunSpec) -> dict[str, str]:
    """The settings, flattened: ``model.topk``, ``training.epochs``, ``regime.rate``, ...

    Only those that have an effect; a long value is cut, with a hash of the whole.
    """
    nested = {
        "model": spec.model,
        "preset": spec.preset,
        "regime": spec.regime.name,
        "seed": spec.seed,
    }
    for group, settings in spec.sections.items():
        used = settings.model_dump(mode="json", exclude=set(settings.idle()) | {"kind"})
        nested |= {f"{group}.{key}": value for key, value in _flatten(used).items()}
    return {key: _short(value) for key, value in nested.items()}


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": v for inner, v in _flatten(value).items()}
        else:
            flat[key] = value
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value) if isinstance(value, list | tuple) else str(value)
    if len(text) <= MAX_VALUE:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{text[: MAX_VALUE - 24]}... sha256:{digest}"


def tags_of(spec: RunSpec) -> dict[str, str]:
    """What a run can be filtered by, known before it begins."""
    tags = {
        RUN_ID: spec.run_id,
        "kind": "run",
        "model": spec.model,
        "dataset": spec.dataset,
        "regime": spec.regime.name,
        "seed": str(spec.seed),
        "task": spec.task,
        **source_tags(),
    }
    return {**tags, "source": spec.source} if spec.source else tags


def source_tags() -> dict[str, str]:
    """Who made a run, and with what: the same for plans and runs."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        user = "unknown"
    return {
        "mlflow.user": user,
        "mlflow.source.name": "benchmark",
        "mlflow.source.type": "LOCAL",
    }


def _record_tags(record: RunRecord) -> dict[str, str]:
    environment = record.environment
    tags = {"protocol": VALIDATION_ONLY, "conditions": "0"}
    if record.is_evaluated():
        made_from = json.loads((record.path / METRICS).read_text())
        covered = set(record.metrics["protocol"])
        tags = {
            "protocol": ",".join(p for p in PROTOCOLS if p in covered),
            "conditions": str(made_from["conditions"]),
            "table": made_from["table"],
            "versions": ", ".join(f"{name} {v}" for name, v in made_from["versions"].items()),
        }
    if record.validation is not None:
        tags["validation_conditions"] = str(len(record.validation.conditions))
    if environment.get("commit"):
        tags["commit"] = environment["commit"]
        tags["mlflow.source.git.commit"] = environment["commit"]
    if environment.get("dirty"):
        tags["dirty"] = "true"
    if environment.get("device"):
        tags["device"] = environment["device"]
    if environment.get("synthetic"):
        tags["synthetic"] = "true"
    return tags


def curve_values(row: Mapping[Any, Any]) -> dict[str, float]:
    """An epoch's values under their tracked names: ``train_loss`` as ``train/loss``.

    The part before the slash is the section that the UI shows a curve in.
    """
    values = {}
    for key, value in row.items():
        name = str(key)
        if name in _NO_CURVE or not math.isfinite(value):
            continue
        part, _, rest = name.partition("_")
        # a model's own phases are parts of its training: ``train/likelihood_loss``
        tracked = f"{part}/{rest}" if part in ("train", "valid") else f"train/{name}"
        values[tracked] = float(value)
    return values


def _summary(record: RunRecord) -> dict[str, float]:
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
    grid in three metrics, the others in the primary one; an undefined value is left out.
    """
    found = {metric: answers_in(metrics, metric) for metric in _HEADLINES[task]}
    values: dict[str, float] = {}
    for headline in overview(questions_in(metrics)):
        narrow = headline.questions[0].protocol in ("I", "II")
        for metric in (PRIMARY[task],) if narrow else _HEADLINES[task]:
            value = headline_value(found[metric], headline)
            if value is not None and math.isfinite(value):
                values[f"test/{headline.name}_{metric}"] = value
    return values
