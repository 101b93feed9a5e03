"""From results to rows of cells: means over seeds, supported marks, floors, published values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from benchmark.questions import Question
from benchmark.records import RunRecord
from reports.floors import Floor
from reports.results import Results
from reports.statistics.resampling import Array, bootstrap, marks, stream_of
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
    """Works out averages of systems; resamples are kept, as tables and figures share conditions.

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

    def samples(self, average: Average) -> list[Array | None]:
        """For each system the answer under every bootstrap resample; None where it is missing."""
        by_question = [self._at(average.metric, question) for question in average.questions]
        answers: list[Array | None] = []
        for of_system in zip(*by_question, strict=True):
            present = [values for values in of_system if values is not None]
            complete = len(present) == len(by_question)
            answers.append(np.mean(present, axis=0) if complete else None)
        return answers

    def _at(self, metric: str, question: Question) -> list[Array | None]:
        kept = self.results.worked.resampled
        runs = [one.runs_at(question) for one in self.subjects]
        keys = [
            (metric, question, one.label, tuple(record.run_id for record in records))
            for one, records in zip(self.subjects, runs, strict=True)
        ]
        new = [place for place, key in enumerate(keys) if key not in kept]
        if new:
            tables = [[record.table for record in runs[place]] for place in new]
            streams = [stream_of(self.subjects[place].label) for place in new]
            made = bootstrap(tables, metric, question, streams)
            kept.update(zip((keys[place] for place in new), made, strict=True))
        return [kept[key] for key in keys]

    def column(self, average: Average) -> list[Cell]:
        """A cell for each system, with the marks that the test samples support."""
        cells = [self.cell(system, average) for system in self.subjects]
        values = [cell.value for cell in cells]
        found = marks(values, self.samples(average), average.metric)
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
