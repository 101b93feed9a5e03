"""One experiment of a tracking store, in plain values: what can be read and written there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from benchmark.files import remove, scratch
from benchmark.tracking.background import Watch
from benchmark.tracking.mlflow_store import (
    MODEL_FILE,
    Client,
    dataset_input,
    log_batches,
    make_database,
    model_output,
    pages,
    write_description,
)
from benchmark.tracking.model import TrackedModel
from benchmark.tracking.place import (
    ARTIFACTS,
    LOCK_SECONDS,
    StoreError,
    failing,
    link,
    local_folder,
    reason,
    sqlite_path,
)
from benchmark.tracking.stored import (
    Point,
    Status,
    StoredModel,
    StoredRun,
    stored,
    stored_model,
)

Say = Callable[[str], None]
MODEL_TYPE = "checkpoint"
MAKING_SECONDS = 30.0
"""For another process to make the database."""
# Without it the UI takes an experiment for one of language-model traces, and shows no runs.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


class Connection:
    """One experiment of a tracking store, in plain values. Every method raises
    :class:`StoreError`."""

    def __init__(
        self, uri: str, experiment: str, lock_folder: Path, say: Say, watch: Watch | None = None
    ) -> None:
        """Connect; make the store and the experiment where there is none.

        Args:
            uri: the tracking store.
            experiment: name of the experiment.
            lock_folder: where the lock goes that processes share, unless the store is a file.
            say: told when a database is made, which takes seconds.
            watch: measures how long the store takes.
        """
        path = sqlite_path(uri)
        self._file = lock_folder / "tracking" if path is None else Path(f"{path}.lock")
        self._lock = FileLock(self._file, timeout=LOCK_SECONDS)
        self.experiment, self._uri, self._watch = experiment, uri, watch or Watch()
        if path is not None and not (path.exists() and path.stat().st_size):
            self._create_database(path, say)
        self._client = Client(uri, self._watch)
        self._artifacts = None if path is None else (path.parent / ARTIFACTS).as_uri()
        with self.lock():
            self._experiment_id = self._experiment(experiment)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Between looking for something and making it: of two processes one makes it."""
        with self._watch.call():
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._lock.acquire()
            except OSError as error:  # a timeout is one
                why = error.strerror or "another process holds it"
                raise StoreError(failing(self._uri, f"no lock {self._file}: {why}")) from error
        try:
            yield
        finally:
            self._lock.release()

    def _create_database(self, path: Path, say: Say) -> None:
        """Make a database under a temporary name, then rename it: it is complete or absent."""
        if "?" in str(path):
            raise StoreError(f"MLflow cannot open a database with ? in its path: {path}")
        folder = path.parent / ".mlflow-new"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # of several processes one makes it; that the others wait is no silence of the store
            with FileLock(f"{path}.making", timeout=MAKING_SECONDS):
                if path.exists() and path.stat().st_size:
                    return
                say(f"making the tracking database {path} (once; takes a few seconds)")
                remove(folder)  # of a process that was killed
                folder.mkdir()
                try:
                    make_database(folder / path.name, (path.parent / ARTIFACTS).as_uri())
                    (folder / path.name).replace(path)
                finally:
                    remove(folder)
        except OSError as error:
            raise StoreError(reason(self._uri, error)) from error

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name, self._artifacts, _EXPERIMENT_TAGS))
            except StoreError:  # on a server: somebody else has just made it
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def find(self, tag: str, value: str) -> StoredRun | None:
        """The run with a tag; of several the oldest."""
        quoted = value.replace("'", "")
        found = self.runs(f"tags.`{tag}` = '{quoted}'")
        return min(found, key=lambda run: run.started, default=None)

    def runs(self, which: str = "tags.kind != ''") -> Iterator[StoredRun]:
        """Every run and every parent of the experiment."""
        yield from map(stored, pages(self._client.search_runs, [self._experiment_id], which))

    def models(self, run: str | None = None) -> Iterator[StoredModel]:
        """The logged models of the experiment, or of one run."""
        which = None if run is None else f"source_run_id = '{run}'"
        search = self._client.search_logged_models
        yield from map(stored_model, pages(search, [self._experiment_id], which))

    def create(self, name: str, tags: Mapping[str, str], started: int) -> StoredRun:
        """A new run, under way."""
        return stored(self._client.create_run(self._experiment_id, started, dict(tags), name))

    def log(
        self,
        run: StoredRun,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        points: Sequence[Point] = (),
        model: str = "",
        dataset: tuple[str, str] = ("", ""),
    ) -> bool:
        """Params and tags that the run lacks, and points; whether there was anything to write.

        Args:
            run: as it was last seen. A param that it has is never changed.
            params, tags, points: what it is to have.
            model: the logged model that the points are of as well.
            dataset: name and digest of what they were measured on.
        """
        of = {"model_id": model, "dataset_name": dataset[0], "dataset_digest": dataset[1]}
        absent = {k: v for k, v in (params or {}).items() if k not in run.params}
        changed = {k: v for k, v in (tags or {}).items() if run.tags.get(k) != v}
        return log_batches(self._client, run.id, absent, changed, points, of if model else {})

    def delete_tag(self, run: StoredRun, tag: str) -> bool:
        """Take a tag away; whether it was there."""
        if tag in run.tags:
            self._client.delete_tag(run.id, tag)
        return tag in run.tags

    def steps(self, run: StoredRun, metric: str) -> set[int]:
        """The steps of a curve that the store has."""
        return {m.step for m in self._client.get_metric_history(run.id, metric)}

    def add_dataset(self, run: StoredRun, name: str, sha256: str) -> bool:
        """The data set that a run read; whether it was new."""
        if name in run.datasets:
            return False
        self._client.log_inputs(run.id, [dataset_input(name, sha256)])
        return True

    def create_model(
        self, run: StoredRun, name: str, params: Mapping[str, str], tags: Mapping[str, str]
    ) -> StoredModel:
        """A logged model of a run, without files yet."""
        return stored_model(
            self._client.create_logged_model(
                self._experiment_id, name, run.id, dict(tags), dict(params), MODEL_TYPE
            )
        )

    def complete_model(self, made: StoredModel, model: TrackedModel) -> bool:
        """Give a logged model the files that it lacks, so that ``mlflow.pyfunc`` loads it."""
        lacked = self.upload(made, model.files)
        if made.ready and not lacked and MODEL_FILE in self.files(made):
            return False
        with scratch() as folder:
            self.upload(made, [write_description(made, model, folder)], anew=True)
        self._client.finalize_logged_model(made.id, "READY")
        return True

    def link_model(self, run: StoredRun, made: StoredModel, step: int) -> bool:
        """Say that a logged model came out of a run; whether that was new."""
        if made.id in run.models:
            return False
        self._client.log_outputs(run.id, [model_output(made.id, step)])
        return True

    def delete_model(self, model: StoredModel) -> None:
        """Take away a logged model that a kill left beside the run's own."""
        self._client.delete_logged_model(model.id)

    def files(self, of: StoredRun | StoredModel, folder: str = "") -> dict[str, int]:
        """Name -> bytes of the files in a folder of the artifacts."""
        local = local_folder(of.place)
        if local is not None:
            found = (local / folder).iterdir() if (local / folder).is_dir() else ()
            return {path.name: path.stat().st_size for path in found if path.is_file()}
        if isinstance(of, StoredModel):
            listed = self._client.list_logged_model_artifacts(of.id, folder or None)
        else:
            listed = self._client.list_artifacts(of.id, folder)
        return {f.path.rpartition("/")[2]: f.file_size or 0 for f in listed if not f.is_dir}

    def upload(
        self,
        to: StoredRun | StoredModel,
        files: Sequence[Path],
        folder: str = "",
        anew: bool = False,
    ) -> bool:
        """Files as artifacts where they are not there, or ``anew``; whether any was written.

        Beside a local store they are links: they take no room again.
        """
        local, has = local_folder(to.place), {} if anew else self.files(to, folder)
        lacking = [file for file in files if has.get(file.name) != file.stat().st_size]
        for file in lacking:
            if local is not None:
                with self._client.contact():
                    link(file, local / folder / file.name)
            elif isinstance(to, StoredModel):
                self._client.log_model_artifact(to.id, str(file), folder or None)
            else:
                self._client.log_artifact(to.id, str(file), folder)
        return bool(lacking)

    def begin(self, run: StoredRun) -> None:
        """A run that ended is under way again."""
        self.delete_tag(run, "error")
        if run.status != "RUNNING":
            self._client.update_run(run.id, "RUNNING")

    def end(self, run: StoredRun, status: Status, ended: int | None = None) -> bool:
        """The run is over; whether that was news."""
        if run.status != status:
            self._client.set_terminated(run.id, status, ended)
        return run.status != status
