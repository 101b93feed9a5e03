"""From answers to rows of cells: means over seeds, supported marks, floors, published values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from benchmark.questions import Question
from reports.answer import Answer
from reports.answers import Answers
from reports.beside import ablation_printed, printed
from reports.floors import Floor
from reports.grid_summary import named
from reports.results import System
from reports.subjects import Subject
from reports.tables.table import DASH, Cell, Row
from reports.views import VALUE, View, view

Beside = Literal["answer", "ablation", "nothing"]
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
        beside: the published number that stands beside it.
    """

    metric: str
    questions: tuple[Question, ...]
    quantity: str = VALUE
    show: Show = "spread"
    beside: Beside = "answer"


def cell(answers: Answers, subject: Subject, average: Average) -> Cell:
    """What is asked of one subject; a missing cell where no run was evaluated there."""
    metric, quantity = average.metric, average.quantity
    shown = view(metric, quantity)
    found = answers.get(subject, average.questions, metric, quantity)
    made = Cell(decimals=shown.decimals) if found is None else cell_of(found, shown, average.show)
    return replace(made, published=_published(answers, subject, average))


def _published(answers: Answers, subject: Subject, average: Average) -> float | None:
    asked, metric = average.questions, average.metric
    if average.beside == "ablation" and isinstance(subject, System):
        return ablation_printed(answers.paper, subject, asked, metric)
    if average.beside == "answer" and average.quantity == VALUE:
        return answers.measured.published(subject, asked, metric)
    return None


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
    ends = (found.low * shown.scale, found.high * shown.scale)
    value, count = found.value * shown.scale, len(found.seeds)
    spread: Literal["interval", "std"] = "interval" if show == "interval" else "std"
    return Cell(value, std, count, decimals=shown.decimals, interval=ends, spread=spread)


def pivot(
    answers: Answers, subjects: Sequence[Subject], averages: Sequence[Average], section: str = ""
) -> list[Row]:
    """A row for each subject and a cell for each average, without marks."""
    columns = [[cell(answers, subject, average) for subject in subjects] for average in averages]
    return _rows(subjects, columns, section)


def _rows(
    subjects: Sequence[Subject], columns: Sequence[Sequence[Cell]], section: str
) -> list[Row]:
    return [
        Row(
            subject.label,
            tuple(cells),
            section=section,
            seeds=len(subject.seeds),
            about=subject.key,
        )
        for subject, *cells in zip(subjects, *columns, strict=True)
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
) -> list[Row]:
    """Subjects, then floors, then models that are only published: one row each.

    Args:
        answers: everything.
        subjects: the rows, which are compared with each other.
        averages: one for each column.
        only_published: (model title, training) of the rows that nobody ran.
        section: the heading that the rows stand under.
    """
    found = _rows(subjects, [column(answers, subjects, one) for one in averages], section)
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
