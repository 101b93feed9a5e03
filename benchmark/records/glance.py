"""What lists and summaries show of each record, kept so that every record is looked at only once.

A record whose files have the size, the times of change and the inodes that they had when they were
looked at is not looked at again; one that was not sound, or lacked what is asked of it, is.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from benchmark import metrics_file, questions, readouts, seal, spec, table, yamlfile
from benchmark.files import replace_file
from benchmark.forks import on_all_cores
from benchmark.metrics import PRIMARY
from benchmark.questions import Headline, Question, overview, question_of
from benchmark.readouts import headline_value
from benchmark.records import reader, record
from benchmark.records.reader import DamagedError, read_json
from benchmark.records.record import RunRecord
from benchmark.records.store import RunStore
from benchmark.spec import RunSpec

KEPT = ".glances.json"
_FEW = 64
"""Records that are looked at sooner than other processes would have begun."""


@dataclass(frozen=True)
class Asked:
    """Something that a record has or lacks.

    Attributes:
        name: another one for everything else that may be asked.
        answered: whether a sound record has it.
    """

    name: str
    answered: Callable[[RunRecord], bool]


@dataclass(frozen=True)
class Glance:
    """A sound record from afar.

    Attributes:
        spec: what was run.
        headlines: the first question of each number that sums it up, and that number, in the
            primary metric; NaN where undefined. Empty without a test table.
        has: the names of what it was asked for and has.
    """

    spec: RunSpec
    headlines: Mapping[Question, float]
    has: frozenset[str]

    @property
    def clean(self) -> float | None:
        """The primary metric on the clean test; None without a test table."""
        return next((v for q, v in self.headlines.items() if q.protocol == "clean"), None)

    def value(self, headline: Headline) -> float | None:
        """Its number of a headline of several records; None where it was not asked."""
        return next((self.headlines[q] for q in headline.questions if q in self.headlines), None)


def headlines(found: Iterable[Glance]) -> list[Headline]:
    """What sums up several records, by one question each: see :meth:`Glance.value`."""
    return overview({question for glance in found for question in glance.headlines})


def glances(
    store: RunStore, asked: Mapping[str, Asked] | None = None
) -> tuple[list[Glance], Mapping[str, DamagedError]]:
    """Every sound record of a store, ordered by run id, and what is wrong with the others.

    Args:
        store: the records.
        asked: run id -> what it is asked for; only these runs are looked at, where given.
    """
    kept = _kept(store.root)
    there = store.directories()
    asks = dict.fromkeys(there) if asked is None else asked
    wanted = dict.fromkeys(run_id for run_id in there if run_id in asks)
    known = {i: kept[i] for i in wanted if _suffices(store, i, kept.get(i), asks[i])}
    new = [run_id for run_id in wanted if run_id not in known]
    problems: dict[str, DamagedError] = {}
    found = on_all_cores(lambda run_id: _look(store, run_id, asks[run_id]), new, _FEW)
    for run_id, look in zip(new, found, strict=True):
        if isinstance(look, DamagedError):
            problems[run_id] = look
        else:
            same = kept.get(run_id, {}).get("files") == look["files"]
            has = {*look["has"], *(kept[run_id]["has"] if same else ())}
            known[run_id] = {**look, "has": sorted(has)}
    others = {} if asked is None else {i: one for i, one in kept.items() if i not in wanted}
    if (seen := others | known) != kept:
        _keep(store.root, seen)
    return [_glance(known[run_id]) for run_id in sorted(known)], problems


def _glance(facts: Mapping[str, Any]) -> Glance:
    numbers = {question_of(tuple(q)): math.nan if v is None else v for q, v in facts["headlines"]}
    return Glance(RunSpec.from_dict(facts["spec"]), numbers, frozenset(facts["has"]))


def _look(store: RunStore, run_id: str, asked: Asked | None) -> dict[str, Any] | DamagedError:
    """What is kept of a record, or what is wrong with it."""
    files = signature(store.path(run_id))  # before it is read: what changes then is seen next time
    try:
        found = store.look(run_id, tables=asked is not None)
        has = [asked.name] if asked and asked.answered(found) else []
        numbers = _sums(found) if found.is_evaluated() else []
    except DamagedError as error:
        return error
    return {"files": files, "spec": found.spec.as_dict(), "headlines": numbers, "has": has}


def _sums(found: RunRecord) -> list[tuple[Question, float | None]]:
    answers = found.answers(PRIMARY[found.spec.task])
    numbers = [(h.questions[0], headline_value(answers, h)) for h in _overview(tuple(answers))]
    return [(q, None if v is None or math.isnan(v) else v) for q, v in numbers]


_overview = lru_cache(maxsize=8)(overview)


def _suffices(
    store: RunStore, run_id: str, kept: Mapping[str, Any] | None, asked: Asked | None
) -> bool:
    if kept is None or kept["files"] != signature(store.path(run_id)):
        return False
    return asked is None or asked.name in kept["has"]


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
    for module in (reader, record, metrics_file, questions, readouts, seal, spec, table, yamlfile):
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
    text = seal.sealed_json({"code": looked_by(), "runs": dict(runs)})
    with contextlib.suppress(OSError):  # a folder that cannot be written to is looked at again
        replace_file(root / KEPT, text.encode())
