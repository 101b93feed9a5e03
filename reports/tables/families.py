"""Seen and unseen families of degradation (:mod:`reports.families`), as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from protocols.modalities import Modality
from reports import captions
from reports.families import (
    asked_of,
    evaluated,
    family_questions,
    held_out,
    marked,
    met_in_part,
    split_of,
)
from reports.results import System
from reports.sources import Sources
from reports.tables.robustness import table_name
from reports.tables.rows import Average, cell, floor_rows
from reports.tables.table import DASH, Cell, Column, Row, Table
from reports.views import GAIN_SEEN, GAIN_UNSEEN, SEEN, SELECTIONS, UNSEEN, view


def family_tables(everything: Sources) -> list[Table]:
    """A table where some training met some of the evaluated families and not others."""
    sources = everything.compared
    results = sources.results
    rules = evaluated(results)
    if not held_out(results):
        return []
    made: list[Row] = []
    for metric in SELECTIONS[results.task].grid:
        shown = view(metric).heading
        for system in results.systems:
            cells = _cells(sources, system, metric)
            made.append(Row(system.label, cells, section=shown, seeds=len(system.records)))
        blank = [Average(metric, ())] * (4 + len(rules))
        for row in floor_rows(sources.answers, blank, shown):
            gains = (Cell(text=DASH),) * 2
            made.append(replace(row, cells=(*row.cells[:2], *gains, *row.cells[4:])))
    columns = [Column("seen", "Mean"), Column("unseen", "Mean")]
    columns += [
        Column("seen", "Gain over clean training"),
        Column("unseen", "Gain over clean training"),
    ]
    asked = [q for rule in rules for q in family_questions(results, rule)]
    return [
        Table(
            table_name("seen-unseen-families"),
            "Seen and unseen families of degradation",
            (
                *captions.common(results, asked),
                "Means over λ above 0 with nothing missing, families alike; • a family that the "
                "training met. Families are not equally harsh, so seen and unseen means are no "
                "comparison; the gain over the same model trained on clean input, positive where "
                "it is better, is one. Families are described in docs/degradations.md.",
                *_in_part(met_in_part(results)),
                captions.INTERVALS,
                *captions.metric_note(results, SELECTIONS[results.task].grid),
                *captions.floor_note(bool(sources.floors)),
            ),
            (*columns, *(Column(rule, "Family") for rule in rules)),
            tuple(made),
        )
    ]


def _in_part(met: Mapping[str, Sequence[Modality]]) -> tuple[str, ...]:
    """Of families that are unseen, what training met all the same."""
    if not met:
        return ()
    parts = "; ".join(f"{rule}: {', '.join(found)}" for rule, found in met.items())
    return (f"Unseen families that do to a modality what a seen one does: {parts}.",)


def _cells(sources: Sources, system: System, metric: str) -> tuple[Cell, ...]:
    results, answers = sources.results, sources.answers
    split = split_of(results, system)
    none = Cell(text=DASH)
    sides = {SEEN: (split.seen, GAIN_SEEN), UNSEEN: (split.unseen, GAIN_UNSEEN)}
    means, gains = [], []
    for name, (rules, gain) in sides.items():
        asked = asked_of(results, rules)
        mean = cell(answers, system, Average(metric, asked, name))
        means.append(mean if rules else none)
        compared = rules and system.regime.kind != "clean"
        effect = cell(answers, system, Average(metric, asked, gain, "interval"))
        gains.append(effect if compared else none)
    signs = marked(split)
    single = [
        replace(
            cell(answers, system, Average(metric, family_questions(results, rule))),
            flag=signs[rule],
            published=None,
        )
        for rule in evaluated(results)
    ]
    return (*means, *gains, *single)
