"""What tracking says of a plan: its parent run's tags and description, rebuilt from records."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pandas as pd
from pydantic import TypeAdapter

from benchmark.errors import BenchmarkError
from benchmark.files import is_file, is_inside, read_text, remove, replace_file
from benchmark.hygiene import escape_markdown
from benchmark.metrics import LOWER_IS_BETTER, PAPER_NAMES, PRIMARY
from benchmark.questions import Headline, Question, overview
from benchmark.readouts import headline_value, spread
from benchmark.records import RUN_ID, RunRecord, RunStore
from benchmark.records.reader import JSON_BYTES
from benchmark.spec import RunSpec
from benchmark.systems import Name, run_title, run_titles, systems
from benchmark.tracking.stored import Status
from benchmark.tracking.tracked import plain_name, read
from protocols.modalities import Task

PLAN_ID = "plan_id"
ARTIFACTS = "artifacts:/"
"""Where a description points into its run's artifacts."""
SHOWN_CELLS = tuple((x, y) for x in (0.0, 0.3, 0.7) for y in (0.0, 0.3, 0.7))
"""(λ, η) of the landscape in a description."""
ADDED = ".added"
"""Of the file beside a search's, with the runs begun since that was written."""
PLAN = "plan"
"""The kind of a plan that was asked for; a search's is its own."""


@dataclass(frozen=True)
class Plan:
    """A plan as it was tracked, kept beside the records so that its parent run can be rebuilt.

    Attributes:
        plan_id: its identity.
        title: the parent run's name.
        experiment: where it is.
        description: Markdown.
        created: in seconds since 1970.
        run_ids: its runs.
        tags: of the parent run.
        kind: ``plan``, or what else has children.
        params: of the parent run.
        series: metric of the parent run -> step -> value.
        files: its files, relative to the runs folder.
        titles: run id -> the name of a child run, where it is not the run's own.
        finished: whether a search has all its trials; of a plan the records say it.
    """

    plan_id: str
    title: str
    experiment: str
    description: str
    created: float
    run_ids: tuple[str, ...]
    tags: Mapping[str, str]
    kind: str = PLAN
    params: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    finished: bool = False

    @staticmethod
    def of(
        plan_id: str, title: str, experiment: str, description: str, specs: Sequence[RunSpec]
    ) -> Plan:
        """A plan made now of these runs."""
        values = {
            "dataset": [spec.dataset for spec in specs],
            "model": [spec.model for spec in specs],
            "regime": [spec.regime.name for spec in specs],
            "seed": [str(spec.seed) for spec in specs],
        }
        tags = {name: "+".join(dict.fromkeys(found)) for name, found in values.items()}
        run_ids, named = tuple(spec.run_id for spec in specs), run_titles(specs)
        titles = {
            spec.run_id: name for spec in specs if (name := named[spec.run_id]) != run_title(spec)
        }
        now = time.time()
        return Plan(plan_id, title, experiment, description, now, run_ids, tags, titles=titles)

    def save(self, store: RunStore) -> Plan:
        """Keep it, one file for each experiment; a plan does not change, a search grows.

        Returns:
            The plan as it is kept: since when it is there does not change.

        Raises:
            BenchmarkError: where the folder cannot be written to.
        """
        path = self._path(store)
        before = _read(path)
        if before is not None and self.kind == PLAN:
            return before
        kept = replace(self, created=before.created) if before else self
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, json.dumps(asdict(kept), indent=1).encode())
            remove(path.with_suffix(ADDED))
        except OSError as error:
            raise _cannot_write(path, error) from None
        return kept

    def add(self, store: RunStore, run_id: str, title: str) -> None:
        """Keep one more run of a search under way: a line beside the file, which stays as it is.

        Raises:
            BenchmarkError: where the folder cannot be written to.
        """
        path = self._path(store).with_suffix(ADDED)
        try:
            with path.open("a") as stream:  # what a kill cut short ends where the next line begins
                stream.write(f"\n{json.dumps([run_id, title])}")
        except OSError as error:
            raise _cannot_write(path, error) from None

    def _path(self, store: RunStore) -> Path:
        place = hashlib.sha256(self.experiment.encode()).hexdigest()[:6]
        return _plans(store) / f"{self.plan_id}-{place}.json"

    @cached_property
    def _members(self) -> frozenset[str]:
        return frozenset(self.run_ids)

    def has(self, run_id: str) -> bool:
        """Whether a run is one of its runs."""
        return run_id in self._members

    def with_runs(self, titles: Mapping[str, str]) -> Plan:
        """With more runs, and their names."""
        run_ids = tuple(dict.fromkeys((*self.run_ids, *titles)))
        return replace(self, run_ids=run_ids, titles={**self.titles, **titles})

    def status(self, store: RunStore) -> Status:
        """Whether it is under way, and how it ended: what the records and the locks say."""
        lacking = [run_id for run_id in self.run_ids if not store.has(run_id)]
        if any(store.is_running(run_id) for run_id in lacking):
            return "RUNNING"
        if self.finished if self.kind != PLAN else not lacking:
            return "FINISHED"
        return "FAILED" if any(map(store.failure, lacking)) else "KILLED"

    def done(self, store: RunStore) -> list[str]:
        """Its runs that have a record, evaluated on test."""
        return [run_id for run_id in self.run_ids if store.has(run_id)]

    def paths(self, store: RunStore) -> list[Path]:
        """Its files that are there. One outside the runs folder is none of them."""
        root = store.root.resolve()
        found = ((root / name).resolve() for name in self.files)
        return [path for path in found if is_inside(path, root) and path.is_file()]

    def all_tags(self) -> dict[str, str]:
        """The tags of the parent run, except its description."""
        return {PLAN_ID: self.plan_id, "kind": self.kind, **self.tags}

    def note(self, store: RunStore, artifacts: str = "") -> str:
        """The Markdown description: the plan's own, and for runs the tables of what is done.

        Args:
            store: where the records are.
            artifacts: what an address of the parent run's artifacts begins with.
        """
        if self.kind != PLAN:
            return self.description.replace(ARTIFACTS, artifacts)
        done = self.done(store)
        progress = f"{len(done)} of {len(self.run_ids)} runs are finished."
        return (
            f"{self.description}\n\n{progress}\n\n{describe_plan(map(store.record, done))}".strip()
        )


def plans(store: RunStore) -> list[Plan]:
    """Every plan that was tracked, oldest first; a file that is no plan is passed over."""
    found = [plan for path in sorted(_plans(store).glob("*.json")) if (plan := _read(path))]
    return sorted(found, key=lambda plan: plan.created)


def _read(path: Path) -> Plan | None:
    try:
        plan = TypeAdapter(Plan).validate_json(read_text(path, JSON_BYTES))
    except (BenchmarkError, ValueError):
        return None
    plan = plan.with_runs(_added(path.with_suffix(ADDED)))
    return plan if all(map(RUN_ID.fullmatch, plan.run_ids)) else None


def _added(path: Path) -> dict[str, str]:
    """The runs that :meth:`Plan.add` kept; a line that is none is passed over."""
    found = {}
    if is_file(path):
        for line in read_text(path, JSON_BYTES).split("\n"):
            with suppress(ValueError):
                run_id, title = json.loads(line)
                found[str(run_id)] = str(title)
    return found


def _cannot_write(path: Path, error: OSError) -> BenchmarkError:
    return BenchmarkError(
        f"cannot write {path}: {error.strerror or error}. Make room, or name another "
        "folder with --runs-dir; the same command goes on from there."
    )


def _plans(store: RunStore) -> Path:
    return store.root / ".plans"


def summary_of_plan(records: Iterable[RunRecord]) -> dict[str, float]:
    """The mean over seeds of each summary metric, under the system's name where there are several.

    Raises:
        BenchmarkError: where a record cannot be read.
    """
    summaries, specs_of_all = {}, []
    for record in records:  # of many, no more is kept than is wanted
        summaries[record.run_id] = dict(read(record).summary)
        specs_of_all.append(record.spec)
    named = systems(specs_of_all)
    found: dict[str, float] = {}
    for name, specs in named.items():
        section = f"{plain_name(f'{name.model} {name.training}')}/" if len(named) > 1 else ""
        of_seeds = pd.DataFrame([summaries[spec.run_id] for spec in specs])
        found |= {f"{section}{metric}": float(v) for metric, v in of_seeds.mean().items()}
    return found


def describe_plan(records: Iterable[RunRecord]) -> str:
    """A Markdown table, model by regime: the primary metric's mean ± std over seeds.

    Returns:
        One table per data set; nothing without records.

    Raises:
        BenchmarkError: where a record cannot be read.
    """
    by_data: dict[tuple[str, Task, bool], list[_Run]] = {}
    for record in records:
        spec, synthetic = record.spec, bool(record.environment.get("synthetic"))
        run = _Run(spec, record.answers(PRIMARY[spec.task]))
        by_data.setdefault((spec.dataset, spec.task, synthetic), []).append(run)
    if not by_data:
        return ""
    return "\n\n".join(_describe(*key, runs) for key, runs in by_data.items())


@dataclass(frozen=True)
class _Run:
    """What a description needs of a run."""

    spec: RunSpec
    answers: Mapping[Question, float]


def _describe(dataset: str, task: Task, synthetic: bool, runs: list[_Run]) -> str:
    metric = PRIMARY[task]
    columns = overview({question for run in runs for question in run.answers})
    title = f"{PAPER_NAMES[metric]} {'↓' if metric in LOWER_IS_BETTER else '↑'}"
    lines = [
        f"| model | training | seeds | {' | '.join(f'{c.title}: {title}' for c in columns)} |",
        "| --- | --- | --- |" + " --- |" * len(columns),
    ]
    by_id = {run.spec.run_id: run for run in runs}
    groups = {
        name: [by_id[spec.run_id] for spec in specs]
        for name, specs in sorted(systems([run.spec for run in runs]).items())
    }
    for name, members in groups.items():
        cells = [spread([headline_value(m.answers, column) for m in members]) for column in columns]
        shown = escape_markdown(name.model), escape_markdown(name.training), str(len(members))
        lines.append(f"| {' | '.join((*shown, *cells))} |")
    kind = " (**synthetic data**)" if synthetic else ""
    rules = ", ".join(sorted({str(run.spec.setting("training.select_on")) for run in runs}))
    caption = (
        f"Test split of {escape_markdown(dataset)}{kind}, mean ± standard deviation over seeds; "
        f"checkpoints selected on validation {rules}."
    )
    grids = [c for c in columns if c.questions[0].protocol == "grid"]
    landscapes = [line for one in grids for line in (*_landscapes(groups, one, metric), "")]
    return "\n".join([*lines, "", *landscapes, caption])


def _landscapes(groups: Mapping[Name, list[_Run]], grid: Headline, metric: str) -> list[str]:
    """The corners and the middle of each system's λ×η landscape, averaged over seeds."""
    shown = [q for q in grid.questions if (q.intensity, q.rate) in SHOWN_CELLS]
    places = " | ".join(f"{q.intensity:g}, {q.rate:g}" for q in shown)
    rules = grid.title.removeprefix("Grid mean")
    head = f"| {PAPER_NAMES[metric]} at λ, η{rules} | {places} |"
    lines = [head, "| --- " * (1 + len(shown)) + "|"]
    for name, members in groups.items():
        means = [[m.answers[q] for m in members if q in m.answers] for q in shown]
        cells = [spread(one).partition(" ")[0] for one in means]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {escape_markdown(name.label)} | {' | '.join(cells)} |")
    return lines
