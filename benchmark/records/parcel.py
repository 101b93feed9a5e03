"""A run's files as bytes: how a record travels where no folder is shared."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from benchmark.files import replace_file
from benchmark.records.reader import ENVIRONMENT
from benchmark.records.store import RunStore

Parcel = Mapping[str, bytes]
"""``record/<file>`` and ``working/<file>`` of the run's working directory -> content."""

_RECORD, _WORKING = "record/", "working/"


def pack(store: RunStore, run_id: str) -> dict[str, bytes]:
    """What there is of a run: its record where it is trained, and its working directory."""
    record = store.path(run_id) if store.is_trained(run_id) else None
    return {
        place + path.name: path.read_bytes()
        for place, folder in ((_RECORD, record), (_WORKING, store.partial(run_id)))
        if folder and folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }


def news(parcel: Parcel, known: Mapping[str, str]) -> dict[str, bytes]:
    """What of a parcel is not known yet; a record of another training is all of it news.

    Args:
        parcel: of a run.
        known: what the other side has: name -> :func:`digests`.
    """
    found = digests(parcel)
    changed = {name for name, digest in found.items() if known.get(name) != digest}
    if _RECORD + ENVIRONMENT in changed:
        changed |= {name for name in parcel if name.startswith(_RECORD)}
    return {name: parcel[name] for name in parcel if name in changed}


def digests(parcel: Parcel) -> dict[str, str]:
    """Name -> SHA-256."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in parcel.items()}


def unpack(store: RunStore, run_id: str, parcel: Parcel) -> None:
    """Put a parcel's files in their places. The run's lock is held. Raises OSError."""
    record = {
        name.removeprefix(_RECORD): content
        for name, content in parcel.items()
        if name.startswith(_RECORD)
    }
    if record:
        store.adopt(run_id, record)
    working = store.partial(run_id)
    for name, content in parcel.items():
        if name.startswith(_WORKING):
            working.mkdir(parents=True, exist_ok=True)
            replace_file(working / name.removeprefix(_WORKING), content)
