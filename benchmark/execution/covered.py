"""Which runs of a plan have all that is asked of them, as :mod:`benchmark.records.glance` keeps it:
a record is looked at again only where its files, the question, the definitions or the code that
looks have changed since."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmark.execution.diagnose import lacking
from benchmark.metrics_file import definitions
from benchmark.plan import Planned
from benchmark.records import RunRecord, RunStore
from benchmark.records.glance import Asked, Glance, glances
from benchmark.seal import hash_of
from benchmark.table import to_make


def looked_at(plan: Sequence[Planned], store: RunStore) -> list[Glance]:
    """The sound records of a plan, ordered by run id."""
    return glances(store, _asked(plan))[0]


def pending(plan: Sequence[Planned], found: Sequence[Glance], store: RunStore) -> list[Planned]:
    """The runs whose record is absent or lacks some of the conditions, or a diagnostic.

    What is wrong with an unsound one is said by the run, which makes it anew.

    Args:
        plan: the runs.
        found: what :func:`looked_at` found of them.
        store: the records.
    """
    asked, has = _asked(plan), {glance.spec.run_id: glance.has for glance in found}
    covered = {run_id for run_id, names in has.items() if asked[run_id].name in names}
    return [p for p in plan if p.spec.run_id not in covered or lacking(p, store)]


def _asked(plan: Sequence[Planned]) -> dict[str, Asked]:
    """Run id -> what is asked of it; most runs of a plan share their conditions, hashed once."""
    names: dict[tuple[int, int, str], str] = {}
    found = {}
    for planned in plan:
        task = planned.spec.task
        place = id(planned.conditions), id(planned.validation), task
        if place not in names:
            rows = {"test": planned.conditions, "valid": planned.validation}
            names[place] = hash_of({**rows, "definitions": definitions(task)})
        found[planned.spec.run_id] = Asked(names[place], partial(_covered, planned))
    return found


def _covered(planned: Planned, record: RunRecord) -> bool:
    if not record.is_evaluated() or to_make(record.validation, planned.validation):
        return False
    return record.covers(planned.conditions) and record.metrics_are_current()
