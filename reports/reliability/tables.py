"""Does reliability mean anything? The tables, and the verdicts that their intervals give.

The claims and what decides them are in :mod:`reports.reliability.claims`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.questions import Question, fixed_questions, grid_questions, noise_questions
from protocols.conditions import LEVELS
from reports import captions
from reports.reliability.claims import Claim, claims_of
from reports.reliability.gate import pairs
from reports.reliability.mechanism import concluded
from reports.reliability.scores import noise_rules, scored
from reports.reliability.uncertainty import COVERED, answered_questions
from reports.results import System
from reports.sources import Sources
from reports.tables.robustness import table_name, titled
from reports.tables.rows import Average, Show, cell_of, pivot
from reports.tables.table import DASH, Cell, Column, Row, Table
from reports.views import (
    AUROC,
    BETTER,
    GATE,
    MECHANISM,
    MISSING,
    RHO,
    SELECTIONS,
    VALUE,
    WORSE,
    view,
)

NOT_TESTED = "not tested: no run without the gate"
_TOP = f"{LEVELS[-1]:g}"


def mechanism_tables(everything: Sources) -> list[Table]:
    """The tables of one data set, the verdicts first; none where no system has an uncertainty."""
    sources = everything.compared
    results = sources.results
    tables = []
    for rule in noise_rules(results):
        if any(scored(system) for system in results.systems):
            tables += [_verdict_table(everything, rule), _score_table(sources, rule)]
    uncertain = [
        s for s in results.systems if any(r.table.log_variance is not None for r in s.records)
    ]
    if uncertain:
        tables.append(_uncertainty_table(sources, uncertain))
    if pairs(everything.results):
        variants = everything.results.variants("grid", "noise_rule", "missing_rule")
        tables += [_gate_table(everything, *variant) for variant in variants]
    return tables


def _verdict_table(everything: Sources, noise_rule: str) -> Table:
    """Of the systems that are compared; the other side of a gate may be a variant of one."""
    results = everything.compared.results
    systems = [system for system in results.systems if scored(system)]
    made: list[Row] = []
    for system in systems:
        claims = claims_of(everything.results, system, noise_rule, everything.answers.rows)
        made += [Row(one.text, _claim_cells(one), section=system.label) for one in claims]
        said = everything.answers.rows[concluded(system, noise_rule)].verdict
        cells = (Cell(text=DASH), Cell(text=DASH), Cell(text=said))
        made.append(Row(MECHANISM, cells, section=system.label))
    return Table(
        table_name("reliability-verdicts", noise_rule),
        titled("Does reliability mean anything? Verdicts", noise_rule),
        (
            *captions.common(results.only(systems), [Question("II", noise_rule)]),
            "A claim is supported where the whole 95 % interval lies on the side that the claim "
            "needs, contradicted where it lies on the other, for new test samples and new "
            "trainings; else undecided, and always with fewer than three seeds. First Spearman's "
            "correlation of r_m with λ, then the AUROC of 1 − r_m for m missing, then the share "
            "of the way from a random to a perfect ranking of errors, then gate on minus gate off. "
            "The mechanism needs the claims on r_m and on the gate.",
            captions.INTERVALS,
        ),
        (Column("Measured"), Column("Needed"), Column("Verdict")),
        tuple(made),
        corner="Claim",
    )


def _claim_cells(claim: Claim) -> tuple[Cell, ...]:
    shown = view(claim.about.metric, claim.about.quantity)
    measured = Cell(decimals=shown.decimals)
    if claim.answer:
        measured = replace(cell_of(claim.answer, shown, "interval"), n=0)
    words = claim.verdict if claim.answer else NOT_TESTED
    needs = f"{'>' if claim.above else '<'} {claim.threshold:g}"
    return measured, Cell(text=needs), Cell(text=words)


def _score_table(sources: Sources, noise_rule: str) -> Table:
    results = sources.results
    systems = [system for system in results.systems if scored(system)]
    along = noise_questions(noise_rule, results.present)
    every, subsets = tuple(along), tuple(fixed_questions(results.present))
    columns: dict[str, tuple[tuple[Question, ...], str, Show]] = {
        "clean": (every[:1], VALUE, "spread"),
        f"λ = {_TOP}": (every[-1:], VALUE, "spread"),
        "missing": (subsets, MISSING, "spread"),
        RHO: (every, RHO, "interval"),
        AUROC: (subsets, AUROC, "interval"),
    }
    averages = [Average(f"r_{m}", *asked) for m in results.present for asked in columns.values()]
    return Table(
        table_name("reliability-scores", noise_rule),
        titled("Reliability scores under noise and missing modalities", noise_rule),
        (
            *captions.common(results.only(systems), [Question("II", noise_rule)]),
            f"Means of r_m on clean input, at λ = {_TOP} with everything available, and without "
            "noise over the subsets that lack m. ρ: Spearman's correlation of r_m with λ over all "
            "samples and levels. AUROC: of 1 − r_m for m missing, without noise, each subset "
            "counted alike; 0.5 is chance.",
            captions.INTERVALS,
        ),
        tuple(Column(title, modality) for modality in results.present for title in columns),
        tuple(pivot(sources.answers, systems, averages)),
    )


def _uncertainty_table(sources: Sources, systems: Sequence[System]) -> Table:
    results = sources.results
    asked = answered_questions(results)
    error = "|ŷ − y|" if results.task == "regression" else "error"
    columns: list[tuple[str, str, Show]] = [
        ("AURC", "aurc", "interval"),
        ("random", "aurc_random", "spread"),
        ("oracle", "aurc_oracle", "spread"),
        ("way to oracle", "way_to_oracle", "interval"),
        (f"ρ(s, {error})", "s_correlation", "spread"),
    ]
    if results.task == "regression":
        columns += [
            ("NLL", "nll", "spread"),
            ("NLL gain", "nll_gain", "interval"),
            (f"{100 * COVERED:g} % coverage, %", "coverage", "interval"),
            ("ENCE", "ence", "spread"),
        ]
    averages = [
        Average(metric, (question,), show=show)
        for question in asked.values()
        for _, metric, show in columns
    ]
    likelihood = (
        "NLL: Gaussian, per sample; beside it what s gains on the best constant variance. "
        f"Coverage: share of labels within ŷ ± z σ, nominally {100 * COVERED:g} %. ENCE: mean over "
        "10 bins of |predicted − observed| / predicted root mean squared error."
        if results.task == "regression"
        else "For classes s has no likelihood and no intervals: exp(−s) CE + s/2 is no density."
    )
    return Table(
        "uncertainty",
        "What the log-variance is worth",
        (
            *captions.common(results.only(systems), list(asked.values())),
            f"AURC: area under the risk–coverage curve of {error}, ranked by s; beside it a random "
            "ranking (the mean risk), one by the error itself, and how far s gets from the one to "
            f"the other. ρ: Spearman's correlation of s with {error}. {likelihood}",
            captions.INTERVALS,
        ),
        tuple(Column(title, name) for name in asked for title, _, _ in columns),
        tuple(pivot(sources.answers, systems, averages)),
    )


def _gate_table(sources: Sources, noise_rule: str, missing_rule: str) -> Table:
    results = sources.results
    found = pairs(results)
    grid = grid_questions(noise_rule, missing_rule)
    columns: dict[str, tuple[Sequence[Question], tuple[str, Show]]] = {
        "Grid mean": (grid, (GATE, "interval")),
        "Clean": (grid[:1], (GATE, "interval")),
        f"({_TOP}, {_TOP})": (grid[-1:], (GATE, "interval")),
        BETTER: (grid, (BETTER, "spread")),
        WORSE: (grid, (WORSE, "spread")),
        "Verdict": (grid, (GATE, "verdict")),
    }
    made: list[Row] = []
    for metric in SELECTIONS[results.task].grid:
        averages = [Average(metric, tuple(q), *rest) for q, rest in columns.values()]
        heading = view(metric).heading
        made += pivot(sources.answers, [pair.on for pair in found], averages, heading)
    systems = [system for pair in found for system in (pair.on, pair.off)]
    return Table(
        table_name("gate", noise_rule, missing_rule),
        titled("Gate on minus gate off, at every cell of the λ×η grid", noise_rule, missing_rule),
        (
            *captions.common(results.only(systems), grid),
            "Differences to the same model trained without the gate (r_m = 1), paired by sample. "
            "The grid mean has its own 95 % interval; for single cells the intervals are a band "
            "that holds all 64 at once with 95 %, and a cell counts as better or worse where the "
            "band excludes zero; with fewer than three seeds of a side none does, and the gate is "
            "undecided.",
            captions.INTERVALS,
        ),
        tuple(map(Column, columns)),
        tuple(made),
    )
