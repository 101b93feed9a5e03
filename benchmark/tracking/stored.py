"""What a tracking store has, in plain values; knows no tracking library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Point = tuple[str, float, int, int]
"""(metric, value, milliseconds since 1970, step)"""
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class StoredRun:
    """A run as the store has it.

    Attributes:
        id: MLflow's own.
        status: RUNNING, FINISHED, FAILED or KILLED.
        started: in milliseconds since 1970.
        tags, params, metrics: names -> values; of a metric the last.
        place: the address of its artifacts.
        datasets: names of the data sets that it read.
        models: ids of the logged models that came out of it.
    """

    id: str
    status: str
    started: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    place: str
    datasets: Sequence[str] = ()
    models: Sequence[str] = ()


@dataclass(frozen=True)
class StoredModel:
    """A logged model as the store has it; ``run`` is the run that it came out of."""

    id: str
    run: str
    ready: bool
    metrics: Mapping[str, float]
    place: str


def stored(run: Any) -> StoredRun:
    """A run in plain values."""
    info, data = run.info, run.data
    inputs = run.inputs.dataset_inputs if run.inputs else ()
    outputs = run.outputs.model_outputs if run.outputs else ()
    return StoredRun(
        id=info.run_id,
        status=info.status,
        started=int(info.start_time or 0),
        tags=data.tags,
        params=data.params,
        metrics=data.metrics,
        place=info.artifact_uri,
        datasets=[one.dataset.name for one in inputs],
        models=[one.model_id for one in outputs],
    )


def stored_model(model: Any) -> StoredModel:
    """A logged model in plain values."""
    return StoredModel(
        id=model.model_id,
        run=model.source_run_id or "",
        ready=str(model.status) == "READY",
        metrics={metric.key: metric.value for metric in model.metrics or ()},
        place=model.artifact_location,
    )
