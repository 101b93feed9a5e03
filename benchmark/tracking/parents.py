"""What tracking says of a plan: its parent run's tags and description, rebuilt from records."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path, PurePath
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.files import JSON_BYTES, is_file, is_inside, read_text, remove, replace_file
from benchmark.hygiene import one_line
from benchmark.records import RUN_ID, RunStore
from benchmark.spec import RunSpec
from benchmark.systems import run_title, run_titles
from benchmark.tracking.description import describe_plan
from benchmark.tracking.stored import Status
from benchmark.tracking.tracked import Tracked, read

PLAN_ID = "plan_id"
ARTIFACTS = "artifacts:/"
"""Where a description points into its run's artifacts."""
ADDED = ".added"
"""Of the file beside a search's, with the runs begun since that was written."""
PLAN: Literal["plan"] = "plan"
"""The kind of a plan that was asked for; a search's is its own."""
SEARCH: Literal["search"] = "search"

RunId = Annotated[str, Field(pattern=f"^{RUN_ID.pattern}$")]
Step = Annotated[str, Field(pattern="^[0-9]{1,9}$")]


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
        kind: what has children.
        params: of the parent run.
        series: metric of the parent run -> step -> value.
        files: its files, relative to the runs folder.
        titles: run id -> the name of a child run, where it is not the run's own.
        finished: whether a search has all its trials; of a plan the records say it.
    """

    plan_id: str
    title: str
    experiment: Annotated[str, Field(min_length=1, max_length=500)]
    description: str
    created: Annotated[float, Field(ge=0, lt=1e11)]
    run_ids: tuple[RunId, ...]
    tags: Mapping[str, str]
    kind: Literal["plan", "search"] = PLAN
    params: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, Mapping[Step, FiniteFloat]] = field(default_factory=dict)
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
        path = _plans(store) / self._file_name()
        try:
            before = _read(path)
        except BenchmarkError:  # there is none, or it is broken: this one takes its place
            kept = self
        else:
            if self.kind == PLAN:
                return before
            kept = replace(self, created=before.created)
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
        path = (_plans(store) / self._file_name()).with_suffix(ADDED)
        try:
            with path.open("a") as stream:  # what a kill cut short ends where the next line begins
                stream.write(f"\n{json.dumps([run_id, title])}")
        except OSError as error:
            raise _cannot_write(path, error) from None

    def _file_name(self) -> str:
        place = hashlib.sha256(self.experiment.encode(errors="replace")).hexdigest()[:6]
        return f"{self.plan_id}-{place}.json"

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

    def done(self, store: RunStore) -> list[Tracked]:
        """Its runs that are evaluated on test; what is wrong with a record is told elsewhere."""
        found = []
        for run_id in filter(store.has, dict.fromkeys(self.run_ids)):
            with suppress(BenchmarkError):
                found.append(read(store.record(run_id)))
        return found

    def paths(self, store: RunStore) -> list[Path]:
        """Its files that are there. One outside the runs folder is none of them."""
        root = store.root.resolve()
        found = ((root / name).resolve() for name in self.files)
        return [path for path in found if is_inside(path, root) and path.is_file()]

    def all_tags(self) -> dict[str, str]:
        """The tags of the parent run, except its description."""
        return {PLAN_ID: self.plan_id, "kind": self.kind, **self.tags}

    def note(self, done: Sequence[Tracked], artifacts: str = "") -> str:
        """The Markdown description: the plan's own, and for runs the tables of what is done.

        Args:
            done: its runs that are evaluated.
            artifacts: what an address of the parent run's artifacts begins with.
        """
        if self.kind != PLAN:
            return self.description.replace(ARTIFACTS, artifacts)
        progress = f"{len(done)} of {len(self.run_ids)} runs are finished."
        return f"{self.description}\n\n{progress}\n\n{describe_plan(done)}".strip()


def plans(store: RunStore) -> list[Plan]:
    """Every plan that was tracked, oldest first; :func:`kept_plans` says what is wrong besides."""
    return kept_plans(store)[0]


def kept_plans(store: RunStore) -> tuple[list[Plan], list[str]]:
    """Every plan that was tracked, oldest first; and of each file that is none, why."""
    found, problems = [], []
    for path in sorted(_plans(store).glob("*.json")):
        try:
            found.append(_read(path))
        except BenchmarkError as error:
            problems.append(str(error))
    return sorted(found, key=lambda plan: plan.created), problems


@cache
def _form() -> TypeAdapter[Plan]:
    """Made once: that takes longer than to read many plans."""
    return TypeAdapter(Plan)


def _read(path: Path) -> Plan:
    """A plan's file. Raises BenchmarkError: it cannot be read, or is not what was kept there."""
    try:
        plan = _form().validate_json(read_text(path, JSON_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        why = f"{where}: {first['msg']}" if where else first["msg"]
    except BenchmarkError as error:
        why = str(error).removeprefix("cannot read ").removeprefix(f"{path}: ")
    else:
        outside = [
            name
            for name in plan.files
            if {"..", "/"} & {*PurePath(name).parts} or not name.isprintable()
        ]
        if path.name != plan._file_name():
            why = f"it is of the plan {plan.plan_id!r} of {plan.experiment!r}"
        elif outside:
            why = f"its file {outside[0]!r} is not in the runs folder"
        else:
            return plan.with_runs(_added(path.with_suffix(ADDED)))
    raise BenchmarkError(
        f"{path}: no plan can be read from it ({one_line(why, 200)}). Delete it: the same"
        " `benchmark run` or `benchmark search` writes it anew."
    )


def _added(path: Path) -> dict[str, str]:
    """The runs that :meth:`Plan.add` kept; a line that is none is passed over."""
    found = {}
    if is_file(path):
        for line in read_text(path, JSON_BYTES).split("\n"):
            with suppress(ValueError):
                run_id, title = json.loads(line)
                if RUN_ID.fullmatch(str(run_id)):
                    found[str(run_id)] = str(title)
    return found


def _cannot_write(path: Path, error: OSError) -> BenchmarkError:
    return BenchmarkError(
        f"cannot write {path}: {error.strerror or error}. Make room, or name another "
        "folder with --runs-dir; the same command goes on from there."
    )


def _plans(store: RunStore) -> Path:
    return store.root / ".plans"
