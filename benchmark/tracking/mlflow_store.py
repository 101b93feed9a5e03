"""MLflow: the only module that imports it.

Every call names its run and writes in batches; MLflow's global state is never used. Whatever a
store raises is a :class:`benchmark.tracking.place.StoreError`. What is written is decided in
:mod:`benchmark.tracking.mirror`.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.tracking.background import Watch
from benchmark.tracking.model import LOADER, TrackedModel
from benchmark.tracking.place import StoreError, reason, settle, sqlite_path
from benchmark.tracking.stored import Point, StoredModel

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, LoggedModelOutput

FLOAT, PYTHON = np.dtype(np.float32), platform.python_version()
MODEL_FILE = "MLmodel"
_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
_ENVIRONMENT = {
    # A server that is gone is noticed in seconds, not after MLflow's 7 retries in 4 minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
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


def load() -> None:
    """Import MLflow. Done once, in the main thread: two threads must not import it at once."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow.tracking  # noqa: F401

    for name, level in _QUIET.items():  # MLflow's import resets them; what fails is said once
        logging.getLogger(name).setLevel(level)


class Client:
    """MLflow's client, watched: what its calls raise is a :class:`StoreError`."""

    def __init__(self, uri: str, watch: Watch) -> None:
        """Connect; nothing is made. Raises StoreError, also where a SQLite file is not there."""
        self.uri, self._watch = uri, watch
        load()
        from mlflow.tracking import MlflowClient

        path = sqlite_path(uri)
        if not uri.startswith("http"):  # takes seconds, which are not the store's
            import mlflow.store.db.utils
            import mlflow.store.tracking.sqlalchemy_store

            # MLflow knocks ten times, in 102 s, at a database that refuses at once
            mlflow.store.db.utils.MAX_RETRY_COUNT = 1
        with self.contact():
            if path is not None:
                settle(path)
            self._client = MlflowClient(tracking_uri=uri)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.contact():
                return getattr(self._client, name)(*args, **kwargs)

        return call

    @contextmanager
    def contact(self) -> Iterator[None]:
        """Anything that needs the store. Raises StoreError."""
        with self._watch.call():
            try:
                yield
            # MLflow, the databases and the artifact stores each raise errors of their own
            except Exception as error:
                raise StoreError(reason(self.uri, error)) from error


def pages(search: Callable[..., Any], experiments: list[str], which: str | None) -> Iterator[Any]:
    """Everything that one of MLflow's searches finds."""
    token = None
    while True:
        page = search(experiments, which, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def make_database(path: Path, artifacts: str) -> None:
    """A SQLite store without runs; takes seconds."""
    load()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(f"sqlite:///{path}", artifacts).engine.dispose()


def log_batches(
    client: Client,
    run: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    points: Sequence[Point],
    of: Mapping[str, str],
) -> bool:
    """Params, tags and metrics in as few calls as is allowed; whether there were any.

    Args:
        client: of the store.
        run: MLflow's id of it.
        params, tags, points: what is written.
        of: the logged model and the data set of the metrics; may be empty.
    """
    from mlflow.entities import Metric, Param, RunTag

    entities: dict[str, list[Any]] = {
        "params": [Param(key, value) for key, value in params.items()],
        "metrics": [Metric(*point, **of) for point in points],
        "tags": [RunTag(key, value) for key, value in tags.items()],
    }
    for kind, values in entities.items():
        for start in range(0, len(values), _BATCH[kind]):
            block = values[start : start + _BATCH[kind]]
            client.log_batch(run, **{kind: block}, synchronous=True)
    return any(entities.values())


def dataset_input(name: str, sha256: str) -> DatasetInput:
    """The data set of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"name": name, "sha256": sha256})
    dataset = Dataset(name, sha256[:12], "local", source)  # the UI shows the digest in full
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "train, validation, test")])


def model_output(model: str, step: int) -> LoggedModelOutput:
    """A logged model, as what came out of a run."""
    from mlflow.entities import LoggedModelOutput

    return LoggedModelOutput(model, step)


def write_description(made: StoredModel, model: TrackedModel, folder: Path) -> Path:
    """What ``mlflow.pyfunc`` reads: the loader, and the form of what goes in and comes out."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs = [TensorSpec(FLOAT, (-1, -1, d), name) for name, d in model.widths.items()]
    answer = [ColSpec(kind, name) for name, kind in model.outputs.items()]
    form = ModelSignature(Schema(inputs), Schema(answer))
    described = Model(made.place, run_id=made.run, signature=form, model_id=made.id)
    described.add_flavor("python_function", loader_module=LOADER, python_version=PYTHON)
    described.save(str(folder / MODEL_FILE))
    return folder / MODEL_FILE


def fetch_model(client: Client, model: str, to: Path) -> None:
    """Bring the files of a logged model into a folder."""
    from mlflow.artifacts import download_artifacts

    # of a "models:/" address it would ask MLflow's global store, not this one
    place = client.get_logged_model(model).artifact_location
    with client.contact():
        download_artifacts(place, dst_path=str(to), tracking_uri=client.uri)
