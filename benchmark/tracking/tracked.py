"""What tracking says of a run and of its record, as plain values; knows no tracking library.

Live tracking and the rebuilding from records both say what is said here, so they say the same.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmark.cards import card_facts, deviations
from benchmark.data.arrays import BROKEN
from benchmark.errors import BenchmarkError
from benchmark.records import CONFIG, RunRecord
from benchmark.spec import RunSpec
from benchmark.tracking.summary import summary_of
from protocols.conditions import PROTOCOLS

RUN_ID = "run_id"
NOTE = "mlflow.note.content"
VALIDATION_ONLY = "validation"
"""The tag ``protocol`` of a search's trial, which was not evaluated on test."""

MAX_VALUE, MAX_NAME, MAX_NOTE = 500, 250, 8000
"""Longer parameter values, names and descriptions are cut: servers take this many characters."""

Curve = tuple[int, dict[str, float]]
"""(epochs done, metric -> value)"""

LEARNING_RATE = "train/learning_rate"
"""The curve that has a value at every epoch of every run."""

_NO_CURVE = frozenset({"epoch", "best"})


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
            summary=summary_of(record),
            started=ended - int(1000 * duration),
            ended=ended,
            epoch_seconds=training / max(1, len(curves)),
            record=RunRecord(record.path),  # without what was read: there may be many
        )
    except (OSError, *BROKEN) as error:  # sealed, but of another form
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
    return {plain_name(key): _short(value) for key, value in nested.items()}


def plain_name(text: str) -> str:
    """A name of a setting, a metric or a tag as MLflow takes it: other characters are "_"."""
    return re.sub(r"[^\w./ -]", "_", text)[:MAX_NAME].strip("/. ")


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
    }
    return {**tags, "source": spec.source} if spec.source else tags


def card_note(record: RunRecord) -> str:
    """Markdown: whose method it is, how well its source is known, where we depart from it."""
    card = record.environment["model"]
    parts = [f"**{card['title']}**", "\n".join(f"- {what}: {x}" for what, x in card_facts(card))]
    if departures := deviations(card):
        parts += ["Departs from the original:", "\n".join(f"- {one}" for one in departures)]
    return "\n\n".join(parts)[:MAX_NOTE]


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
    tags = {NOTE: card_note(record), "protocol": VALIDATION_ONLY, "conditions": "0"}
    if record.is_evaluated():
        made_from = record.read_off
        covered = set(record.metrics["protocol"])
        tags |= {
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
        values[plain_name(tracked)] = float(value)
    return values
