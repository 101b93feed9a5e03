"""From results to rows of cells: means over seeds, supported marks, floors, published values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from benchmark.records import RunRecord
from reports.floors import Floor
from reports.results import Results
from reports.statistics.points import Point
from reports.statistics.resampling import Array, bootstrap, marks, stream_of
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

    def runs_at(self, point: Point) -> tuple[RunRecord, ...]:
        """The runs that answer for a condition."""


@dataclass(frozen=True)
class Question:
    """What a cell asks: a metric at a point, or its average over several."""

    metric: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Measure:
    """Answers questions about systems; resamples are kept, as tables and figures share conditions.

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

    def samples(self, question: Question) -> list[Array | None]:
        """For each system the answer under every bootstrap resample; None where it is missing."""
        by_point = [self._at(question.metric, point) for point in question.points]
        answers: list[Array | None] = []
        for of_system in zip(*by_point, strict=True):
            present = [values for values in of_system if values is not None]
            complete = len(present) == len(by_point)
            answers.append(np.mean(present, axis=0) if complete else None)
        return answers

    def _at(self, metric: str, point: Point) -> list[Array | None]:
        kept = self.results.worked.resampled
        runs = [one.runs_at(point) for one in self.subjects]
        keys = [
            (metric, point, one.label, tuple(record.run_id for record in records))
            for one, records in zip(self.subjects, runs, strict=True)
        ]
        new = [place for place, key in enumerate(keys) if key not in kept]
        if new:
            tables = [[record.table for record in runs[place]] for place in new]
            streams = [stream_of(self.subjects[place].label) for place in new]
            made = bootstrap(tables, metric, point, streams)
            kept.update(zip((keys[place] for place in new), made, strict=True))
        return [kept[key] for key in keys]

    def column(self, question: Question) -> list[Cell]:
        """A cell for each system, with the marks that the test samples support."""
        cells = [self.cell(system, question) for system in self.subjects]
        values = [cell.value for cell in cells]
        found = marks(values, self.samples(question), question.metric)
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
    return published(system.title, system.training, question) if system.plain else None


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
