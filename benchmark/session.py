"""One ``benchmark run``: the plan against the records, the execution, the tracker, the summary."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.estimate import estimate_seconds
from benchmark.events import Event
from benchmark.executor import Execution, run_plan
from benchmark.metrics import PRIMARY
from benchmark.plan import PlanConfig, plan_conditions, plan_id, plan_runs, plan_title
from benchmark.progress import Display
from benchmark.records import RunRecord, RunStore
from benchmark.spec import RunSpec
from benchmark.tracking import Tracker, default_uri


class Session:
    """A planned request. Building it validates everything that can be known beforehand."""

    def __init__(self, request: PlanConfig, how: Execution) -> None:
        self.request, self.how = request, how
        self.console = Console(highlight=False)
        self.store = RunStore(how.runs_dir)
        dataset = load_dataset(request.dataset, how.data_dir)
        self.dataset = dataset
        self.specs = plan_runs(request, dataset)
        self.conditions = plan_conditions(request, dataset)
        self.check_missing_rule()

    def check_missing_rule(self) -> None:
        """Refuse a missing rule that the data set has too few modalities for."""
        present = self.dataset.spec.present
        for spec in self.specs:
            uses = spec.regime.kind in ("spectrum", "missing")
            if uses and spec.regime.missing_rule == "imder_batch" and len(present) < 3:
                raise BenchmarkError(
                    "the missing rule imder_batch is defined for three modalities, but "
                    f"{self.dataset.name} has {', '.join(present)}: "
                    "use --set regime.missing_rule=bernoulli or at_least_one"
                )

    def pending(self) -> list[RunSpec]:
        """The runs whose record is absent or lacks some of the conditions."""
        return [spec for spec in self.specs if not self._covered(spec)]

    def _covered(self, spec: RunSpec) -> bool:
        if not self.store.has(spec.run_id):
            return False
        record = self.store.record(spec.run_id)
        return record.table.covers(self.conditions) and record.metrics_are_current()

    def show_plan(self) -> None:
        """Print the plan and how long it should take."""
        pending = {spec.run_id for spec in self.pending()}
        table = Table(title=self._headline(len(pending)), title_justify="left")
        for column in ("run", "model", "preset", "regime", "seed", "state", "estimate"):
            table.add_column(column)
        seconds = 0.0
        for spec in self.specs:
            todo = spec.run_id in pending
            cost = estimate_seconds(spec, self.dataset, self.conditions, self.how) if todo else 0.0
            seconds += cost
            table.add_row(
                spec.run_id,
                spec.model,
                spec.preset,
                spec.regime.name,
                str(spec.seed),
                "to do" if todo else "done",
                f"{cost:.0f} s" if todo else "",
            )
        self.console.print(table)
        workers = max(1, min(self.how.workers, len(pending)))
        self.console.print(
            f"about {seconds / workers / 60:.1f} minutes with {workers} at a time on "
            f"{self.how.device}, timed just now on a few batches of each model"
        )

    def carry_out(self, tracking_uri: str | None, experiment: str | None) -> bool:
        """Do what is pending, track it, print the summary. False where a run failed."""
        self.store.prepare()
        pending = self.pending()
        self.console.print(self._headline(len(pending)))
        tracker = self._tracker(tracking_uri, experiment)
        if tracker and pending:
            tracker.open_plan(plan_id(self.specs), plan_title(self.specs), self.specs)
        try:
            results = self._execute(pending, tracker)
        finally:
            if tracker and pending:
                tracker.close_plan()
        failed = [spec for spec in pending if results.get(spec.run_id) == "failed"]
        self._summarise(failed)
        if failed:
            self.store.prepare()  # where the disk is full, that is the error to tell
        return not failed

    def _execute(self, pending: Sequence[RunSpec], tracker: Tracker | None) -> dict[str, str]:
        by_id = {spec.run_id: spec for spec in pending}
        with Display(pending, self.console) as display:

            def listen(event: Event) -> None:
                display.handle(event)
                if tracker:
                    tracker.handle(by_id[event.run_id], event)

            return dict(run_plan(pending, self.conditions, self.how, listen))

    def _tracker(self, uri: str | None, experiment: str | None) -> Tracker | None:
        if uri == "none":
            return None
        return Tracker(
            uri or default_uri(self.how.runs_dir),
            experiment or self.dataset.name,
            self.store,
            warn=lambda message: self.console.print(message, style="yellow", markup=False),
            say=lambda message: self.console.print(message, style="dim", markup=False),
        )

    def _headline(self, pending: int) -> str:
        return (
            f"{len(self.specs)} runs on {self.dataset.name}, {pending} to do; "
            f"protocol {self.request.protocol}: {len(self.conditions)} conditions of "
            f"{len(self.dataset.splits['test'])} test samples each"
        )

    def _records(self) -> list[RunRecord]:
        return [
            self.store.record(spec.run_id) for spec in self.specs if self.store.has(spec.run_id)
        ]

    def _summarise(self, failed: Sequence[RunSpec]) -> None:
        metric = PRIMARY[self.dataset.spec.task]
        kind = "synthetic data" if self.dataset.synthetic else self.dataset.name
        table = Table(title=f"Test {metric.upper()} on {kind}, mean ± std over seeds")
        columns = {"clean": "clean", "III": "Protocol III", "grid": "grid mean"}
        for column in ("model", "regime", "seeds", *columns.values()):
            table.add_column(column)
        systems: dict[tuple[str, str], list[RunRecord]] = {}
        for record in self._records():
            key = (record.spec.model, record.spec.regime.name)
            systems.setdefault(key, []).append(record)
        for (model, regime), records in systems.items():
            cells = [_cell(records, protocol, metric) for protocol in columns]
            table.add_row(model, regime, str(len(records)), *cells)
        if systems:
            self.console.print(table)
        for spec in failed:
            self.console.print(
                f"FAILED {spec.title}: see {self.store.partial(spec.run_id) / 'error.txt'}",
                style="red",
                markup=False,
            )
        self.console.print(
            f"records: {self.how.runs_dir}   next: benchmark report --runs-dir {self.how.runs_dir}"
            f"   benchmark ui --runs-dir {self.how.runs_dir}",
            markup=False,
            soft_wrap=True,
        )


def _cell(records: Sequence[RunRecord], protocol: str, metric: str) -> str:
    values = []
    for record in records:
        rows = record.metrics[record.metrics["protocol"] == protocol]
        if len(rows):
            values.append(float(rows[metric].mean()))
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"
