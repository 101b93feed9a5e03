"""The work on a study: its trials, each of which is a run like any other.

A trial trains and predicts the validation split, never the test split: it has none. What a run has
already is not done again, whoever made it; ``benchmark run`` later adds the test table.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.execution.events import Event
from benchmark.execution.execute import Outcome, Stopped
from benchmark.execution.executor import Execution, run_supply
from benchmark.hygiene import one_line
from benchmark.plan import Planned
from benchmark.records import DamagedError, RunStore
from benchmark.search.request import SearchRequest
from benchmark.search.study import Study, Trial
from benchmark.spec import RunSpec
from benchmark.train import DivergedError

WAIT_SECONDS = 1.0


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
        plan: SearchRequest,
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
                self._listen(Event(spec.run_id, "stopped"))
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
