"""Run records on disk: what survives. A record is a directory that is complete or absent.

::

    <runs-dir>/<run_id>/        config.yaml  env.json  history.csv  checkpoint.safetensors
                                inputs.json, what its inputs must look like
                                predictions.npz  metrics.json
                                validation.npz, where a search asked for it
    <runs-dir>/.partial/<id>/   of a run under way config.yaml and resume.pt; error.txt if it failed
    <runs-dir>/.locks/<id>      held by the process that works on the run; freed when it dies

The record of a model that was trained elsewhere (:mod:`benchmark.evaluation`) has no history.csv
and no checkpoint. A checkpoint may be deleted for room: the run is reported as before, and trains
again when rows are asked for that its table lacks. A search's trial is a record without
predictions.npz and metrics.json: a search never evaluates on the test split. `benchmark run` adds
them from the checkpoint.

Every file carries its hash, or ``env.json`` does, and the identity in ``config.yaml`` gives the
directory's name: what was edited, damaged or mixed up is a problem of that one record
(:class:`DamagedError`). :mod:`benchmark.records.reader` reads the files,
:mod:`benchmark.records.record` is one run's, :mod:`benchmark.records.store` all of them.
"""

from benchmark.records.reader import (
    CHECKPOINT,
    CONFIG,
    ENVIRONMENT,
    HISTORY,
    INPUTS,
    METRICS,
    PREDICTIONS,
    VALIDATION,
    DamagedError,
    ForeignError,
)
from benchmark.records.record import CHECKPOINT_FILES, RECORD_FILES, TRAINED_FILES, RunRecord
from benchmark.records.store import ERROR, RUN_ID, RunStore, Survey

__all__ = [
    "CHECKPOINT",
    "CHECKPOINT_FILES",
    "CONFIG",
    "ENVIRONMENT",
    "ERROR",
    "HISTORY",
    "INPUTS",
    "METRICS",
    "PREDICTIONS",
    "RECORD_FILES",
    "RUN_ID",
    "TRAINED_FILES",
    "VALIDATION",
    "DamagedError",
    "ForeignError",
    "RunRecord",
    "RunStore",
    "Survey",
]
