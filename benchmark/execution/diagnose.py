"""Make the diagnostics that a plan asks for, once a run's record is there."""

from __future__ import annotations

from benchmark.data.dataset import Dataset
from benchmark.diagnostics.kept import Diagnosis, path_of, read, write
from benchmark.diagnostics.reliability import given_scores
from benchmark.diagnostics.selection import Watcher
from benchmark.errors import BenchmarkError
from benchmark.execution.events import Event, Listener
from benchmark.execution.execute import load_model, make_model
from benchmark.hygiene import one_line
from benchmark.plan import Planned
from benchmark.records import RunStore
from benchmark.spec import RunSpec
from benchmark.train import Callbacks, Watch, fit, unwatched


def watcher_of(planned: Planned, dataset: Dataset) -> Watch:
    """What watches the run's training, should it be trained now."""
    return Watcher(dataset.splits["test"]) if "selection" in planned.diagnose else unwatched


def lacking(planned: Planned, store: RunStore) -> list[Diagnosis]:
    """The diagnostics that a run was to have and has not, or not whole."""
    found = []
    for diagnosis in planned.diagnose:
        try:
            if read(path_of(store.root, planned.spec.run_id, diagnosis)) is None:
                found.append(diagnosis)
        except BenchmarkError:
            found.append(diagnosis)
    return found


def diagnose(
    planned: Planned, dataset: Dataset, store: RunStore, listen: Listener, watch: Watch
) -> bool:
    """Make the diagnostics that are lacking; whether there were any.

    Args:
        planned: the run, whose record is complete.
        dataset: its data, on the device.
        store: where records are.
        listen: told what is made.
        watch: what watched the training, where it was trained just now.
    """
    todo = lacking(planned, store)
    with store.lock(planned.spec.run_id).acquire():
        if "selection" in todo:
            _trace_selection(planned.spec, dataset, store, listen, watch)
        if "reliability" in todo:
            _give_scores(planned.spec, dataset, store, listen)
    return bool(todo)


def _give_scores(spec: RunSpec, dataset: Dataset, store: RunStore, listen: Listener) -> None:
    """Keep what the checkpoint predicts with given reliability scores, where its model has any."""
    record = store.record(spec.run_id)
    listen(Event(spec.run_id, "note", message="asked again, with given reliability scores"))
    model = load_model(record, spec, dataset)
    arrays = given_scores(model, dataset, tuple(record.table.index.rows))
    write(path_of(store.root, spec.run_id, "reliability"), spec.run_id, arrays)


def _trace_selection(
    spec: RunSpec, dataset: Dataset, store: RunStore, listen: Listener, watch: Watch
) -> None:
    """Keep the test predictions of every epoch: those that were watched, or of a second training.

    A training that was watched from its first epoch is the record's own. Else the same is trained
    once more, for its trace alone; the record stays as it is.
    """
    history = store.record(spec.run_id).history
    if not (isinstance(watch, Watcher) and watch.saw(spec.trainer.epochs)):
        message = "trained once more, to see the test predictions of every epoch"
        listen(Event(spec.run_id, "note", message=one_line(message)))
        watch = Watcher(dataset.splits["test"])
        silent = Callbacks(lambda *_: None, lambda *_: None, lambda _: None, watch)
        again = fit(
            lambda: make_model(spec, dataset),
            dataset.training_data(),
            spec.trainer,
            spec.regime,
            spec.seed,
            silent,
        )
        history = again.history
    watch.save(store.root, spec.run_id, history)
