"""One ``benchmark search``: trials of a study, each of which is a run like any other.

A trial trains and predicts the validation split, never the test split: it has none. What a run has
already is not done again, whoever made it; ``benchmark run`` later adds the test table.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from benchmark.config import ObjectiveName
from benchmark.data.dataset import Dataset
from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.execution.events import Event
from benchmark.execution.execute import Outcome, Stopped
from benchmark.execution.executor import Execution, run_supply
from benchmark.hygiene import one_line
from benchmark.interface import MultimodalModel
from benchmark.plan import PlanConfig, Planned, check_missing_rule, evaluation_of, plan_runs
from benchmark.records import DamagedError, RunStore
from benchmark.registry import model_class
from benchmark.search.objective import Objective, objective_of
from benchmark.search.space import Space, grid_of, parse_space
from benchmark.search.study import Settings, Study, Trial
from benchmark.spec import RunSpec
from benchmark.train import DivergedError

DEFAULT_TRIALS = 30
"""Of a study whose space is no small grid."""

WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class SearchPlan:
    """What is searched, checked: everything that the study's name depends on.

    Attributes:
        request: data set, one model, one regime, seeds and fixed settings.
        space: the searched settings.
        objective: what is optimised.
        dataset: without its test split.
    """

    request: PlanConfig
    space: Space
    objective: Objective
    dataset: Dataset

    @property
    def name(self) -> str:
        """The study's name: for people, then a hash of space, data, regime, objective and rest."""
        runs = [dict(spec.identity) for spec in plan_runs(self.request, self.dataset)]
        for name in self.space:
            section, key = name.split(".", 1)
            for run in runs:
                run[section] = {k: x for k, x in run[section].items() if k != key}
        identity = {
            "space": {name: dimension.plain() for name, dimension in self.space.items()},
            "objective": asdict(self.objective),
            "runs": runs,
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        parts = (*self.request.models, self.dataset.name, *self.request.regimes)
        return "-".join((*parts, self.objective.name, digest[:8]))

    def with_settings(self, settings: Settings) -> PlanConfig:
        """The request with a point of the space: what ``benchmark run`` takes."""
        chosen: dict[str, dict[str, object]] = {
            "model": dict(self.request.model),
            "training": dict(self.request.training),
        }
        for name, value in settings.items():
            section, key = name.split(".", 1)
            chosen[section][key] = value
        return self.request.model_copy(update=chosen)

    def specs(self, settings: Settings) -> list[RunSpec]:
        """The runs of a trial, one for each seed. Raises BenchmarkError where settings clash."""
        return plan_runs(self.with_settings(settings), self.dataset)


def plan_search(
    request: PlanConfig,
    objective: ObjectiveName,
    space: Mapping[str, object] | None,
    data: Execution,
    space_name: str = "the space",
) -> SearchPlan:
    """Check what is asked for.

    Args:
        request: must name one model and one regime.
        objective: the objective's name.
        space: a search space; by default the one that stands beside the model.
        data: names the data set and where it is.
        space_name: what the space is, for messages.

    Raises:
        BenchmarkError: where something is unknown or does not fit.
    """
    if request.runs:
        raise BenchmarkError("a search tunes one model: a plan of several products has no one")
    for what, names in (("model", request.models), ("regime", request.regimes)):
        if len(names) != 1:
            raise BenchmarkError(f"a search tunes one {what}: name it with --{what}")
    kind: type[MultimodalModel] = model_class(request.models[0])
    parsed = parse_space(space or kind.search_space, kind, space_name)
    for name in parsed:
        section, key = name.split(".", 1)
        if key in getattr(request, section):
            raise BenchmarkError(f"{name} is both set and searched: leave out one of them")
    dataset = load_dataset(data.dataset, data.data_dir).without_test()
    asked = objective_of(objective, evaluation_of(request), dataset.spec)
    check_missing_rule(plan_runs(request, dataset), dataset)
    plan = SearchPlan(request, parsed, asked, dataset)
    _check_some_point(plan)
    return plan


def _check_some_point(plan: SearchPlan) -> None:
    """Where no point of a grid fits the model, the first one's reason is the user's to mend."""
    first: BenchmarkError | None = None
    for point in grid_of(plan.space) or []:
        try:
            plan.specs(point)
        except BenchmarkError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first


@dataclass
class _Open:
    """A trial of this process that is under way."""

    trial: Trial
    specs: Sequence[RunSpec]
    results: dict[str, Outcome] = field(default_factory=dict)
    pruned: bool = False


class Search:
    """Works on a study, alone or beside other processes. A supply of runs for the executor."""

    def __init__(
        self,
        plan: SearchPlan,
        study: Study,
        count: int,
        how: Execution,
        begun: Callable[[RunSpec, Trial], None] = lambda spec, trial: None,
        listen: Callable[[Event], None] = lambda event: None,
    ) -> None:
        """Nothing is done yet.

        Args:
            plan: what is searched.
            study: where trials are.
            count: how many trials the study is to have.
            how: how to carry out runs.
            begun: told of each run before its events.
            listen: told what the runs say.
        """
        self.plan, self.study, self.count = plan, study, count
        self.how = replace(how, test=False)
        self._rows = plan.objective.conditions()
        self._begun, self._listen = begun, listen
        self._store = RunStore(how.runs_dir)
        self._queue: deque[RunSpec] = deque()
        self._open: dict[int, _Open] = {}
        self._trials_of: dict[str, list[_Open]] = {}
        self._reasons: dict[str, str] = {}

    def carry_out(self, wait: Callable[[int], None] = lambda trials: None) -> None:
        """Work until the study has its trials, those of other processes included.

        Args:
            wait: told how many trials of other processes are waited for.
        """
        self.study.begin(self.count)
        run_supply(self, self.how, self.hear)
        others = 0
        while now := self.study.others_at_work():
            if now != others:
                others = now
                wait(now)
            time.sleep(WAIT_SECONDS)
            self.study.recover()
            run_supply(self, self.how, self.hear)

    def take(self) -> Planned | None:
        """The next run: another seed of a trial under way, or the first of a trial claimed now."""
        while True:
            while self._queue:
                spec = self._queue.popleft()
                if not self._is_pruned(spec.run_id):
                    return Planned(spec, (), self._rows)
                self.ended(spec, "stopped")
            trial = self.study.claim(self.count)
            if trial is None:
                return None
            self._begin(trial)

    def _begin(self, trial: Trial) -> None:
        try:
            specs = self.plan.specs(trial.settings)
        except BenchmarkError as error:
            self.study.fail(trial.number, str(error), final=True)
            return
        self.study.set_runs(trial.number, [spec.run_id for spec in specs])
        self._open[trial.number] = opened = _Open(trial, specs)
        for spec in specs:
            if spec.run_id not in self._trials_of:  # else another trial of ours has just begun it
                self._queue.append(spec)
                self._begun(spec, trial)
            self._trials_of.setdefault(spec.run_id, []).append(opened)

    def ended(self, spec: RunSpec, outcome: Outcome) -> None:
        """A run has ended: so may the trials that it belongs to."""
        for opened in self._trials_of.pop(spec.run_id):
            opened.results[spec.run_id] = outcome
            if len(opened.results) == len(opened.specs):
                del self._open[opened.trial.number]
                self._conclude(opened)

    def _conclude(self, opened: _Open) -> None:
        number, results = opened.trial.number, opened.results
        failed = [run_id for run_id, result in results.items() if result == "failed"]
        if failed:
            reason = self._reasons.get(failed[0], "")
            self.study.fail(number, reason, reason.startswith(DivergedError.__name__))
        elif "stopped" in results.values():
            self.study.prune(number)
        else:
            try:
                value = self._value(list(results))
            except DamagedError as error:  # since the run ended
                self.study.fail(number, one_line(error), final=False)
                return
            if math.isfinite(value):
                self.study.finish(number, value)
            else:
                reason = f"{self.plan.objective.title} is {value}"
                self.study.fail(number, reason, final=True)

    def _value(self, run_ids: Sequence[str]) -> float:
        """The objective, averaged over the seeds."""
        tables = [self._store.trained(run_id).validation for run_id in run_ids]
        return float(np.mean([self.plan.objective.value(t) for t in tables if t is not None]))

    def hear(self, event: Event) -> None:
        """Pass on what a run says; stop it where its trials are pruned."""
        self._listen(event)
        if event.kind == "failed":
            self._reasons[event.run_id] = event.message
        if event.kind == "epoch":
            self._report(event)
            if self._is_pruned(event.run_id):
                raise Stopped

    def _report(self, event: Event) -> None:
        """A trial is pruned by the curve of its first seed."""
        value = event.values.get(f"valid_{self.plan.objective.metric}", math.nan)
        for opened in self._trials_of[event.run_id]:
            if event.run_id == opened.specs[0].run_id and math.isfinite(value):
                prune = self.study.report(opened.trial.number, int(event.done), value)
                opened.pruned = opened.pruned or prune

    def _is_pruned(self, run_id: str) -> bool:
        return all(opened.pruned for opened in self._trials_of[run_id])
