"""From results to rows of cells: means over seeds, supported marks, floors, published values."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Protocol

import numpy as np

from benchmark.metrics import combine
from benchmark.questions import Question
from benchmark.readouts import sample_terms
from benchmark.records import RunRecord
from reports.floors import Floor
from reports.results import Results
from reports.statistics.inference import Array, Estimate, estimate, linearised, marks
from reports.tables.table import Cell, Row
from reports.views import view

PublishedValue = Callable[[str, str, "Average"], float | None]
"""(model title, training, average) -> the published number, or None."""


class Subject(Protocol):
    """What a row is about: a system, or several that answer for one level each."""

    @property
    def label(self) -> str:
        """The row's name."""

    @property
    def title(self) -> str:
        """The model's."""

    @property
    def plain(self) -> bool:
        """Whether every setting is its preset's."""

    @property
    def training(self) -> str:
        """How it was trained."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs."""

    def runs_at(self, question: Question) -> tuple[RunRecord, ...]:
        """The runs that answer for a condition."""


@dataclass(frozen=True)
class Average:
    """What a cell asks: a metric under one condition, or its average over several."""

    metric: str
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Measure:
    """Works out averages of systems; terms are kept, as tables and figures share conditions.

    Attributes:
        results: the records.
        subjects: the rows, which are compared with each other; by default every system.
    """

    results: Results
    subjects: Sequence[Subject] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "subjects", tuple(self.subjects) or self.results.systems)

    def cell(self, system: Subject, average: Average) -> Cell:
        """Mean, spread and count over seeds; a missing cell where no run was evaluated there."""
        per_seed = self.per_seed(system, average)
        shown = view(average.metric)
        if not len(per_seed):
            return Cell(decimals=shown.decimals)
        scaled = per_seed * shown.scale
        std = float(scaled.std(ddof=1)) if len(scaled) > 1 else None
        return Cell(float(scaled.mean()), std, len(scaled), decimals=shown.decimals)

    def per_seed(self, system: Subject, average: Average) -> np.ndarray:
        """One value for each seed that was asked every question; NaN where it is undefined."""
        values = []
        for seed in system.seeds:
            rows = [self._row(system, question, seed) for question in average.questions]
            found = [row[average.metric] for row in rows if row is not None]
            if len(found) == len(average.questions):
                values.append(math.fsum(found) / len(found))
        return np.array(values)

    def _row(self, system: Subject, question: Question, seed: int) -> dict[str, float] | None:
        """The metrics of a seed's run at a question."""
        run_ids = [r.run_id for r in system.runs_at(question) if r.spec.seed == seed]
        return self.results.worked.values.get((run_ids[0], question)) if run_ids else None

    def estimate(self, system: Subject, average: Average) -> Estimate | None:
        """The answer with its errors; None where it is missing.

        Questions that the same runs answer share their trainings; others have their own.
        """
        questions: dict[tuple[str, ...], list[Question]] = defaultdict(list)
        for question in average.questions:
            questions[tuple(run.run_id for run in system.runs_at(question))].append(question)
        parts = []
        for same in questions.values():
            by_run = [
                [self._terms(run, average.metric, question) for question in same]
                for run in system.runs_at(same[0])
            ]
            complete = [
                np.mean([one for one in terms if one is not None], axis=0)
                for terms in by_run
                if not any(one is None for one in terms)
            ]
            if not complete:
                return None
            share = len(same) / len(average.questions)
            parts.append(estimate(np.stack(complete)).times(share))
        return reduce(add, parts)

    def _terms(self, run: RunRecord, metric: str, question: Question) -> Array | None:
        kept = self.results.worked.terms
        key = (metric, question, run.run_id)
        if key not in kept:
            try:
                by_draw = sample_terms(run.table, metric, question)
            except KeyError:
                kept[key] = None
            else:
                kept[key] = linearised(partial(combine, metric), by_draw).mean(axis=0)
        return kept[key]

    def column(self, average: Average) -> list[Cell]:
        """A cell for each system, with the marks that samples and seeds support."""
        cells = [self.cell(system, average) for system in self.subjects]
        answers = [self.estimate(system, average) for system in self.subjects]
        found = marks(answers, view(average.metric).higher_is_better)
        return [replace(cell, mark=mark) for cell, mark in zip(cells, found, strict=True)]


def rows(
    measure: Measure,
    averages: Sequence[Average],
    floors: Sequence[Floor],
    published: PublishedValue,
    only_published: Sequence[tuple[str, str]] = (),
    section: str = "",
) -> list[Row]:
    """Systems, then floors, then systems that are only published: one row each.

    Args:
        measure: the results.
        averages: one for each column.
        floors: the floor rows.
        published: the number that stands beside a cell.
        only_published: (model title, regime name) of the rows that nobody ran.
        section: the heading that the rows stand under.
    """
    systems = measure.subjects
    columns = [measure.column(average) for average in averages]
    found = []
    for place, system in enumerate(systems):
        cells = tuple(
            replace(column[place], published=_beside(system, average, published))
            for column, average in zip(columns, averages, strict=True)
        )
        seeds = len(system.seeds)
        found.append(Row(system.label, cells, section=section, seeds=seeds))
    found += [_floor_row(floor, averages, section) for floor in floors]
    for title, regime in dict.fromkeys(only_published):
        values = [published(title, regime, average) for average in averages]
        if any(value is not None for value in values):
            cells = tuple(
                Cell(published=value, decimals=view(average.metric).decimals)
                for value, average in zip(values, averages, strict=True)
            )
            found.append(Row(f"published: {title} · {regime}", cells, "published", section))
    return found


def _beside(system: Subject, average: Average, published: PublishedValue) -> float | None:
    return published(system.title, system.training, average) if system.plain else None


def _floor_row(floor: Floor, averages: Sequence[Average], section: str) -> Row:
    shown = [view(average.metric) for average in averages]
    cells = (Cell(floor.metrics[one.name] * one.scale, decimals=one.decimals) for one in shown)
    return Row(floor.label, tuple(cells), "floor", section)
