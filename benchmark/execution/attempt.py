"""One run, whatever happens in it: what a model raises is its run's failure and no more."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable

from benchmark.data.dataset import Dataset
from benchmark.execution.diagnose import diagnose, watcher_of
from benchmark.execution.events import Event, Listener
from benchmark.execution.execute import Outcome, execute
from benchmark.files import replace_file
from benchmark.hygiene import one_line, printable
from benchmark.plan import Planned
from benchmark.records import ERROR, RunStore
from benchmark.spec import RunSpec


def attempt(
    planned: Planned,
    load: Callable[[], Dataset],
    store: RunStore,
    listen: Listener,
    wait_for_others: bool,
) -> Outcome:
    """Do one run; a failure is written down beside the run and told, not raised.

    What a model raises is its run's failure, ``SystemExit`` and ``KeyboardInterrupt`` too: no
    interrupt of the user's comes to a worker.
    """
    spec = planned.spec
    try:
        dataset = load()
        watcher = watcher_of(planned, dataset)
        rows = planned.conditions, planned.validation
        outcome = execute(spec, dataset, rows[0], store, listen, wait_for_others, rows[1], watcher)
        if outcome in ("done", "kept") and diagnose(planned, dataset, store, listen, watcher):
            return "done"
        return outcome
    except BaseException as error:  # noqa: BLE001 — whatever a model raises must not end the plan
        message = f"{type(error).__name__}: {one_line(error)}"
        write_down(spec, store, f"{traceback.format_exc()}\n{message}", message, listen)
        return "failed"


def write_down(spec: RunSpec, store: RunStore, text: str, message: str, listen: Listener) -> None:
    """Leave ``error.txt`` beside a failed run, its last line the message; and tell of it."""
    folder = store.partial(spec.run_id)
    with contextlib.suppress(OSError):  # a full disk: the event below still tells
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / ERROR, printable(text).encode())
    listen(Event(spec.run_id, "failed", message=message))
