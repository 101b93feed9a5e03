"""How wide figures are, what is on them and in which formats they are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmark.errors import BenchmarkError, unknown
from benchmark.hygiene import cut
from benchmark.metrics import METRICS
from benchmark.questions import Headline
from reports.answers import Answers
from reports.results import Results, System
from reports.views import headlines, view

WIDTHS = {"column": 3.03, "text": 6.3}
"""Inches. The column and the text of ACL's template, the narrowest of those usual in the field: in
a wider one a figure keeps its size, and its letters theirs."""

FORMATS = (".png", ".pdf", ".svg")
MOST = 8
"""As many systems a figure shows where none are named, of those that have a panel each."""


@dataclass(frozen=True)
class Look:
    """What figures look like.

    Attributes:
        width: inches; None for figures that are read on a screen, as wide as they come.
        titles: whether a figure says its title and what it was made of.
        models: names of the models that are shown; none for the best.
        metrics: metrics that are shown; none for the headline metrics.
        suffixes: of the files; PNG is always among them, as the page shows it.
    """

    width: float | None = None
    titles: bool = True
    models: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = (".png", ".pdf")

    def shown_metrics(self, results: Results) -> tuple[str, ...]:
        """The metrics of the figures. Raises BenchmarkError for one that the task lacks."""
        known = METRICS[results.task]
        named = {view(metric).title.lower(): metric for metric in known} | {m: m for m in known}
        for metric in self.metrics:
            if metric.lower() not in named:
                raise unknown("metric", metric, known)
        chosen = dict.fromkeys(named[metric.lower()] for metric in self.metrics)
        return tuple(chosen) or headlines(results.task)

    def shown_systems(self, results: Results) -> list[System]:
        """The named models' systems, or all. Raises BenchmarkError for a model without runs."""
        wanted = {name.lower() for name in self.models}
        names = {system.key: _names(system) for system in results.systems}
        for name in self.models:
            if not any(name.lower() in known for known in names.values()):
                raise unknown("model", name, dict.fromkeys(s.title for s in results.systems))
        return [s for s in results.systems if not wanted or wanted & names[s.key]]

    def best(
        self, systems: Sequence[System], answers: Answers, metric: str, most: int = MOST
    ) -> list[System]:
        """The named systems, or the best ``most``, in their order; best as leaderboards have it."""
        if self.models or len(systems) <= most:
            return list(systems)
        by: Headline = answers.results.overview[-1]
        sign = -1 if view(metric).higher_is_better else 1

        def rank(system: System) -> tuple[bool, float]:
            found = answers.measured.mean(system, by.questions, metric)
            return found is None, sign * (found or 0.0)

        kept = {system.key for system in sorted(systems, key=rank)[:most]}
        return [system for system in systems if system.key in kept]


PAGE = Look()


def _names(system: System) -> set[str]:
    """What a user may call a system: its model, or all of its name."""
    model = system.label.rpartition(" · ")[0]
    names = (system.records[0].spec.model, system.title, model, system.label, system.key)
    return {name.lower() for name in names}


def width_of(text: str) -> float:
    """``column``, ``text`` or inches, as inches. Raises BenchmarkError for anything else."""
    try:
        width = WIDTHS.get(text) or float(text)
    except ValueError:
        width = 0.0
    if not 2 <= width <= 40:
        raise BenchmarkError(
            f"--figure-width {cut(text, 80)}: column ({WIDTHS['column']:g} inches), text "
            f"({WIDTHS['text']:g}), or a number of inches from 2 to 40"
        )
    return width


def suffixes_of(names: Iterable[str]) -> tuple[str, ...]:
    """``png``, ``pdf`` and ``svg`` as suffixes, PNG first. Raises BenchmarkError for another."""
    asked = {f".{name.strip().lower().removeprefix('.')}" for name in names}
    for suffix in sorted(asked - set(FORMATS)):
        raise unknown("figure format", suffix[1:], [known[1:] for known in FORMATS])
    return tuple(suffix for suffix in FORMATS if suffix in asked | {".png"})
