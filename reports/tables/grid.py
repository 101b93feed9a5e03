"""The λ×η grid of a system (the paper's Table 8): noise down, missing rate across."""

from __future__ import annotations

from benchmark.questions import Question
from protocols.conditions import LEVELS
from reports import captions
from reports.results import System
from reports.sources import Sources
from reports.tables.robustness import table_name, titled
from reports.tables.rows import Average, cell, floor_rows
from reports.tables.table import Column, Row, Table
from reports.views import SELECTIONS, view


def grid_tables(everything: Sources) -> list[Table]:
    """One table for each variant of the grid, metric and system that was evaluated there."""
    sources = everything.compared
    results = sources.results
    found = []
    for noise_rule, missing_rule in results.variants("grid", "noise_rule", "missing_rule"):
        for metric in SELECTIONS[results.task].grid:
            tables = [
                grid_table(sources, system, metric, noise_rule, missing_rule)
                for system in results.systems
            ]
            found += [t for t in tables if any(c.value is not None for c in t.rows[0].cells)]
    return found


def grid_table(
    sources: Sources, system: System, metric: str, noise_rule: str, missing_rule: str
) -> Table:
    """The 64 cells of one system, with the published ones below where the paper has them."""
    shown, results = view(metric), sources.results
    made: list[Row] = []
    questions: list[Question] = []
    for intensity in LEVELS:
        row = [Question("grid", noise_rule, missing_rule, intensity, rate) for rate in LEVELS]
        questions += row
        cells = tuple(cell(sources.answers, system, Average(metric, (q,))) for q in row)
        made.append(Row(f"λ = {intensity:g}", cells, seeds=len(system.records)))
    has_published = any(c.published is not None for row in made for c in row.cells)
    made += floor_rows(sources.answers, [Average(metric, (q,)) for q in row])
    source = "Table 8 (single checkpoint; its training is taken to be spectrum)"
    return Table(
        table_name("table8-grid", noise_rule, missing_rule, shown.title, system.key),
        titled(f"Table 8: λ×η grid of {system.label}: {shown.heading}", noise_rule, missing_rule),
        (
            *captions.common(results.only([system]), questions),
            *captions.metric_note(results, (metric,)),
            *captions.floor_note(bool(sources.floors)),
        ),
        tuple(Column(f"η = {rate:g}") for rate in LEVELS),
        tuple(made),
        corner="Noise",
        notes=captions.published_sentences(results, source) if has_published else (),
    )
