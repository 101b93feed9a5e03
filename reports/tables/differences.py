"""Paired differences to a reference system: interval, permutation p-value, Holm, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reports import captions
from reports.results import Results, System
from reports.statistics.functionals import Answers, Functional, answers, mean
from reports.statistics.resampling import LEVEL, holm, interval, permutation_p
from reports.tables.robustness import Sources, table_name
from reports.tables.table import Cell, Column, Row, Table
from reports.views import SELECTIONS, View, view

REFERENCE_MODEL = "qamoe"
Verdict = Literal["better", "worse", "undecided"]

_UNIT = (
    "Each difference is the system minus the reference of its section, paired by test sample. "
    "p: two-sided permutation of the two systems, sample by sample, which speaks of these "
    "checkpoints on other samples; the interval speaks of new trainings too. Better and worse "
    f"need both: an interval without zero and a Holm p below {1 - LEVEL:.2g}."
)


@dataclass(frozen=True)
class Difference:
    """A system minus its reference under one condition, in the metric's raw unit.

    Attributes:
        value: the difference of the means over seeds.
        interval: its 95 % interval, over samples and seeds.
        p: the permutation p-value.
        holm: p after Holm's correction over the table's tests.
    """

    value: float
    interval: tuple[float, float]
    p: float
    holm: float = float("nan")

    def verdict(self, higher_is_better: bool) -> Verdict:
        """What interval and corrected p together support."""
        low, high = self.interval
        if self.holm >= 1 - LEVEL or low <= 0 <= high:
            return "undecided"
        return "better" if (low > 0) == higher_is_better else "worse"


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


def conditions(results: Results) -> dict[str, Functional]:
    """What systems are compared on: clean, Protocol III and the grid mean, where evaluated."""
    compared = ("clean", "III", "grid")
    chosen = [h for h in results.overview if h.questions[0].protocol in compared]
    return {headline.title: mean(headline.questions) for headline in chosen}


def difference(one_side: Answers, reference: Answers) -> list[Difference]:
    """Paired differences of two systems, one for each functional; not corrected yet."""
    values = one_side.per_seed.mean(axis=0) - reference.per_seed.mean(axis=0)
    samples = one_side.samples - reference.samples
    p_values = permutation_p(one_side.of_samples - reference.of_samples)
    return [
        Difference(float(value), interval(samples[:, q]), float(p))
        for q, (value, p) in enumerate(zip(values, p_values, strict=True))
    ]


def corrected(found: Sequence[Difference]) -> list[Difference]:
    """The same with Holm's correction over exactly these."""
    adjusted = holm([one.p for one in found])
    return [replace(d, holm=float(p)) for d, p in zip(found, adjusted, strict=True)]


def _table(sources: Sources, metric: str) -> Table:
    results, shown = sources.results, view(metric)
    asked = conditions(results)
    answer = {
        (system.key, name): answers(system, metric, functional)
        for system in results.systems
        for name, functional in asked.items()
    }
    tests: dict[tuple[str, str], Difference] = {}
    groups = sections(results, metric)
    for section in groups:
        for name in asked:
            base = answer[section.reference.key, name]
            for system in section.others:
                own = answer[system.key, name]
                if own is not None and base is not None:
                    (tests[system.key, name],) = difference(own, base)
    tests = dict(zip(tests, corrected(list(tests.values())), strict=True))
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
    questions = [question for functional in asked.values() for question, _ in functional]
    family = f"Holm's correction over the {len(tests)} tests of this table."
    return Table(
        table_name("paired-differences", shown.title),
        f"Paired differences in {shown.heading}",
        (
            *captions.common(results, questions),
            _UNIT,
            family,
            captions.INTERVALS,
            *captions.metric_note((metric,)),
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
    low, high = (end * shown.scale for end in found.interval)
    return (
        Cell(found.value * shown.scale, decimals=shown.decimals, interval=(low, high)),
        Cell(found.p, decimals=4),
        Cell(found.holm, decimals=4),
        Cell(text=found.verdict(shown.higher_is_better)),
    )
