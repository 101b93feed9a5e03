"""One ``benchmark run``: the plan against the records, the execution, the tracker, the summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from benchmark.data import cards
from benchmark.data.registry import load_dataset
from benchmark.diagnostics.kept import Diagnosis
from benchmark.execution.covered import looked_at, pending
from benchmark.execution.dear import affordable
from benchmark.execution.estimate import estimates, in_words
from benchmark.execution.events import Event
from benchmark.execution.executor import Execution, forecast, run_plan
from benchmark.execution.processes import prepare
from benchmark.execution.progress import Display
from benchmark.execution.timeleft import Cost
from benchmark.hygiene import terminal
from benchmark.metrics import PRIMARY
from benchmark.plan import (
    PlanConfig,
    Planned,
    check_missing_rule,
    make_plan,
    plan_id,
    plan_objective,
    plan_title,
)
from benchmark.readouts import spread
from benchmark.records import RunStore
from benchmark.records.glance import Glance, headlines
from benchmark.screen import Column, Rows, of_runs, say_next
from benchmark.search.objective import Objective
from benchmark.spec import RunSpec
from benchmark.systems import Name, run_titles, systems
from benchmark.tracking import stamp
from benchmark.tracking.live import Tracker
from benchmark.tracking.parents import Plan
from benchmark.tracking.place import default_uri
from protocols.availability import MASK_COUNT, subsets
from protocols.modalities import MODALITIES

TIMING_SECONDS = 5.0
"""Beyond these only one system of each model is timed before a plan begins."""
_SUMMED_UP = ("clean", "III", "grid")
"""What of the overview fits a terminal's width."""


class Session:
    """A planned request. Building it validates everything that can be known beforehand."""

    def __init__(
        self, request: PlanConfig, how: Execution, diagnose: tuple[Diagnosis, ...] = ()
    ) -> None:
        self.request, self.how = request, how
        self.console = terminal(highlight=False)
        self.store = RunStore(how.runs_dir)
        dataset = load_dataset(request.dataset, how.data_dir)
        self.dataset = dataset
        self.plan, self.left_out = affordable(make_plan(request, dataset), request, how)
        self.plan = [replace(planned, diagnose=diagnose) for planned in self.plan]
        check_missing_rule(self.specs, dataset)

    @property
    def specs(self) -> list[RunSpec]:
        """The runs of the plan."""
        return [planned.spec for planned in self.plan]

    def pending(self, found: Sequence[Glance]) -> list[Planned]:
        """The runs whose record is absent or lacks some of the conditions, or a diagnostic."""
        return pending(self.plan, found, self.store)

    def show_plan(self) -> None:
        """Print the plan, how many of its runs are missing, and how long they should take."""
        pending = self.pending(looked_at(self.plan, self.store))
        missing = {planned.spec.run_id for planned in pending}
        table = Rows(
            *("model", "training"),
            Column("seeds", spare=1),
            *(Column("conditions", number=True, spare=2), Column("done", number=True, spare=3)),
            *(Column("to do", number=True), Column("estimate", number=True)),
            title=self._headline(len(pending)),
        )
        expected = forecast(pending, self.how)
        costs = self._of_what_is_left(pending, expected.costs)
        for name, members in self._systems().items():
            todo = [planned for planned in members if planned.spec.run_id in missing]
            known = [costs[i].seconds for p in todo if (i := p.spec.run_id) in costs]
            table.add(
                name.model,
                name.training,
                ", ".join(str(planned.spec.seed) for planned in members),
                str(max(len(planned.conditions) for planned in members)),
                str(len(members) - len(todo)),
                str(len(todo)),
                in_words(sum(known)) if known else "unknown" if todo else "",
            )
        self.console.print(table)
        self._say_left_out()
        workers = max(1, min(expected.at_a_time, len(pending)))
        seconds = sum(cost.seconds for cost in costs.values()) / workers
        self.console.print(
            f"{len(pending)} of {len(self.plan)} runs are missing: about "
            f"{in_words(seconds)} with {workers} at a time on "
            f"{expected.where}, timed just now on a few batches of each model; "
            "other work on the machine comes on top"
        )

    def _say_left_out(self) -> None:
        for line in self.left_out:
            self.console.print(line, style="yellow", markup=False)

    def _systems(self) -> dict[Name, list[Planned]]:
        """The plan by what the seeds share."""
        by_id = {planned.spec.run_id: planned for planned in self.plan}
        return {
            name: [by_id[spec.run_id] for spec in specs]
            for name, specs in systems(self.specs).items()
        }

    def carry_out(self, tracking_uri: str | None, experiment: str | None) -> bool:
        """Do what is pending, track it, print the summary. False where a run failed."""
        self.store.prepare()
        found = looked_at(self.plan, self.store)
        pending = self.pending(found)
        missing = {planned.spec.run_id for planned in pending}
        self.store.close_all(spec.run_id for spec in self.specs if spec.run_id not in missing)
        self.console.print(self._headline(len(pending)))
        self._say_left_out()
        title = self.request.title or plan_title(self.specs)
        experiment = experiment or self.dataset.name
        plan = Plan.of(plan_id(self.specs), title, experiment, "", self.specs)
        uri = tracking_uri or default_uri(self.store.root)
        if not pending and stamp.is_current(self.store, uri, plan):
            self._summarise(found, [])
            return True
        if pending and self.how.cluster is None:
            prepare()
        tracker = open_tracker(tracking_uri, experiment, self.store, self.console)
        if tracker:  # with nothing to do it repairs what a kill left
            tracker.open(plan)
        else:
            plan.save(self.store)
        try:
            results = self._execute(pending, tracker)
        finally:
            if tracker:
                tracker.close()
        if tracker and not tracker.behind:
            stamp.remember(self.store, uri, plan)
        failed = [p.spec for p in pending if results.get(p.spec.run_id) == "failed"]
        self._summarise(looked_at(self.plan, self.store), failed)
        if failed:
            self.store.prepare()  # where the disk is full, that is the error to tell
        return not failed

    def _execute(self, pending: Sequence[Planned], tracker: Tracker | None) -> dict[str, str]:
        by_id = {planned.spec.run_id: planned.spec for planned in pending}
        costs = self._costs(pending)
        queue = list(pending)
        if costs:
            known = {p.spec.run_id: costs.get(p.spec.run_id) for p in queue}
            queue.sort(key=lambda p: -(cost.seconds if (cost := known[p.spec.run_id]) else 0.0))
            costs = {p.spec.run_id: costs[p.spec.run_id] for p in queue if p.spec.run_id in costs}
        display = Display(
            run_titles(self.specs), self.console, len(pending), self.how.workers, costs
        )
        with display:

            def listen(event: Event) -> None:
                display.handle(event)
                if tracker:
                    tracker.handle(by_id[event.run_id], event)

            results = run_plan(queue, self.how, listen)
        return dict(results)

    def _costs(self, pending: Sequence[Planned]) -> dict[str, Cost]:
        """Run id -> what a run should take, where the order depends on it or somebody watches.

        The longest run begins first: begun last, it would keep one worker long after the others.
        For a cluster it is timed on this CPU, which tells which is longer, not how long it takes.
        """
        several = len({planned.spec.apart_from() for planned in pending}) > 1
        waits = len(pending) > (1 if self.how.cluster else self.how.workers)
        watched = self.console.is_terminal and not self.how.cluster
        if not pending or not (watched or (several and waits)):
            return {}
        here = replace(self.how, device="cpu") if self.how.cluster else self.how
        with self.console.status("timing a few batches of each model"):
            costs = estimates(pending, here, TIMING_SECONDS)
        return self._of_what_is_left(pending, costs)

    def _of_what_is_left(
        self, pending: Sequence[Planned], costs: Sequence[Cost | None]
    ) -> dict[str, Cost]:
        """Run id -> its cost, where it is known: a trained run lacks rows of its table only."""
        found = {p.spec.run_id: cost for p, cost in zip(pending, costs, strict=True) if cost}
        trained = [run_id for run_id in found if self.store.is_trained(run_id)]
        return found | {run_id: Cost(0.0, found[run_id].table) for run_id in trained}

    def _headline(self, pending: int) -> str:
        most = max(len(planned.conditions) for planned in self.plan)
        title = f"{self.request.title}: " if self.request.title else ""
        return (
            f"{title}{len(self.plan)} run{'s' * (len(self.plan) != 1)} on {self.dataset.name}, "
            f"{pending} to do; up to "
            f"{most} conditions of {len(self.dataset.splits['test'])} test samples each"
            f"{self._fewer_subsets()}{self._unlike_published()}"
        )

    def _fewer_subsets(self) -> str:
        """What a data set without one of the modalities is told."""
        present = self.dataset.spec.present
        if present == MODALITIES:
            return ""
        return (
            f". {self.dataset.name} has {' and '.join(present)} only: {len(subsets(present))}"
            f" availability subsets instead of {MASK_COUNT}"
        )

    def _unlike_published(self) -> str:
        """Of a known data set: why numbers that papers print for it are not like for like."""
        spec, splits = self.dataset.spec, self.dataset.splits
        counts = {name: len(split) for name, split in splits.items()}
        known = None if self.dataset.synthetic else cards.recognise(counts, spec.classes)
        widths = {m: spec.widths[m] for m in spec.present}
        reasons = cards.unlike(known.card, widths, counts) if known else []
        if known is None or not reasons:
            return ""
        return (
            f". It is {known.card.title}, but {' and '.join(reasons)}: published numbers are not"
            " like for like"
        )

    def _value(self, objective: Objective, run_id: str) -> float | None:
        """A search's objective of a finished run; None where its validation was not predicted."""
        table = self.store.record(run_id).validation
        return None if table is None else objective.value(table)

    def _summarise(self, found: Sequence[Glance], failed: Sequence[RunSpec]) -> None:
        metric = PRIMARY[self.dataset.spec.task]
        kind = "synthetic data" if self.dataset.synthetic else self.dataset.name
        title = f"Test {metric.upper()} on {kind}, mean ± std over n seeds"
        done = {glance.spec.run_id: glance for glance in found}
        columns = [h for h in headlines(done.values()) if h.questions[0].protocol in _SUMMED_UP]
        objective = plan_objective(self.request.products[0], self.dataset)
        searched = [objective.title] if objective else []
        table = summary_table(title, [*(h.title for h in columns), *searched])
        for name, members in self._systems().items():
            run_ids = [p.spec.run_id for p in members if p.spec.run_id in done]
            if run_ids:
                cells = [spread([done[run_id].value(h) for run_id in run_ids]) for h in columns]
                if objective:
                    cells.append(spread([self._value(objective, i) for i in run_ids], digits=4))
                table.add(name.model, name.training, str(len(run_ids)), *cells)
        if table.rows:
            self.console.print(table)
        titles = run_titles(self.specs)
        for spec in failed:
            where = self.store.partial(spec.run_id) / "error.txt"
            self.console.print(
                f"FAILED {titles[spec.run_id]}: see {where}",
                style="red",
                markup=False,
            )
        self.console.print(f"records  {self.how.runs_dir}", markup=False, soft_wrap=True)
        runs = of_runs(self.how.runs_dir)
        say_next(
            self.console,
            (["benchmark", "report", *runs], "tables, figures and a page"),
            (["benchmark", "open"], "the page, in a browser"),
            (["benchmark", "ui", *runs], "every run's curves, in MLflow"),
        )


def summary_table(title: str, measured: Sequence[str]) -> Rows:
    """A row for each system: what it is, how many seeds, and the numbers of these titles."""
    numbers = [Column(name, number=True) for name in measured]
    return Rows("model", "training", Column("n", number=True, spare=1), *numbers, title=title)


def open_tracker(
    uri: str | None, experiment: str, store: RunStore, console: Console
) -> Tracker | None:
    """What tracks a plan or a search; None for the address "none"."""
    if uri == "none":
        return None
    return Tracker(
        uri or default_uri(store.root),
        experiment,
        store,
        warn=lambda message: console.print(message, style="yellow", markup=False),
        say=lambda message: console.print(message, style="dim", markup=False),
    )
