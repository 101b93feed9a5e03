"""Track a plan while it runs: live curves in MLflow, from the events of its runs.

The parent process of a plan tracks, in a thread; its workers only send events. An epoch is a small
append of its own, everything else is :mod:`benchmark.tracking.mirror`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmark.execution.events import Event
from benchmark.records import RunStore
from benchmark.spec import RunSpec
from benchmark.tracking.background import Background, Watch, no_answer
from benchmark.tracking.connection import Say
from benchmark.tracking.mirror import Mirror, now
from benchmark.tracking.mlflow_store import load
from benchmark.tracking.parents import Plan
from benchmark.tracking.place import check_uri, failing, reason
from benchmark.tracking.stored import StoredRun
from benchmark.tracking.sync import SyncReport, connect, mirror_all, readable, silent
from benchmark.tracking.tracked import LEARNING_RATE, curve_values, read


class Tracker:
    """Tracks one plan as it runs.

    No method waits for the store or raises where it fails, except that :meth:`close` waits
    :data:`benchmark.tracking.background.PATIENCE` seconds at most for an answer: the first failure
    is told in one line, and the records fill in what the store missed at a run's end, at the
    plan's, or by :func:`benchmark.tracking.mirror.sync`.
    """

    def __init__(
        self, uri: str, experiment: str, store: RunStore, warn: Say = silent, say: Say = silent
    ) -> None:
        """Nothing is contacted yet.

        Args:
            uri: the tracking store; :func:`benchmark.tracking.place.default_uri` by default.
            experiment: the experiment's name; by convention that of the data set.
            store: where the records are.
            warn: told once when tracking falls behind.
            say: told when something takes long, and at the end how long it was waited for.

        Raises:
            BenchmarkError: where the address is none.
        """
        check_uri(uri)
        self.uri, self.experiment, self.store = uri, experiment, store
        self._warn, self._say = warn, say
        self._background: Background | None = None
        self._mirror: Mirror | None = None  # like what follows, of the background thread
        self._live: dict[str, tuple[StoredRun, set[int]]] = {}  # a child, the steps that it has
        self._failures: dict[str, tuple[RunSpec, str]] = {}  # those that are not in the store yet
        self._told = False
        self.behind = False
        """Whether the store misses something that happened."""

    def open(self, plan: Plan) -> None:
        """Make or find the parent run of a plan, which is under way from now on."""
        self._plan = plan.save(self.store)
        load()
        self._background = Background(self._failed)
        self._do(lambda mirror: mirror.connection.begin(mirror.parent(self._plan)))

    def add(self, run_id: str, title: str) -> None:
        """The plan, a search, has one more run."""
        self._plan.add(self.store, run_id, title)
        self._do(lambda mirror: mirror.add(self._plan, run_id, title))

    def grown(self, plan: Plan) -> None:
        """The plan with all its runs and their results."""
        self._plan = plan.save(self.store)
        self._do(lambda mirror: mirror.read_plans(self._plan))

    def handle(self, spec: RunSpec, event: Event) -> None:
        """Track what a run says."""
        actions: dict[str, Callable[[Mirror], object]] = {
            "started": lambda mirror: self._start(mirror, spec),
            "epoch": lambda mirror: self._add_epoch(mirror, spec, event),
            "finished": lambda mirror: self._finish(mirror, spec),
            "failed": lambda mirror: self._fail(mirror, spec, event.message),
        }
        if event.kind == "failed":
            self._failures[spec.run_id] = spec, event.message
        if event.kind in actions:
            self._do(actions[event.kind])

    def close(self) -> None:
        """Make the store equal to the records of the plan, and say how long that was waited for."""
        if self._background is None:
            return
        self._do(self._mirror_plan)
        begun = time.monotonic()
        if not self._background.finish():
            self._tell(failing(self.uri, no_answer()))
        caught_up = "" if self.behind else "; it has caught up" if self._told else ""
        waited = f"{time.monotonic() - begun:.1f} s"
        self._say(f"tracking {self.experiment}: longest wait {waited}{caught_up}")
        self._background = None

    def _do(self, action: Callable[[Mirror], object]) -> None:
        """Do something with the store later on."""

        def job(watch: Watch) -> None:
            if self._mirror is None:
                where = self.uri, self.experiment, self.store
                self._mirror = Mirror(connect(*where, self._say, watch), self.store, self._plan)
            action(self._mirror)

        assert self._background is not None, "the tracker is not open"
        self._background.do(job)

    def _failed(self, error: Exception) -> None:
        self._mirror = None  # it may come back as another store
        self._live.clear()
        self._tell(reason(self.uri, error))

    def _tell(self, why: str) -> None:
        self.behind = True
        if not self._told:
            self._told = True
            self._warn(
                f"tracking is behind: {why}. Runs go on and their records are kept; "
                "`benchmark sync` catches up."
            )

    def _start(self, mirror: Mirror, spec: RunSpec) -> None:
        run, _ = mirror.child(spec, now())
        mirror.connection.begin(run)
        self._live[spec.run_id] = run, mirror.connection.steps(run, LEARNING_RATE)

    def _add_epoch(self, mirror: Mirror, spec: RunSpec, event: Event) -> None:
        """One point of each curve; the record has what the store missed of them."""
        if spec.run_id not in self._live:  # the store failed since
            self._start(mirror, spec)
        run, steps = self._live[spec.run_id]
        step, at = int(event.done), now()
        if step not in steps:  # else it is done again, after a kill
            values = curve_values(event.values)
            mirror.connection.log(run, points=[(k, v, at, step) for k, v in values.items()])
            steps.add(step)

    def _finish(self, mirror: Mirror, spec: RunSpec) -> None:
        self._live.pop(spec.run_id, None)
        mirror.record(read(self.store.trained(spec.run_id)))

    def _fail(self, mirror: Mirror, spec: RunSpec, message: str) -> None:
        mirror.child(spec, now())
        mirror.unfinished(spec.run_id, message)
        del self._failures[spec.run_id]

    def _mirror_plan(self, mirror: Mirror) -> None:
        for spec, message in list(self._failures.values()):
            self._fail(mirror, spec, message)
        report = SyncReport()
        run_ids = [run_id for run_id in self._plan.run_ids if self.store.is_trained(run_id)]
        records = (self.store.trained(run_id) for run_id in run_ids)
        mirror_all(mirror, readable(records, report), [self._plan], report)
        self.behind = bool(report.problems)
        for problem in report.problems:
            self._tell(problem)
