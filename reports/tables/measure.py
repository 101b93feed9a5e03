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

from benchmark.records import RunRecord
from reports.cards import Card
from reports.floors import Floor
from reports.results import Results
from reports.statistics.inference import Array, Estimate, estimate, linearised, marks
from reports.statistics.points import Point, sample_terms
from reports.statistics.sums import combine
from reports.tables.table import Cell, Row
from reports.views import view

PublishedValue = Callable[[str, str, "Question"], float | None]
"""(model title, training, question) -> the published number, or None."""


class Subject(Protocol):
    """What a row is about: a system, or several that answer for one level each."""

    @property
    def label(self) -> str:
        """The row's name."""

    @property
    def card(self) -> Card:
        """The model's card."""

    @property
    def plain(self) -> bool:
        """Whether every setting is its preset's."""

    @property
    def training(self) -> str:
        """How it was trained."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs."""

    def runs_at(self, point: Point) -> tuple[RunRecord, ...]:
        """The runs that answer for a condition."""


@dataclass(frozen=True)
class Question:
    """What a cell asks: a metric at a point, or its average over several."""

    metric: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Measure:
    """Answers questions about systems; terms are kept, as tables and figures share conditions.

    Attributes:
        results: the records.
        subjects: the rows, which are compared with each other; by default every system.
    """

    results: Results
    subjects: Sequence[Subject] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "subjects", tuple(self.subjects) or self.results.systems)

    def cell(self, system: Subject, question: Question) -> Cell:
        """Mean, spread and count over seeds; a missing cell where no run was evaluated there."""
        per_seed = self.per_seed(system, question)
        shown = view(question.metric)
        if not len(per_seed):
            return Cell(decimals=shown.decimals)
        scaled = per_seed * shown.scale
        std = float(scaled.std(ddof=1)) if len(scaled) > 1 else None
        flag = "†" if self._undefined(system, question) else ""
        return Cell(float(scaled.mean()), std, len(scaled), decimals=shown.decimals, flag=flag)

    def per_seed(self, system: Subject, question: Question) -> np.ndarray:
        """One value for each seed that was evaluated at every point of the question."""
        values = []
        for seed in system.seeds:
            rows = [self._row(system, point, seed) for point in question.points]
            found = [row[question.metric] for row in rows if row is not None]
            if len(found) == len(question.points) and not any(map(math.isnan, found)):
                values.append(math.fsum(found) / len(found))
        return np.array(values)

    def _row(self, system: Subject, point: Point, seed: int) -> dict[str, float] | None:
        """The metrics of a seed's run at a point."""
        run_ids = [r.run_id for r in system.runs_at(point) if r.spec.seed == seed]
        return self.results.worked.values.get((*run_ids, *point.key))

    def _undefined(self, system: Subject, question: Question) -> bool:
        """Whether a correlation is 0 only because the prediction was constant, for some seed."""
        if question.metric != "corr":
            return False
        rows = (self._row(system, p, seed) for p in question.points for seed in system.seeds)
        return any(row is not None and row.get("corr_undefined", 0) > 0 for row in rows)

    def estimate(self, system: Subject, question: Question) -> Estimate | None:
        """The answer with its errors; None where it is missing.

        Points that the same runs answer for share their trainings; other points have their own.
        """
        points: dict[tuple[str, ...], list[Point]] = defaultdict(list)
        for point in question.points:
            points[tuple(run.run_id for run in system.runs_at(point))].append(point)
        parts = []
        for same in points.values():
            by_run = [
                [self._terms(run, question.metric, point) for point in same]
                for run in system.runs_at(same[0])
            ]
            complete = [
                np.mean([one for one in terms if one is not None], axis=0)
                for terms in by_run
                if not any(one is None for one in terms)
            ]
            if not complete:
                return None
            share = len(same) / len(question.points)
            parts.append(estimate(np.stack(complete)).times(share))
        return reduce(add, parts)

    def _terms(self, run: RunRecord, metric: str, point: Point) -> Array | None:
        kept = self.results.worked.terms
        key = (metric, point, run.run_id)
        if key not in kept:
            try:
                by_draw = sample_terms(run.table, metric, point)
            except KeyError:
                kept[key] = None
            else:
                kept[key] = linearised(partial(combine, metric), by_draw).mean(axis=0)
        return kept[key]

    def column(self, question: Question) -> list[Cell]:
        """A cell for each system, with the marks that samples and seeds support."""
        cells = [self.cell(system, question) for system in self.subjects]
        answers = [self.estimate(system, question) for system in self.subjects]
        found = marks(answers, view(question.metric).higher_is_better)
        return [replace(cell, mark=mark) for cell, mark in zip(cells, found, strict=True)]


def rows(
    measure: Measure,
    questions: Sequence[Question],
    floors: Sequence[Floor],
    published: PublishedValue,
    only_published: Sequence[tuple[str, str]] = (),
    section: str = "",
) -> list[Row]:
    """Systems, then floors, then systems that are only published: one row each.

    Args:
        measure: the results.
        questions: one for each column.
        floors: the floor rows.
        published: the number that stands beside a cell.
        only_published: (model title, regime name) of the rows that nobody ran.
        section: the heading that the rows stand under.
    """
    systems = measure.subjects
    columns = [measure.column(question) for question in questions]
    found = []
    for place, system in enumerate(systems):
        cells = tuple(
            replace(column[place], published=_beside(system, question, published))
            for column, question in zip(columns, questions, strict=True)
        )
        seeds = len(system.seeds)
        found.append(Row(system.label, cells, section=section, seeds=seeds))
    found += [_floor_row(floor, questions, section) for floor in floors]
    for title, regime in dict.fromkeys(only_published):
        values = [published(title, regime, question) for question in questions]
        if any(value is not None for value in values):
            cells = tuple(
                Cell(published=value, decimals=view(question.metric).decimals)
                for value, question in zip(values, questions, strict=True)
            )
            found.append(Row(f"published: {title} · {regime}", cells, "published", section))
    return found


def _beside(system: Subject, question: Question, published: PublishedValue) -> float | None:
    return published(system.card.title, system.training, question) if system.plain else None


def _floor_row(floor: Floor, questions: Sequence[Question], section: str) -> Row:
    undefined = floor.metrics.get("corr_undefined", 0) > 0
    cells = tuple(
        Cell(
            floor.metrics[question.metric] * view(question.metric).scale,
            decimals=view(question.metric).decimals,
            flag="†" if undefined and question.metric == "corr" else "",
        )
        for question in questions
    )
    return Row(floor.label, cells, "floor", section)


UNDEFINED_NOTE = "† A constant prediction has no correlation; by definition it counts as 0 here."
