"""Which runs of a plan have all that is asked of them.

What was found complete is kept, so that a record is looked at again only where its files, the
question, the definitions or the code that looks have changed since.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.execution.diagnose import lacking
from benchmark.files import replace_file
from benchmark.forks import on_all_cores
from benchmark.metrics_file import definitions
from benchmark.plan import Planned
from benchmark.records import DamagedError, RunStore
from benchmark.records.glance import FEW, looked_by, signature
from benchmark.records.reader import read_json
from benchmark.seal import hash_of, sealed
from benchmark.table import to_make

KEPT = ".complete.json"


def pending(plan: Sequence[Planned], store: RunStore) -> list[Planned]:
    """The runs whose record is absent or lacks some of the conditions, or a diagnostic."""
    kept, questions, there = _kept(store), _Questions(), set(store.directories())
    made = [planned for planned in plan if planned.spec.run_id in there]
    states = {planned.spec.run_id: _state(planned, store, questions) for planned in made}
    new = [planned for planned in made if not _is_known(planned, kept, states)]
    covered = on_all_cores(lambda planned: _covered(planned, store), new, FEW)
    complete = [planned for planned, is_covered in zip(new, covered, strict=True) if is_covered]
    known = kept | {(run_id := p.spec.run_id): states[run_id] for p in complete}
    if known != kept:
        _keep(store, known)
    return [p for p in plan if not _is_known(p, known, states) or lacking(p, store)]


def _is_known(
    planned: Planned, known: Mapping[str, list[str]], states: Mapping[str, list[str]]
) -> bool:
    """Whether a record's files and what is asked of it are those that were found complete."""
    run_id = planned.spec.run_id
    return run_id in states and known.get(run_id) == states[run_id]


def remember(done: Sequence[Planned], store: RunStore) -> None:
    """Keep that these runs have just been given all that was asked of them."""
    questions = _Questions()
    _keep(store, _kept(store) | {p.spec.run_id: _state(p, store, questions) for p in done})


def _state(planned: Planned, store: RunStore, questions: _Questions) -> list[str]:
    """The files of a record and what is asked of it, by their hashes."""
    files = signature(store.path(planned.spec.run_id))
    return [hash_of({"files": files}), questions.digest(planned)]


def _keep(store: RunStore, known: Mapping[str, Any]) -> None:
    values = sealed({"code": looked_by(), "runs": dict(known)})
    with contextlib.suppress(OSError):  # all is looked at again the next time
        replace_file(store.root / KEPT, json.dumps(values).encode())


class _Questions:
    """What is asked of runs, by its hash; runs that are asked the same share their conditions."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int, str], str] = {}

    def digest(self, planned: Planned) -> str:
        task = planned.spec.task
        place = id(planned.conditions), id(planned.validation), task
        if place not in self._seen:
            asked = {
                "test": planned.conditions,
                "valid": planned.validation,
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
        record.look(keep_tables=True)
        if to_make(record.validation, planned.validation):
            return False
        return record.covers(planned.conditions) and record.metrics_are_current()
    except DamagedError:  # the run says what, and makes it anew
        return False
