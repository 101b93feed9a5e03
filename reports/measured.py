"""What each system was measured to score, worked out once; what else is made of it starts here.

An answer is a system's metric under one condition, or its mean over several: the mean over seeds,
with its 95 % interval and the published number. A mean over conditions has a value for each seed
that was asked all of them. What is undefined for a seed is undefined (NaN), as means never skip.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from operator import add

import numpy as np

from benchmark.forks import on_all_cores
from benchmark.metrics import METRICS
from benchmark.questions import Question, fixed_questions, grid_questions
from benchmark.readouts import linear_terms, questions_in
from protocols.availability import mask_of, name_of
from protocols.conditions import LEVELS
from reports.answer import Answer, Asked, Found, Key, answer, ends, ordered
from reports.beside import printed
from reports.grid_summary import grid_summary
from reports.published import Published
from reports.results import Results, System
from reports.specialists import Specialists, specialists
from reports.statistics.inference import Array, Estimate, estimate
from reports.subjects import Subject
from reports.views import SELECTIONS, view

_FEW = 6
"""So many systems are measured sooner than other processes would have begun."""


@dataclass(frozen=True, eq=False)
class _Part:
    """What the same runs of a system were asked, by one metric.

    Attributes:
        metric: its name.
        asked: A conditions, or means over some.
        seeds: of the S runs.
        per_seed: (A, S) values.
        ends: (A, 2) of the intervals.
        kept: the places of what systems are compared by: of a grid's cells only means are.
        estimate: of what is kept.
        summary: of every grid among what was asked.
    """

    metric: str
    asked: Sequence[Asked]
    seeds: tuple[int, ...]
    per_seed: Array
    ends: Array
    kept: Sequence[int]
    estimate: Estimate
    summary: Found


@dataclass(frozen=True, eq=False)
class Measured:
    """What all systems of one data set's results score. Worked out when first asked for.

    Attributes:
        results: the records.
        paper: the published numbers.
    """

    results: Results
    paper: Published
    _estimates: dict[Key, Estimate] = field(default_factory=dict)

    @cached_property
    def means(self) -> dict[Asked, str]:
        """The means over conditions that are worked out, and what they are called."""
        results = self.results
        found = {ordered(h.questions): h.title for h in results.overview if len(h.questions) > 1}
        few = ordered(fixed_questions(results.present)[:-1])
        name = f"Protocol I, fixed, without {name_of(mask_of(results.present))}"
        found |= {few: name} if len(few) > 1 else {}
        for group in self.specialists:  # what one checkpoint is held against: reports.regret
            levels = ordered(group.beyond_clean(results.present))
            if len(levels) > 1:
                at = ", ".join(f"{q.rate + q.intensity:g}" for q in levels)  # one of them is 0
                found.setdefault(levels, f"Mean at {group.degradation} {at}")
        return found

    @cached_property
    def specialists(self) -> tuple[Specialists, ...]:
        """Every group of systems that answer for one level each."""
        results = self.results
        missing = {rule for (rule,) in results.variants("I", "missing_rule")} - {""}
        noise = {rule for (rule,) in results.variants("II", "noise_rule")}
        return (
            *(one for rule in sorted(missing) for one in specialists(results, "missing", rule)),
            *(one for rule in sorted(noise) for one in specialists(results, "noise", rule)),
        )

    def begin(self) -> None:
        """Begin to measure on all cores; who asks for :attr:`rows` has time meanwhile."""
        _ = self._parts

    @cached_property
    def _parts(self) -> Iterator[list[_Part]]:
        """What :attr:`rows` are made of, system by system, once."""
        _ = self.means, self._values, self._grids  # once, not in every process
        return on_all_cores(self._of_system, self.results.systems, _FEW)

    @cached_property
    def rows(self) -> Found:
        """Every answer."""
        found: Found = {}
        for system, parts in zip(self.results.systems, self._parts, strict=True):
            for part in parts:
                found.update(self._answers(system, part))
        for group in self.specialists:
            found.update(self._of_specialists(group, found))
        return found

    def estimate(self, subject: Subject, asked: Iterable[Question], metric: str) -> Estimate | None:
        """An answer with what its errors are made of; None without one, and for cells of a grid."""
        _ = self.rows
        return self._estimates.get(Key(subject.key, ordered(asked), metric))

    def mean(self, system: System, asked: Iterable[Question], metric: str) -> float | None:
        """The value of an answer alone, for which the others need not be known; None without it."""
        column, questions = METRICS[self.results.task].index(metric), ordered(asked)
        found = [
            np.mean([self._values[record.run_id, question][column] for question in questions])
            for record in system.records
            if all((record.run_id, question) in self._values for question in questions)
        ]
        return float(np.mean(found)) if found else None

    def _of_system(self, system: System) -> list[_Part]:
        """What the system's errors are made of, metric by metric."""
        values, results = self._values, self.results
        ids = [record.run_id for record in system.records]
        own = [[q for q in results.questions if (run_id, q) in values] for run_id in ids]
        tables = [
            np.array([values[run_id, question] for question in questions])
            for run_id, questions in zip(ids, own, strict=True)
        ]
        groups = self._covered(own)
        found = []
        for column, metric in enumerate(METRICS[results.task]):
            linear = [
                linear_terms(record.table, metric, questions)
                for record, questions in zip(system.records, own, strict=True)
            ]
            for asked, runs in groups:
                terms = _mixed(linear, runs)
                of_runs = _mixed([table[:, column] for table in tables], runs)
                seeds = tuple(system.records[i].spec.seed for i in runs)
                whole = estimate(terms)
                kept = [place for place, one in enumerate(asked) if _compared(one)]
                summary = self._summed_up(system, asked, seeds, metric, terms)
                both = np.stack(ends(whole, view(metric).bounds), axis=-1)
                found.append(
                    _Part(metric, asked, seeds, of_runs.T, both, kept, whole.at(kept), summary)
                )
        return found

    def _answers(self, system: System, part: _Part) -> Found:
        """The answers of a part; what systems are compared by is kept."""
        found = dict(part.summary)
        for questions, per_seed, (low, high) in zip(
            part.asked, part.per_seed.tolist(), part.ends.tolist(), strict=True
        ):
            beside = self.published(system, questions, part.metric)
            key = Key(system.key, questions, part.metric)
            found[key] = answer(per_seed, part.seeds, (low, high), beside)
        for place, at in enumerate(part.kept):
            key = Key(system.key, part.asked[at], part.metric)
            self._estimates[key] = part.estimate.at(place)
        return found

    def _covered(
        self, own: Sequence[Sequence[Question]]
    ) -> list[tuple[list[Asked], dict[int, list[list[int]]]]]:
        """What the same runs were asked, and for each of these runs where it has the questions.

        Args:
            own: the questions of each run.
        """
        has = [{question: place for place, question in enumerate(one)} for one in own]
        by_runs: dict[tuple[int, ...], list[Asked]] = defaultdict(list)
        for asked in [*((q,) for q in self.results.questions), *self.means]:
            runs = tuple(i for i, one in enumerate(has) if all(q in one for q in asked))
            if runs:
                by_runs[runs].append(asked)
        return [
            (group, {i: [[has[i][q] for q in asked] for asked in group] for i in runs})
            for runs, group in by_runs.items()
        ]

    def _summed_up(
        self,
        system: System,
        asked: Sequence[Asked],
        seeds: tuple[int, ...],
        metric: str,
        terms: Array,
    ) -> Found:
        """The summary of every grid among what was asked, for the metrics of landscapes."""
        found: Found = {}
        if metric not in SELECTIONS[self.results.task].grid:
            return found
        places = {questions: place for place, questions in enumerate(asked)}
        for noise, missing in self._grids:
            grid = [(question,) for question in grid_questions(noise, missing)]
            if all(one in places for one in grid):
                own = terms[:, [places[one] for one in grid]].reshape(
                    len(terms), len(LEVELS), len(LEVELS), -1
                )
                found.update(grid_summary(system.key, noise, missing, metric, own, seeds))
        return found

    @cached_property
    def _values(self) -> dict[tuple[str, Question], list[float]]:
        """(run id, question) -> the values of the task's metrics."""
        frame = self.results.frame
        keys = zip(frame["run_id"], questions_in(frame), strict=True)
        rows = frame[list(METRICS[self.results.task])].to_numpy(dtype=np.float64)
        return dict(zip(keys, rows.tolist(), strict=True))

    @cached_property
    def _grids(self) -> list[tuple[str, ...]]:
        return self.results.variants("grid", "noise_rule", "missing_rule")

    def _of_specialists(self, group: Specialists, found: Mapping[Key, Answer]) -> Found:
        """At a level the answer of the system trained for it; a mean over levels has them all."""
        made: Found = {}
        for asked in [*((q,) for q in self.results.questions), *self.means]:
            systems = [group.system_at(question) for question in asked]
            for metric in METRICS[self.results.task]:
                keys = [Key(s.key, (q,), metric) for s, q in zip(systems, asked, strict=True) if s]
                if len(keys) < len(asked) or not all(key in found for key in keys):
                    continue
                mean = reduce(add, (self._estimates[key] for key in keys)).times(1 / len(keys))
                key = Key(group.key, asked, metric)
                self._estimates[key] = mean
                parts = [found[key] for key in keys]
                seeds = [s for s in group.seeds if all(s in part.seeds for part in parts)]
                if seeds:
                    values = [[part.per_seed[part.seeds.index(s)] for s in seeds] for part in parts]
                    per_seed = np.mean(values, axis=0).tolist()
                    beside = self.published(group, asked, metric)
                    low, high = parts[0].low, parts[0].high
                    if len(parts) > 1:
                        low, high = map(float, ends(mean, view(metric).bounds))
                    made[key] = answer(per_seed, tuple(seeds), (low, high), beside)
        return made

    def published(self, subject: Subject, asked: Asked, metric: str) -> float | None:
        """The number that a paper prints beside a subject, whether it was asked or not."""
        if not subject.plain:
            return None
        aligned = self.results.aligned
        return printed(self.paper, subject.title, subject.training, asked, metric, aligned)


def _compared(asked: Asked) -> bool:
    """Whether systems are compared by it: cells of a grid are compared as means only."""
    return len(asked) > 1 or asked[0].protocol != "grid"


def _mixed(of_runs: Sequence[Array], runs: Mapping[int, Sequence[Sequence[int]]]) -> Array:
    """(S, A, ...) means over what is asked, from (Q, ...) values of single questions by run."""
    found = [of_runs[i] for i in runs]
    asked = len(next(iter(runs.values())))
    mixed = np.empty((len(found), asked, *found[0].shape[1:]))
    for own, values, places in zip(mixed, found, runs.values(), strict=True):
        np.take(values, [some[0] for some in places], axis=0, out=own, mode="clip")
        for row, some in enumerate(places):
            if len(some) > 1:
                values[some].mean(axis=0, out=own[row, ...])
    return mixed
