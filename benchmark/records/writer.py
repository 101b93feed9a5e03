"""What a record's files hold, as bytes: of the training, and what can be added later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from benchmark import metrics_file
from benchmark.records.reader import (
    CHECKPOINT,
    CONFIG,
    ENVIRONMENT,
    FILES,
    HISTORY,
    INPUTS,
    METRICS,
    PREDICTIONS,
    VALIDATION,
    file_facts,
)
from benchmark.seal import sealed
from benchmark.spec import RunSpec
from benchmark.table import PredictionTable, seal_of, to_bytes
from benchmark.yamlfile import to_yaml

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.data.inputs import InputForm

LATER_FILES = (INPUTS, PREDICTIONS, METRICS, VALIDATION)
"""The order to write them in: metrics follow the table that they are read off."""


def record_files(
    spec: RunSpec,
    environment: Mapping[str, Any],
    history: pd.DataFrame | None,
    checkpoint: bytes | None,
) -> dict[str, bytes]:
    """The files of a training, by name. ``env.json`` has the run id and the others' hashes."""
    of_training = {}
    if history is not None:
        of_training[HISTORY] = history.to_csv(index=False).encode()
    if checkpoint is not None:
        of_training[CHECKPOINT] = checkpoint
    facts = {name: file_facts(content) for name, content in of_training.items()}
    known = sealed({**_plain(environment), "run_id": spec.run_id, FILES: facts})
    return {
        CONFIG: config_file(spec),
        ENVIRONMENT: json.dumps(known, indent=1, sort_keys=True).encode(),
        **of_training,
    }


def config_file(spec: RunSpec) -> bytes:
    """``config.yaml``: what was run."""
    return to_yaml(_plain(spec.as_dict())).encode()


def later_files(
    table: PredictionTable | None,
    validation: PredictionTable | None,
    inputs: InputForm | None,
) -> dict[str, bytes]:
    """The files of what is given, by name, in the order of :data:`LATER_FILES`."""
    files = {}
    if inputs is not None:
        files[INPUTS] = inputs.to_json().encode()
    if table is not None:
        files[PREDICTIONS] = to_bytes(table)
        files[METRICS] = metrics_file.to_json(table, seal_of(table))
    if validation is not None:
        files[VALIDATION] = to_bytes(validation)
    return files


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML's safe types only."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
