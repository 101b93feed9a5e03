"""Whether anything has changed since a plan and the SQLite store beside its runs were made equal.

Looked at are sizes, times of change and inodes of the database, of the artifacts and of the plan's
records, as nothing else decides what a repair would find. It spares a plan with nothing to do the
import of MLflow.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.files import replace_file
from benchmark.records import DamagedError, RunStore
from benchmark.records.reader import read_json
from benchmark.seal import sealed_json
from benchmark.tracking.parents import Plan
from benchmark.tracking.place import ARTIFACTS, sqlite_path

KEPT = ".tracked.json"


def is_current(store: RunStore, uri: str, plan: Plan) -> bool:
    """Whether all is as it was when :func:`remember` was last told of this plan and store."""
    state = _state(store, uri, plan)
    return state is not None and _kept(store).get(_name(uri, plan)) == state


def remember(store: RunStore, uri: str, plan: Plan) -> None:
    """Keep that the store has all of a plan."""
    if (state := _state(store, uri, plan)) is not None:
        content = sealed_json({**_kept(store), _name(uri, plan): state}).encode()
        with contextlib.suppress(OSError):  # the next time does the work again
            replace_file(store.root / KEPT, content)


def _name(uri: str, plan: Plan) -> str:
    return f"{plan.plan_id} {plan.title} {plan.experiment} {uri}"


def _kept(store: RunStore) -> dict[str, Any]:
    try:
        return read_json(store.root / KEPT)
    except DamagedError:
        return {}


def _state(store: RunStore, uri: str, plan: Plan) -> str | None:
    """A hash of what decides; None where the store is no database of this machine."""
    database = sqlite_path(uri)
    if database is None or not database.is_file():
        return None
    places = [database, database.parent / ARTIFACTS, *map(store.path, plan.run_ids)]
    state = hashlib.sha256()
    try:
        for place in places:
            for path in _files(place):
                found = path.stat()
                facts = found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
                state.update(f"{path} {facts}\n".encode(errors="surrogateescape"))
    except OSError:  # it changes just now
        return None
    return state.hexdigest()


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
    for folder, folders, names in os.walk(place):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))
