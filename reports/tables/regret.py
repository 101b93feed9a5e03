"""One-checkpoint regret: what a single spectrum checkpoint gives up against per-rate specialists.

At missing rate η the specialist was trained for it (regime ``missing`` at that rate; ``clean`` at
rate 0), the spectrum checkpoint for everything. Regret is the spectrum checkpoint's loss minus the
specialist's at η, without noise: positive where specialising pays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add

from protocols.conditions import LEVELS
from reports import captions
from reports.results import Results, System
from reports.statistics.functionals import Functional, answers, one
from reports.statistics.inference import Estimate, estimate
from reports.statistics.points import Point
from reports.tables.robustness import Sources, table_name
from reports.tables.table import Cell, Column, Row, Table
from reports.views import SELECTIONS, View, view


@dataclass(frozen=True)
class Family:
    """One model with one setting: its spectrum checkpoint and its specialists.

    Attributes:
        spectrum: the single checkpoint.
        specialists: missing rate -> the system trained for it.
    """

    spectrum: System
    specialists: Mapping[float, System]


def families(results: Results, missing_rule: str) -> list[Family]:
    """Spectrum systems that have a specialist for some rate above 0 under the rule."""
    specialists: dict[str, dict[float, System]] = {}
    for system in results.systems:
        regime = system.regime
        if regime.kind == "clean":
            specialists.setdefault(_setting(system), {})[0.0] = system
        elif regime.kind == "missing" and regime.missing_rule == missing_rule:
            specialists.setdefault(_setting(system), {})[regime.rate] = system
    return [
        Family(system, specialists[_setting(system)])
        for system in results.systems
        if system.regime.kind == "spectrum"
        and any(rate > 0 for rate in specialists.get(_setting(system), {}))
    ]


def _setting(system: System) -> str:
    """What a spectrum checkpoint and its specialists share: everything but regime and seed."""
    identity = system.records[0].spec.identity()
    del identity["seed"], identity["regime"]
    return json.dumps(identity, sort_keys=True)


def regret_tables(sources: Sources) -> list[Table]:
    """A table for each missing rule under which some model has specialists."""
    rules = {rule for (rule,) in sources.results.variants("I", "missing_rule")} - {""}
    tables = []
    for rule in sorted(rules):
        found = families(sources.results, rule)
        if found:
            tables.append(_table(sources, found, rule))
    return tables


def _table(sources: Sources, found: list[Family], rule: str) -> Table:
    results = sources.results
    metrics = SELECTIONS[results.task].grid
    made = [
        Row(
            family.spectrum.label,
            _cells(results, family, view(metric), rule),
            section=view(metric).heading,
            seeds=len(family.spectrum.records),
        )
        for metric in metrics
        for family in found
    ]
    systems = [
        system for family in found for system in (family.spectrum, *family.specialists.values())
    ]
    return Table(
        table_name("one-checkpoint-regret", rule),
        "One-checkpoint regret: a spectrum checkpoint against the specialist of each missing rate",
        (
            *captions.common(results.only(systems), _points(rule)),
            "Regret: what the one checkpoint loses to the model trained for that missing rate "
            "(for clean input at η = 0); negative where it is better than the specialist. Mean: "
            "over the rates above 0 that have a specialist.",
            captions.INTERVALS,
            *captions.metric_note(metrics),
        ),
        (*(Column(f"η = {rate:g}") for rate in LEVELS), Column("Mean η > 0")),
        tuple(made),
    )


def _points(rule: str) -> list[Point]:
    return [Point("I", "", rule, rate=rate) for rate in LEVELS]


def _cells(results: Results, family: Family, shown: View, rule: str) -> tuple[Cell, ...]:
    functionals: list[Functional] = [one(point) for point in _points(rule)]
    sign = -shown.scale if shown.higher_is_better else shown.scale
    one_for_all = answers(family.spectrum, shown.name, *functionals)
    cells, rates, theirs = [], [], []
    for q, rate in enumerate(LEVELS):
        system = family.specialists.get(rate)
        own = system and answers(system, shown.name, functionals[q])
        if not own or one_for_all is None:
            cells.append(Cell(decimals=shown.decimals))
            continue
        specialist = own.estimate.at(0)
        cells.append(_cell((one_for_all.estimate.at(q) - specialist).times(sign), shown))
        if rate > 0:
            rates.append(q)
            theirs.append(specialist)
    if one_for_all is None or not rates:
        return (*cells, Cell(decimals=shown.decimals))
    ours = estimate(one_for_all.terms[:, rates].mean(axis=1))
    mean = ours - reduce(add, theirs).times(1 / len(theirs))
    return (*cells, _cell(mean.times(sign), shown))


def _cell(found: Estimate, shown: View) -> Cell:
    return Cell(found.value, decimals=shown.decimals, interval=found.interval)
