"""``benchmark sync``: every record and plan into a tracking store; and a report beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.records import RunRecord, RunStore
from benchmark.spec import RunSpec
from benchmark.tracking.background import LONG_PATIENCE, Watch, patiently
from benchmark.tracking.connection import Connection, Say
from benchmark.tracking.mirror import Mirror, Outcome
from benchmark.tracking.mlflow_store import load
from benchmark.tracking.parents import PLAN_ID, Plan, kept_plans
from benchmark.tracking.tracked import Tracked, read


def silent(_: str) -> None:
    """Say nothing."""


@dataclass
class SyncReport:
    """What :func:`sync` did, in numbers of runs.

    Attributes:
        made: new in the store.
        updated: were incomplete, or of a record that has grown since.
        present: were there already.
        ended: runs and parents that were left under way.
        problems: why records could not be read or brought into the store.
    """

    made: int = 0
    updated: int = 0
    present: int = 0
    ended: int = 0
    problems: list[str] = field(default_factory=list)

    def count(self, outcome: Outcome) -> None:
        """One more run."""
        setattr(self, outcome, getattr(self, outcome) + 1)

    def __str__(self) -> str:
        text = f"{self.made} runs made, {self.updated} updated, {self.present} already there"
        text += f", {self.ended} left under way and ended" if self.ended else ""
        return text + (f", {len(self.problems)} with a problem" if self.problems else "")


def sync(
    store: RunStore,
    uri: str,
    experiment_of: Callable[[RunSpec], str] = lambda spec: spec.dataset,
    say: Say = silent,
) -> SyncReport:
    """Make a tracking store equal to every record and every plan, whatever it has already.

    Args:
        store: where the records are.
        uri: the tracking store; it may be empty or deleted.
        experiment_of: the experiment of a run that belongs to no tracked plan.
        say: told when a database is made.

    Raises:
        BenchmarkError: where the store cannot be reached or written to.
    """
    known, broken = kept_plans(store)
    report = SyncReport(problems=[*broken])
    by_experiment: dict[str, list[Path]] = {plan.experiment: [] for plan in known}
    survey = store.survey()
    report.problems += map(str, survey.problems.values())
    for record in survey.records:
        places = {plan.experiment for plan in known if plan.has(record.run_id)}
        if broken and not places:  # it may be of one of them, in another experiment
            report.problems.append(f"run {record.run_id}: waits for the plans above")
            continue
        for experiment in places or {experiment_of(record.spec)}:
            by_experiment.setdefault(experiment, []).append(record.path)
    del survey  # a record is read when its turn comes, and not kept: there may be many
    load()

    def work(watch: Watch) -> None:
        for experiment, paths in by_experiment.items():
            items = readable(map(RunRecord, paths), report)
            mirror = Mirror(connect(uri, experiment, store, say, watch), store)
            here = [plan for plan in known if plan.experiment == experiment]
            mirror_all(mirror, items, here, report)

    patiently(uri, work, LONG_PATIENCE)
    return report


def attach(
    store: RunStore, uri: str, wanted: Sequence[Plan], folders: Mapping[str, Sequence[Path]]
) -> Plan | None:
    """Put a report beside its runs: on the parent of the first plan that the store has.

    Args:
        store: where the records are.
        uri: the tracking store.
        wanted: plans; the first that the store has a parent of counts.
        folders: folder among the artifacts -> files. What is in :data:`SHOWN_FOLDER` is shown in
            the parent's description.

    Returns:
        The plan; None where the store has none of them.

    Raises:
        BenchmarkError: where the store fails.
    """
    load()

    def work(watch: Watch) -> Plan | None:
        for plan in wanted:
            connection = connect(uri, plan.experiment, store, silent, watch)
            parent = connection.find(PLAN_ID, plan.plan_id)
            if parent is not None:
                for folder, files in folders.items():
                    connection.upload(parent, files, folder, anew=True)
                Mirror(connection, store).plan(plan)
                return plan
        return None

    return patiently(uri, work)


def readable(records: Iterable[RunRecord], report: SyncReport) -> Iterator[Tracked]:
    """What tracking shows of records; the report names those that cannot be read."""
    for record in records:
        try:
            yield read(record)
        except BenchmarkError as error:
            report.problems.append(str(error))


def mirror_all(
    mirror: Mirror, items: Iterable[Tracked], known: Iterable[Plan], report: SyncReport
) -> None:
    """Bring records and plans into the store; what one has wrong does not stop the others."""
    mirror.look()
    for tracked in items:
        try:
            report.count(mirror.record(tracked))
        except BenchmarkError as error:
            mirror.look()  # raises where the store itself fails
            report.problems.append(f"run {tracked.spec.run_id}: {error}")
    for plan in known:
        try:
            report.ended += mirror.plan(plan)
        except BenchmarkError as error:
            mirror.look()
            report.problems.append(f"the plan {plan.title}: {error}")


def connect(
    uri: str, experiment: str, store: RunStore, say: Say, watch: Watch | None = None
) -> Connection:
    """A connection whose lock is beside the store's file, or else beside the records."""
    return Connection(uri, experiment, store.root / ".locks", say, watch)
