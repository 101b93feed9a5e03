"""Which runs of a plan have all that is asked of them.

What was found complete is kept, so that a record is looked at again only where its files, the
question, the definitions or the code that looks have changed since.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from benchmark.execution.diagnose import lacking
from benchmark.files import replace_file
from benchmark.metrics_file import definitions
from benchmark.plan import Planned
from benchmark.records import DamagedError, RunStore
from benchmark.records.glance import looked_by, signature
from benchmark.records.reader import read_json
from benchmark.seal import hash_of, sealed
from benchmark.table import to_make

KEPT = ".complete.json"


def pending(plan: Sequence[Planned], store: RunStore) -> list[Planned]:
    """The runs whose record is absent or lacks some of the conditions, or a diagnostic."""
    kept, todo = _kept(store), []
    there, questions = set(store.directories()), _Questions()
    known = dict(kept)
    for planned in plan:
        run_id = planned.spec.run_id
        if run_id not in there:
            todo.append(planned)
            continue
        now = [hash_of({"files": signature(store.path(run_id))}), questions.digest(planned)]
        if kept.get(run_id) != now and not _covered(planned, store):
            known.pop(run_id, None)
            todo.append(planned)
        elif lacking(planned, store):
            todo.append(planned)
        else:
            known[run_id] = now
    if known != kept:
        values = sealed({"code": looked_by(), "runs": known})
        with contextlib.suppress(OSError):  # all is looked at again the next time
            replace_file(store.root / KEPT, json.dumps(values).encode())
    return todo


class _Questions:
    """What is asked of runs, by its hash; runs that are asked the same share their conditions."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int, str], str] = {}

    def digest(self, planned: Planned) -> str:
        task = planned.spec.task
        place = id(planned.conditions), id(planned.validation), task
        if place not in self._seen:
            asked = {
                "test": [astuple(c) for c in planned.conditions],
                "valid": [astuple(c) for c in planned.validation],
                "definitions": definitions(task),
            }
            self._seen[place] = hash_of(asked)
        return self._seen[place]


def _kept(store: RunStore) -> dict[str, Any]:
    with contextlib.suppress(DamagedError):
        values = read_json(store.root / KEPT)
        if values.get("code") == looked_by():
            return dict(values["runs"])
    return {}


def _covered(planned: Planned, store: RunStore) -> bool:
    if not store.has(planned.spec.run_id):
        return False
    record = store.record(planned.spec.run_id)
    try:
        record.look()
        if to_make(record.validation, planned.validation):
            return False
        return record.covers(planned.conditions) and record.metrics_are_current()
    except DamagedError:  # the run says what, and makes it anew
        return False
