"""The tracking store, MLflow: the only module that imports it.

Every call names its run and writes in batches; MLflow's global state is never used. What is
written, and what happens when the store fails, is decided in :mod:`benchmark.tracking.tracker`.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import numpy as np
from filelock import FileLock

from benchmark.errors import BenchmarkError
from benchmark.tracking.model import LOADER, TrackedModel
from benchmark.tracking.tracked import RUN_ID

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

Say = Callable[[str], None]
Point = tuple[str, float, int, int]
"""(metric, value, milliseconds since 1970, step)"""
Status = Literal["FINISHED", "FAILED", "KILLED"]

LOCK_SECONDS = 120.0
CONNECT_SECONDS = 5.0
FLOAT, PYTHON = np.dtype(np.float32), platform.python_version()
MODEL_TYPE = "checkpoint"
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
_ENVIRONMENT = {
    # A server that is gone is noticed in seconds, not after MLflow's 7 retries in 4 minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    # A benchmark tells nobody what it is used for.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Where a run can be seen is said by `benchmark ui`, not after each run.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # A database file that is deleted under us is noticed: no connection to it is kept open.
    "MLFLOW_SQLALCHEMYSTORE_POOLCLASS": "NullPool",
}
_QUIET = {
    "mlflow": logging.ERROR,
    "mlflow.store.db.utils": logging.CRITICAL,
    "alembic": logging.ERROR,
    "urllib3.connectionpool": logging.ERROR,
}
# Without it the UI takes an experiment for one of language-model traces, and shows no runs.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_SQL_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_STORE_ERRORS = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("boto3.exceptions", "Boto3Error"),
    ("google.api_core.exceptions", "GoogleAPIError"),
    ("azure.core.exceptions", "AzureError"),
)


def default_uri(runs_dir: Path) -> str:
    """The tracking store of a runs folder: a SQLite file in it."""
    return f"sqlite:///{(runs_dir / 'mlflow.db').resolve()}"


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)).absolute() if uri.startswith(prefix) else None


def tracking_errors() -> tuple[type[Exception], ...]:
    """What a store that is locked, lost, full, unreachable or too new raises.

    Of the artifact stores' own libraries, those that are in use.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    in_use = [
        getattr(sys.modules[module], name)
        for module, name in _STORE_ERRORS
        if module in sys.modules
    ]
    # OSError has requests' errors and the lock's timeout below it.
    known = (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError, BenchmarkError)
    return (*known, *in_use)


@dataclass(frozen=True)
class StoredRun:
    """A run as the store has it; ``started`` in milliseconds since 1970."""

    id: str
    status: str
    started: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


class Connection:
    """One experiment of a tracking store, in plain values. Every method raises
    :func:`tracking_errors`."""

    def __init__(self, uri: str, experiment: str, lock_folder: Path, say: Say) -> None:
        """Connect; make the store and the experiment where there is none.

        Args:
            uri: the tracking store.
            experiment: name of the experiment.
            lock_folder: where the lock goes that processes share, unless the store is a file.
            say: told when a database is made, which takes seconds.
        """
        path = sqlite_path(uri)
        lock_path = lock_folder / "tracking" if path is None else Path(f"{path}.lock")
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(lock_path, timeout=LOCK_SECONDS)
        if path is None:
            _knock(uri)
        else:
            with self.lock:
                _create_database(path, say)
            _touch(path)
        self._client = _client(uri)
        self._artifacts = None if path is None else (path.parent / "mlartifacts").as_uri()
        with self.lock:
            self._experiment_id = self._experiment(experiment)

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            from mlflow.exceptions import MlflowException

            try:
                return str(self._client.create_experiment(name, self._artifacts, _EXPERIMENT_TAGS))
            except MlflowException:  # on a server: somebody else has just made it
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def find(self, tag: str, value: str) -> StoredRun | None:
        """The run with a tag."""
        quoted = value.replace("'", "")
        page = self._client.search_runs([self._experiment_id], f"tags.{tag} = '{quoted}'", 1, 1)
        return stored(page[0]) if page else None

    def runs(self) -> Iterator[StoredRun]:
        """Every run of the experiment that has the tag ``run_id``."""
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], f"tags.{RUN_ID} != ''", max_results=500, page_token=token
            )
            yield from map(stored, page)
            token = page.token
            if not token:
                return

    def create(self, name: str, tags: Mapping[str, str], started: int) -> StoredRun:
        """A new run, under way."""
        return stored(self._client.create_run(self._experiment_id, started, dict(tags), name))

    def log(
        self,
        run: str,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        points: Sequence[Point] = (),
        model: str | None = None,
    ) -> None:
        """Params, tags and metrics (of a logged model too), in as few calls as is allowed."""
        from mlflow.entities import Metric, Param, RunTag

        entities: dict[str, list[Any]] = {
            "params": [Param(key, value) for key, value in (params or {}).items()],
            "metrics": [Metric(*point, model_id=model) for point in points],
            "tags": [RunTag(key, value) for key, value in (tags or {}).items()],
        }
        for kind, values in entities.items():
            for start in range(0, len(values), _BATCH[kind]):
                block = values[start : start + _BATCH[kind]]
                self._client.log_batch(run, **{kind: block}, synchronous=True)

    def steps(self, run: str, metric: str) -> set[int]:
        """The steps of a curve that the store has."""
        return {m.step for m in self._client.get_metric_history(run, metric)}

    def add_model(self, run: str, model: TrackedModel, tags: Mapping[str, str]) -> str:
        """A logged model of the run, that ``mlflow.pyfunc`` loads; its id."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, Schema, TensorSpec

        made = self._client.create_logged_model(
            self._experiment_id, model.name, run, dict(tags), model_type=MODEL_TYPE
        )
        inputs = [TensorSpec(FLOAT, (-1, -1, d), name) for name, d in model.widths.items()]
        answer = [ColSpec(kind, name) for name, kind in model.outputs.items()]
        form = ModelSignature(Schema(inputs), Schema(answer))
        place = made.artifact_location
        description = Model(place, run_id=run, signature=form, model_id=made.model_id)
        description.add_flavor("python_function", loader_module=LOADER, python_version=PYTHON)
        with tempfile.TemporaryDirectory() as folder:
            description.save(str(Path(folder) / "MLmodel"))
            for path in (*model.files, Path(folder) / "MLmodel"):
                self._client.log_model_artifact(made.model_id, str(path))
        self._client.finalize_logged_model(made.model_id, "READY")
        self._client.log_outputs(run, [LoggedModelOutput(made.model_id, model.step)])
        return str(made.model_id)

    def add_dataset(self, run: str, name: str, sha256: str) -> None:
        """The data set that a run read."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"name": name, "sha256": sha256})
        dataset = Dataset(name, sha256[:12], "local", source)  # the UI shows the digest in full
        context = [InputTag("mlflow.data.context", "train, validation, test")]
        self._client.log_inputs(run, [DatasetInput(dataset, context)])

    def upload(self, run: str, files: Sequence[Path], folder: str) -> None:
        """Files as artifacts in a folder of the run."""
        for file in files:
            self._client.log_artifact(run, str(file), folder)

    def reopen(self, run: StoredRun) -> None:
        """A run that ended is under way again."""
        if "error" in run.tags:
            self._client.delete_tag(run.id, "error")
        if run.status != "RUNNING":
            self._client.update_run(run.id, "RUNNING")

    def end(self, run: str, status: Status, ended: int | None = None) -> None:
        """The run is over."""
        self._client.set_terminated(run, status, ended)


def stored(run: Run) -> StoredRun:
    """A run in plain values."""
    info, data = run.info, run.data
    started = int(info.start_time or 0)
    return StoredRun(info.run_id, info.status, started, data.tags, data.params, data.metrics)


def reading_client(uri: str) -> MlflowClient:
    """A client that makes nothing. Raises OSError where there is no store."""
    path = sqlite_path(uri)
    if path is None:
        _knock(uri)
    else:
        path.stat()
    return _client(uri)


def fetch_model(uri: str, model: str, to: Path) -> None:
    """Bring the files of a logged model into a folder."""
    from mlflow.artifacts import download_artifacts

    # of a "models:/" address it would ask MLflow's global store, not this one
    place = _client(uri).get_logged_model(model).artifact_location
    download_artifacts(place, dst_path=str(to), tracking_uri=uri)


def _client(uri: str) -> MlflowClient:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    _quieten()
    return MlflowClient(tracking_uri=uri)


def _quieten() -> None:
    """What goes wrong is said once, by the tracker. MLflow's import resets the levels."""
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def _knock(uri: str) -> None:
    """A database server that is gone is noticed at once, not after MLflow's minutes of retries."""
    parts = urlsplit(uri)
    port = parts.port or _SQL_PORTS.get(parts.scheme.split("+")[0])
    if parts.scheme.split("+")[0] in _SQL_PORTS and parts.hostname and port:
        socket.create_connection((parts.hostname, port), CONNECT_SECONDS).close()


def _touch(path: Path) -> None:
    """A database that is damaged, read-only or locked is noticed in seconds."""
    connection = sqlite3.connect(path, timeout=CONNECT_SECONDS, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _create_database(path: Path, say: Say) -> None:
    """Make a database under a temporary name, then rename it: it is complete or absent."""
    if path.exists() and path.stat().st_size:
        return
    if set(str(path)) & set("%?"):
        raise BenchmarkError("MLflow cannot open a database with % or ? in its path")
    say(f"making the tracking database {path} (once; takes a few seconds)")
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    temporary = path.with_name(f".{path.name}.new")
    for name in (temporary.name, f"{temporary.name}-journal"):  # of one that was killed here
        path.with_name(name).unlink(missing_ok=True)
    temporary.touch()  # raises at once where MLflow would try for minutes
    _quieten()
    store = SqlAlchemyStore(f"sqlite:///{temporary}", (path.parent / "mlartifacts").as_uri())
    store.engine.dispose()
    temporary.replace(path)
