"""From answers to rows of cells: means over seeds, supported marks, floors, published values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from benchmark.questions import Question
from reports.answer import Answer
from reports.answers import Answers
from reports.beside import printed
from reports.floors import Floor
from reports.grid_summary import named
from reports.subjects import Subject
from reports.tables.table import DASH, Cell, Row
from reports.views import VALUE, View, view

Show = Literal["spread", "interval", "p", "holm", "verdict", "place"]


@dataclass(frozen=True)
class Average:
    """What a cell asks: a metric under one condition, or its average over several.

    Attributes:
        metric: its name.
        questions: the conditions.
        quantity: the metric itself, or what else is made of it.
        show: what is printed of the answer: the number with its standard deviation over seeds or
            with its interval, a p, a word, or the condition that it was found at.
    """

    metric: str
    questions: tuple[Question, ...]
    quantity: str = VALUE
    show: Show = "spread"


Beside = Callable[[Subject, Average], float | None]
"""The published number beside a cell, in place of the answer's own."""


def cell(answers: Answers, subject: Subject, average: Average) -> Cell:
    """What is asked of one subject; a missing cell where no run was evaluated there."""
    metric, quantity = average.metric, average.quantity
    shown = view(metric, quantity)
    found = answers.get(subject, average.questions, metric, quantity)
    beside = quantity == VALUE
    published = answers.published(subject, average.questions, metric) if beside else None
    made = Cell(decimals=shown.decimals) if found is None else cell_of(found, shown, average.show)
    return replace(made, published=published)


def cell_of(found: Answer, shown: View, show: Show) -> Cell:
    """An answer as it is printed."""
    if show == "verdict":
        return Cell(text=found.verdict)
    if show == "place":
        assert found.at is not None
        return Cell(text=" → ".join(filter(None, (found.reference, named(found.at)))))
    if show in ("p", "holm"):
        p = found.p if show == "p" else found.holm
        return Cell(text=DASH) if math.isnan(p) else Cell(p, decimals=4)
    std = None if found.std is None else found.std * shown.scale
    ends = (found.low * shown.scale, found.high * shown.scale) if show == "interval" else None
    value, count = found.value * shown.scale, len(found.seeds)
    return Cell(value, std, count, decimals=shown.decimals, interval=ends)


def pivot(
    answers: Answers, subjects: Sequence[Subject], averages: Sequence[Average], section: str = ""
) -> list[Row]:
    """A row for each subject and a cell for each average, without marks."""
    return [
        Row(
            subject.label,
            tuple(cell(answers, subject, average) for average in averages),
            section=section,
            seeds=len(subject.seeds),
        )
        for subject in subjects
    ]


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
    found += floor_rows(answers, averages, section)
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


def floor_rows(answers: Answers, averages: Sequence[Average], section: str = "") -> list[Row]:
    """A row for each constant prediction."""
    return [
        Row(one.label, tuple(floor_cell(one, a) for a in averages), "floor", section)
        for one in answers.floors
    ]


def floor_cell(floor: Floor, average: Average) -> Cell:
    """What a constant prediction scores, whatever the condition."""
    shown = view(average.metric, average.quantity)
    if average.show == "place":
        return Cell(text=DASH)
    value = floor.value(average.metric, average.quantity)
    return Cell(value * shown.scale, decimals=shown.decimals)
