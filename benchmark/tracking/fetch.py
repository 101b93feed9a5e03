"""Read a tracking store: which runs it has, where they can be seen, and their records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from filelock import Timeout

from benchmark.errors import unknown
from benchmark.files import remove
from benchmark.records import (
    CHECKPOINT,
    INPUTS,
    RECORD_FILES,
    VALIDATION,
    DamagedError,
    RunRecord,
    RunStore,
)
from benchmark.records import RUN_ID as RUN_ID_FORM
from benchmark.tracking.background import LONG_PATIENCE, Watch, patiently
from benchmark.tracking.mirror import MODEL_ID, PARENT, RECORD_FOLDER
from benchmark.tracking.mlflow_store import Client, fetch_model, load, pages
from benchmark.tracking.parents import PLAN_ID
from benchmark.tracking.place import check_uri
from benchmark.tracking.stored import StoredRun, stored
from benchmark.tracking.tracked import RUN_ID, VALIDATION_ONLY

NAME = "mlflow.runName"
LOCAL_UI = "http://127.0.0.1:5000"
"""Where ``benchmark ui`` shows a store that is a file."""


@dataclass(frozen=True)
class Remote:
    """A run in a tracking store.

    Attributes:
        run_id: its identity.
        run: as the store has it.
        experiment: the name of its experiment.
        experiment_id: the store's number of it.
        plan: the title of the plan that it was first part of, or "".
    """

    run_id: str
    run: StoredRun
    experiment: str
    experiment_id: str
    plan: str


def remote_runs(uri: str) -> list[Remote]:
    """Every run of a store that has a whole record or is to get one: trials of a search have not.

    Raises:
        BenchmarkError: where the store cannot be read.
    """
    check_uri(uri)
    load()
    return patiently(uri, lambda watch: list(_remote_runs(uri, watch)))


def _remote_runs(uri: str, watch: Watch) -> Iterator[Remote]:
    client = Client(uri, watch)
    experiments = {e.experiment_id: e.name for e in client.search_experiments()}
    if not experiments:
        return
    runs = pages(client.search_runs, list(experiments), "tags.kind != ''")
    found = [(str(run.info.experiment_id), stored(run)) for run in runs]
    titles = {run.id: run.tags.get(NAME, "") for _, run in found if PLAN_ID in run.tags}
    for experiment_id, run in found:
        run_id = run.tags.get(RUN_ID, "")
        if RUN_ID_FORM.fullmatch(run_id) and run.tags.get("protocol") != VALIDATION_ONLY:
            plan = titles.get(run.tags.get(PARENT, ""), "")
            yield Remote(run_id, run, experiments[experiment_id], experiment_id, plan)


def chosen(found: list[Remote], names: set[str], asked: str) -> list[Remote]:
    """The runs of an experiment or a plan. Raises BenchmarkError where none is called so.

    Args:
        found: all runs.
        names: what it may be called.
        asked: what the user called it.
    """
    kept = [one for one in found if names & {one.experiment, one.plan}]
    if not kept:
        known = dict.fromkeys(chain(*((one.experiment, one.plan) for one in found)))
        raise unknown("experiment", asked, [name for name in known if name])
    return kept


def fetch(
    uri: str, wanted: list[Remote], store: RunStore, say: Callable[[str], None]
) -> dict[str, str]:
    """Bring the records of runs into a store; those that are there already are left as they are.

    Args:
        uri: the tracking store.
        wanted: the runs.
        store: where the records go.
        say: told how many are fetched.

    Returns:
        Run id -> why its record could not be had.

    Raises:
        BenchmarkError: where the tracking store or the folder fails.
    """
    absent = [one for one in wanted if not store.has(one.run_id)]
    say(f"{len(wanted)} runs in {uri}: {len(absent)} records to fetch into {store.root}")
    if not absent:
        return {}
    store.prepare()
    load()
    return patiently(uri, lambda watch: _fetch(Client(uri, watch), absent, store), LONG_PATIENCE)


def _fetch(client: Client, absent: list[Remote], store: RunStore) -> dict[str, str]:
    problems = {}
    for one in absent:
        if store.has(one.run_id):  # it is in two experiments
            continue
        if one.run.status != "FINISHED":
            problems[one.run_id] = f"in the tracking store it is {one.run.status.lower()}"
            continue
        try:
            with store.lock(one.run_id).acquire(timeout=0):
                problem = _fetch_record(client, one, store)
        except Timeout:
            problem = "another process works on this run"
        if problem:
            problems[one.run_id] = problem
    return problems


def _fetch_record(client: Client, one: Remote, store: RunStore) -> str:
    """Bring one record, by the names that its files have; what is wrong with it, or nothing."""
    staging = store.partial(one.run_id) / "fetched"
    fetched = staging / one.run_id
    remove(staging)
    fetched.mkdir(parents=True)
    try:
        listed = {f.path for f in client.list_artifacts(one.run.id, RECORD_FOLDER)}
        if not listed:
            return "the tracking store has no record of it"
        for name in (*RECORD_FILES, CHECKPOINT, INPUTS, VALIDATION):
            if (path := f"{RECORD_FOLDER}/{name}") in listed:
                Path(client.download_artifacts(one.run.id, path, str(staging))).rename(
                    fetched / name
                )
        _fetch_checkpoint(client, one.run, fetched)
        return _settle(one.run_id, staging, store)
    finally:
        remove(staging)  # beside the resume state of a run that was interrupted here


def _fetch_checkpoint(client: Client, run: StoredRun, folder: Path) -> None:
    """The store keeps one copy of it: with the run's logged model, where the run has one."""
    if MODEL_ID in run.tags and not (folder / CHECKPOINT).is_file():
        model = folder.with_name("model")
        model.mkdir()
        fetch_model(client, run.tags[MODEL_ID], model)
        for path in model.rglob(CHECKPOINT):
            path.rename(folder / CHECKPOINT)


def _settle(run_id: str, staging: Path, store: RunStore) -> str:
    """Rename a fetched record into place, if it is whole and sound; else what is wrong with it."""
    record = RunRecord(staging / run_id)
    missing = RunStore(staging).broken().get(run_id)
    if missing:
        return f"in the tracking store its record lacks {', '.join(missing)}"
    try:
        record.look()
        record.checkpoint()
    except DamagedError as error:
        return f"in the tracking store its record is unsound: {error.brief}"
    remove(store.path(run_id))  # a directory that is no record
    record.path.rename(store.path(run_id))
    store.close(run_id)
    return ""


def addresses(uri: str, found: list[Remote]) -> Mapping[str, str]:
    """Run id -> where a browser shows the run: on the server, or while ``benchmark ui`` runs."""
    parts = urlsplit(uri)
    served = parts.scheme in ("http", "https")
    host = parts.netloc.rpartition("@")[2]  # a page is passed on: it must hold no password
    base = f"{parts.scheme}://{host}{parts.path.rstrip('/')}" if served else LOCAL_UI
    return {
        one.run_id: f"{base}/#/experiments/{one.experiment_id}/runs/{one.run.id}" for one in found
    }
