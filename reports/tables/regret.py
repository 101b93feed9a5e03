"""One-checkpoint regret (:mod:`reports.regret`), as a table for each missing rule."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.questions import random_questions
from protocols.conditions import LEVELS
from reports import captions
from reports.regret import Pair, pairs
from reports.sources import Sources
from reports.tables.robustness import table_name
from reports.tables.rows import Average, pivot
from reports.tables.table import Column, Row, Table
from reports.views import REGRET, SELECTIONS, view


def regret_tables(sources: Sources) -> list[Table]:
    """A table for each missing rule under which some model has specialists."""
    rules = {rule for (rule,) in sources.results.variants("I", "missing_rule")} - {""}
    found = {rule: pairs(sources.answers.measured, rule) for rule in sorted(rules)}
    return [_table(sources, some, rule) for rule, some in found.items() if some]


def _table(sources: Sources, found: Sequence[Pair], rule: str) -> Table:
    results, metrics = sources.results, SELECTIONS[sources.results.task].grid
    made: list[Row] = []
    for metric in metrics:
        for system, trained in found:
            levels = [(question,) for question in random_questions(rule)]
            asked = [*levels, tuple(trained.beyond_clean(results.present))]
            averages = [Average(metric, questions, REGRET, "interval") for questions in asked]
            made += pivot(sources.answers, [system], averages, view(metric).heading)
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
