"""What a list of runs shows of each record, kept so that every record is looked at only once.

A record whose files have the size, the times of change and the inodes that they had when they were
looked at is not looked at again; one that was not sound is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmark import metrics_file, seal, spec, table, yamlfile
from benchmark.files import replace_file
from benchmark.forks import on_all_cores
from benchmark.records import reader, record
from benchmark.records.reader import DamagedError, read_json
from benchmark.records.store import RunStore
from benchmark.spec import RunSpec

KEPT = ".glances.json"
FEW = 64
"""Records that are looked at sooner than other processes would have begun."""


@dataclass(frozen=True)
class Glance:
    """A sound record from afar.

    Attributes:
        spec: what was run.
        clean: the primary metric on the clean test; None without a test table.
        evaluated: whether it has a test table.
    """

    spec: RunSpec
    clean: float | None
    evaluated: bool


def glances(store: RunStore) -> tuple[list[Glance], Mapping[str, DamagedError]]:
    """Every sound record of a store, ordered by run id, and what is wrong with the others."""
    kept = _kept(store.root)
    now = {run_id: signature(store.path(run_id)) for run_id in store.directories()}
    known = {run_id: kept[run_id] for run_id in now if _is_same(kept.get(run_id), now[run_id])}
    new = [run_id for run_id in now if run_id not in known]
    fresh: dict[str, dict[str, Any]] = {}
    problems: dict[str, DamagedError] = {}
    for run_id, look in zip(new, on_all_cores(partial(_look, store), new, FEW), strict=True):
        if isinstance(look, DamagedError):
            problems[run_id] = look
        else:
            fresh[run_id] = {"files": now[run_id], **look}
    if fresh or len(known) < len(kept):
        _keep(store.root, known | fresh)
    facts = dict(sorted((known | fresh).items()))
    found = [
        Glance(RunSpec.from_dict(one["spec"]), one["clean"], one["evaluated"])
        for one in facts.values()
    ]
    return found, problems


def _look(store: RunStore, run_id: str) -> dict[str, Any] | DamagedError:
    """What is kept of a record, or what is wrong with it."""
    try:
        found = store.look(run_id)
    except DamagedError as error:
        return error
    facts = {"clean": found.clean, "evaluated": found.is_evaluated()}
    return {"spec": found.spec.as_dict(), **facts}


def _is_same(kept: Mapping[str, Any] | None, files: list[list[Any]]) -> bool:
    return kept is not None and kept["files"] == files


def signature(folder: Path) -> list[list[Any]]:
    """Of every file its name, size, times of change and inode; of what cannot be seen nothing."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, _stat(entry)) for entry in entries]
    except OSError:
        return []
    return sorted([name, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino] for name, s in found)


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    """Of the file that a link leads to; of the link, where it leads nowhere: it hides no others."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


@cache
def looked_by() -> str:
    """The hash of the code that finds a record sound."""
    code = hashlib.sha256()
    for module in (reader, record, metrics_file, seal, spec, table, yamlfile):
        code.update(Path(str(module.__file__)).read_bytes())
    return code.hexdigest()


def _kept(root: Path) -> dict[str, Any]:
    """What was kept, by this code; nothing where that cannot be believed."""
    with contextlib.suppress(DamagedError):
        values = read_json(root / KEPT)
        if values.get("code") == looked_by():
            return dict(values["runs"])
    return {}


def _keep(root: Path, runs: Mapping[str, Any]) -> None:
    values = seal.sealed({"code": looked_by(), "runs": dict(runs)})
    with contextlib.suppress(OSError):  # a folder that cannot be written to is looked at again
        replace_file(root / KEPT, json.dumps(values).encode())
