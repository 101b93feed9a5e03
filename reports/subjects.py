"""What a row of a table is about."""

from __future__ import annotations

from typing import Protocol

from benchmark.questions import Question
from benchmark.records import RunRecord


class Subject(Protocol):
    """A system, or several that answer for one level each."""

    @property
    def key(self) -> str:
        """Short and unique among what is shown together."""

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
