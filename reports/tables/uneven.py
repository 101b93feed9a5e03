"""Uneven sensors (:mod:`reports.uneven`): a metric at rates of one's own, and what modalities are
worth."""

from __future__ import annotations

from benchmark.questions import Question
from protocols.modalities import LETTERS
from reports import captions
from reports.sources import Sources
from reports.tables.robustness import table_name
from reports.tables.rows import Average, Show, pivot
from reports.tables.table import Column, Row, Table
from reports.uneven import MEAN_RATE, at_name, covered, named_failures, subset_questions, worth_name
from reports.views import EQUITY, SELECTIONS, WORST_LOSS, view

_WORTH = (
    "Worth: the Shapley value of a modality, how much it improves the metric where it joins the "
    "others, averaged over the orders in which they may join; they add up to what everything is "
    "worth over nothing. Equity index: the entropy of the worths over the logarithm of their "
    "number, from 0, one modality gives all, to 1, all give the same, and undefined where none "
    "gives anything (docs/robustness.md). Worths and costs are positive where the metric gets "
    "better, or worse by the loss. Worst "
    "to lose: the modality whose loss alone costs most, and the cost; undecided where it is not "
    "shown to cost more than every other."
)


def uneven_tables(everything: Sources) -> list[Table]:
    """A table for the systems that were evaluated on every availability subset."""
    sources = everything.compared
    results = sources.results
    systems = [system for system in results.systems if covered(system)]
    if not systems or len(results.present) < 2:
        return []
    rates = named_failures(results.present)
    named = [*rates.items(), *(("asked", one) for one in sources.answers.rates)]
    asked = subset_questions(results.present)
    metrics = SELECTIONS[results.task].grid
    columns: list[tuple[Column, str, Show]] = [
        (Column(f"{name} {at_name(one).removeprefix('At η = ')}", "η"), at_name(one), "interval")
        for name, one in named
    ]
    columns += [
        (Column(LETTERS[m], "worth of"), worth_name(m), "interval") for m in results.present
    ]
    columns += [
        (Column(EQUITY), EQUITY, "interval"),
        (Column("which", WORST_LOSS), WORST_LOSS, "verdict"),
        (Column("cost", WORST_LOSS), WORST_LOSS, "interval"),
    ]
    made: list[Row] = []
    for metric in metrics:
        averages = [Average(metric, asked, quantity, show) for _, quantity, show in columns]
        made += pivot(sources.answers, systems, averages, view(metric).heading)
    return [
        Table(
            table_name("uneven-sensors"),
            "Uneven sensors: each modality missing at a rate of its own",
            (
                *captions.common(results.only(systems), [Question("I")]),
                "Without noise, modalities missing independently at (η_t, η_a, η_v): the exact "
                "expectation over what is missing, from the rows of Protocol I. The named rates "
                f"lose the same share of data, {MEAN_RATE:g} of it.",
                _WORTH,
                captions.INTERVALS,
                *captions.metric_note(results, metrics),
            ),
            tuple(column for column, _, _ in columns),
            tuple(made),
        )
    ]
