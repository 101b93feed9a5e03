"""Paired differences to a reference system: interval, p-value, Holm, and a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.questions import Question
from reports import captions
from reports.results import Results, System
from reports.statistics.inference import LEVEL, SEEDS_NEEDED, Estimate, holm
from reports.tables.robustness import Sources, table_name
from reports.tables.table import Cell, Column, Row, Table
from reports.views import SELECTIONS, View, view

REFERENCE_MODEL = "qamoe"
Verdict = Literal["better", "worse", "undecided"]

Test = tuple[str, str]
"""A system's key and the name of what it is compared on."""

_UNIT = (
    "Each difference is the system minus the reference of its section, paired by test sample; "
    "better and worse claim that it holds for new test samples and new trainings: p is two-sided, "
    f"from the model of the interval, and its Holm correction must be below {1 - LEVEL:.2g}. "
    "Undecided: this is not shown, or one of the two has fewer than "
    f"{SEEDS_NEEDED} seeds, so that nothing is known of new trainings and there is no p."
)


@dataclass(frozen=True)
class Difference:
    """A system minus its reference under one condition, in the metric's raw unit.

    Attributes:
        estimate: the difference of the means over seeds, with its interval and p.
        holm: p after Holm's correction over the table's tests; NaN where there is no p.
    """

    estimate: Estimate
    holm: float

    def verdict(self, higher_is_better: bool) -> Verdict:
        """What the corrected p supports; the interval excludes zero wherever it is this low."""
        if not self.holm < 1 - LEVEL:
            return "undecided"
        return "better" if (self.estimate.value > 0) == higher_is_better else "worse"


@dataclass(frozen=True)
class Section:
    """Systems of one training regime and the one that they are compared with."""

    reference: System
    others: tuple[System, ...]


def sections(results: Results, metric: str) -> list[Section]:
    """The comparisons of a report: like with like, so each regime has its own.

    The reference is QA-MoE at its preset's settings; in a regime without it, the system that is
    best on the clean test.
    """
    regimes = dict.fromkeys(system.regime.name for system in results.systems)
    found = []
    for regime in regimes:
        members = [s for s in results.systems if s.regime.name == regime]
        usual = [s for s in members if s.plain and s.records[0].spec.model == REFERENCE_MODEL]
        reference = max(usual, key=lambda s: len(s.records)) if usual else None
        reference = reference or _best(results, members, metric)
        others = tuple(s for s in members if s.key != reference.key)
        if others:
            found.append(Section(reference, others))
    return found


def _best(results: Results, members: Sequence[System], metric: str) -> System:
    frame = results.frame[results.frame["protocol"] == "clean"]
    means = frame.groupby("system")[metric].mean()
    best = max if view(metric).higher_is_better else min
    return best(members, key=lambda system: float(means[system.key]))


def difference_tables(everything: Sources) -> list[Table]:
    """A table for each headline metric; none where nothing can be compared."""
    sources = everything.compared
    tables = [_table(sources, metric) for metric in SELECTIONS[sources.results.task].grid]
    return [table for table in tables if table.rows]


def conditions(results: Results) -> dict[str, tuple[Question, ...]]:
    """What systems are compared on: clean, Protocol III and the grid mean, where evaluated."""
    compared = ("clean", "III", "grid")
    chosen = [h for h in results.overview if h.questions[0].protocol in compared]
    return {headline.title: headline.questions for headline in chosen}


def corrected(found: Mapping[Test, Estimate]) -> dict[Test, Difference]:
    """Differences with Holm's correction over exactly these."""
    adjusted = holm([float(one.p) for one in found.values()])
    return {
        key: Difference(one, float(p))
        for (key, one), p in zip(found.items(), adjusted, strict=True)
    }


def _table(sources: Sources, metric: str) -> Table:
    results, shown = sources.results, view(metric)
    asked = conditions(results)
    found: dict[Test, Estimate] = {}
    groups = sections(results, metric)
    for section in groups:
        for name, questions in asked.items():
            base = sources.answers.estimate(section.reference, questions, metric)
            for system in section.others:
                own = sources.answers.estimate(system, questions, metric)
                if own is not None and base is not None:
                    found[system.key, name] = own - base
    tests = corrected(found)
    made = [
        Row(
            system.label,
            tuple(c for name in asked for c in _cells(tests.get((system.key, name)), shown)),
            section=f"{section.reference.title} · {section.reference.regime.name} is the reference",
            seeds=len(system.records),
        )
        for section in groups
        for system in section.others
    ]
    tested = sum(one.estimate.decidable for one in tests.values())
    family = f"Holm's correction over the {tested} tests of this table."
    return Table(
        table_name("paired-differences", shown.title),
        f"Paired differences in {shown.heading}",
        (
            *captions.common(results, [q for questions in asked.values() for q in questions]),
            _UNIT,
            family,
            captions.INTERVALS,
            *captions.metric_note(results, (metric,)),
        ),
        tuple(
            Column(title, name)
            for name in asked
            for title in ("difference", "p", "Holm p", "verdict")
        ),
        tuple(made),
    )


def _cells(found: Difference | None, shown: View) -> tuple[Cell, ...]:
    if found is None:
        return (Cell(decimals=shown.decimals),) * 4
    scaled = found.estimate.times(shown.scale)
    p_values = (
        (Cell(float(found.estimate.p), decimals=4), Cell(found.holm, decimals=4))
        if found.estimate.decidable
        else (Cell(text="–"),) * 2
    )
    return (
        Cell(scaled.value, decimals=shown.decimals, interval=scaled.interval),
        *p_values,
        Cell(text=found.verdict(shown.higher_is_better)),
    )
