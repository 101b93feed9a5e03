"""From answers to rows of cells: means over seeds, supported marks, floors, published values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmark.questions import Question
from reports.answers import Answers
from reports.beside import printed
from reports.floors import Floor
from reports.subjects import Subject
from reports.tables.table import Cell, Row
from reports.views import view


@dataclass(frozen=True)
class Average:
    """What a cell asks: a metric under one condition, or its average over several."""

    metric: str
    questions: tuple[Question, ...]


Beside = Callable[[Subject, Average], float | None]
"""The published number beside a cell, in place of the answer's own."""


def cell(answers: Answers, subject: Subject, average: Average) -> Cell:
    """Mean, spread and count over seeds; a missing cell where no run was evaluated there."""
    shown = view(average.metric)
    found = answers.get(subject, average.questions, average.metric)
    published = answers.published(subject, average.questions, average.metric)
    if found is None:
        return Cell(published=published, decimals=shown.decimals)
    std = None if found.std is None else found.std * shown.scale
    value = found.value * shown.scale
    return Cell(value, std, len(found.seeds), published, shown.decimals)


def column(answers: Answers, subjects: Sequence[Subject], average: Average) -> list[Cell]:
    """A cell for each subject, with the marks that samples and seeds support."""
    cells = [cell(answers, subject, average) for subject in subjects]
    found = answers.marks(subjects, average.questions, average.metric)
    return [replace(one, mark=mark) for one, mark in zip(cells, found, strict=True)]


def rows(
    answers: Answers,
    subjects: Sequence[Subject],
    averages: Sequence[Average],
    only_published: Sequence[tuple[str, str]] = (),
    section: str = "",
    beside: Beside | None = None,
) -> list[Row]:
    """Subjects, then floors, then models that are only published: one row each.

    Args:
        answers: everything.
        subjects: the rows, which are compared with each other.
        averages: one for each column.
        only_published: (model title, training) of the rows that nobody ran.
        section: the heading that the rows stand under.
        beside: where the published numbers are other than the answers'.
    """
    columns = [column(answers, subjects, average) for average in averages]
    found = []
    for subject, *cells in zip(subjects, *columns, strict=True):
        if beside is not None:
            cells = [
                replace(one, published=beside(subject, average))
                for one, average in zip(cells, averages, strict=True)
            ]
        count = len(subject.seeds)
        found.append(Row(subject.label, tuple(cells), section=section, seeds=count))
    found += [_floor_row(floor, averages, section) for floor in answers.floors]
    for title, training in dict.fromkeys(only_published):
        row = _published_row(answers, title, training, averages, section)
        if any(one.published is not None for one in row.cells):
            found.append(row)
    return found


def _published_row(
    answers: Answers, title: str, training: str, averages: Sequence[Average], section: str
) -> Row:
    paper, aligned = answers.paper, answers.results.aligned
    cells = tuple(
        Cell(
            published=printed(paper, title, training, one.questions, one.metric, aligned),
            decimals=view(one.metric).decimals,
        )
        for one in averages
    )
    return Row(f"published: {title} · {training}", cells, "published", section)


def _floor_row(floor: Floor, averages: Sequence[Average], section: str) -> Row:
    cells = (floor_cell(floor, average.metric) for average in averages)
    return Row(floor.label, tuple(cells), "floor", section)


def floor_cell(floor: Floor, metric: str) -> Cell:
    """What a constant prediction scores, whatever the condition."""
    shown = view(metric)
    return Cell(floor.metrics[metric] * shown.scale, decimals=shown.decimals)
