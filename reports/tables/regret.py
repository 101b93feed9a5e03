"""One-checkpoint regret: what a single spectrum checkpoint gives up against per-rate specialists.

At missing rate η the specialist was trained for it (regime ``missing`` at that rate; ``clean`` at
rate 0), the spectrum checkpoint for everything. Regret is the spectrum checkpoint's loss minus the
specialist's at η, without noise: positive where specialising pays.
"""

from __future__ import annotations

from functools import reduce
from operator import add

from benchmark.questions import random_questions
from protocols.conditions import LEVELS
from reports import captions
from reports.answers import Answers, system_terms
from reports.results import Results, System
from reports.specialists import Specialists, specialists
from reports.statistics.inference import Estimate, estimate
from reports.tables.robustness import Sources, table_name
from reports.tables.table import Cell, Column, Row, Table
from reports.views import SELECTIONS, View, view

Pair = tuple[System, Specialists]
"""A spectrum checkpoint, and the specialists that share all else with it."""


def regret_tables(sources: Sources) -> list[Table]:
    """A table for each missing rule under which some model has specialists."""
    rules = {rule for (rule,) in sources.results.variants("I", "missing_rule")} - {""}
    found = {rule: pairs(sources.results, rule) for rule in sorted(rules)}
    return [_table(sources, some, rule) for rule, some in found.items() if some]


def pairs(results: Results, missing_rule: str) -> list[Pair]:
    """Spectrum systems that have a specialist for some rate above 0 under the rule."""
    by_setting = {s.setting: s for s in specialists(results, "missing", missing_rule)}
    return [
        (system, by_setting[setting])
        for system in results.systems
        if system.regime.kind == "spectrum"
        and (setting := system.records[0].spec.apart_from("regime")) in by_setting
    ]


def _table(sources: Sources, found: list[Pair], rule: str) -> Table:
    results = sources.results
    metrics = SELECTIONS[results.task].grid
    made = [
        Row(
            one_for_all.label,
            _cells(sources.answers, one_for_all, own, view(metric), rule),
            section=view(metric).heading,
            seeds=len(one_for_all.records),
        )
        for metric in metrics
        for one_for_all, own in found
    ]
    systems = [system for spectrum, own in found for system in (spectrum, *own.by_level.values())]
    return Table(
        table_name("one-checkpoint-regret", rule),
        "One-checkpoint regret: a spectrum checkpoint against the specialist of each missing rate",
        (
            *captions.common(results.only(systems), random_questions(rule)),
            "Regret: what the one checkpoint loses to the model trained for that missing rate "
            "(for clean input at η = 0); negative where it is better than the specialist. Mean: "
            "over the rates above 0 that have a specialist.",
            captions.INTERVALS,
            *captions.metric_note(results, metrics),
        ),
        (*(Column(f"η = {rate:g}") for rate in LEVELS), Column("Mean η > 0")),
        tuple(made),
    )


def _cells(
    answers: Answers, spectrum: System, trained: Specialists, shown: View, rule: str
) -> tuple[Cell, ...]:
    sign = -shown.scale if shown.higher_is_better else shown.scale
    cells, asked, theirs = [], [], []
    for question in random_questions(rule):
        one_for_all = answers.estimate(spectrum, [question], shown.name)
        specialist = answers.estimate(trained, [question], shown.name)
        if one_for_all is None or specialist is None:
            cells.append(Cell(decimals=shown.decimals))
            continue
        cells.append(_cell((one_for_all - specialist).times(sign), shown))
        if question.rate > 0:
            asked.append(question)
            theirs.append(specialist)
    terms = system_terms(spectrum, shown.name, asked) if asked else None
    if terms is None:
        return (*cells, Cell(decimals=shown.decimals))
    mean = estimate(terms.mean(axis=1)) - reduce(add, theirs).times(1 / len(theirs))
    return (*cells, _cell(mean.times(sign), shown))


def _cell(found: Estimate, shown: View) -> Cell:
    return Cell(found.value, decimals=shown.decimals, interval=found.interval)
