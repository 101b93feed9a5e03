"""Does reliability mean anything? The tables, and the verdicts that their intervals give.

The claims and what decides them are in :mod:`reports.reliability.claims`.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.questions import Question, grid_questions
from protocols.conditions import LEVELS
from reports import captions
from reports.reliability.claims import Claim, answered_questions, claims_of, conclusion, noise_rules
from reports.reliability.gate import Effect, Pair, effect, pairs
from reports.reliability.scores import Follows, follows, scored
from reports.reliability.uncertainty import COVERED, Worth, worth
from reports.results import System
from reports.statistics.functionals import Estimate
from reports.tables.robustness import Sources, table_name
from reports.tables.table import Cell, Column, Row, Table
from reports.views import SELECTIONS, View, view

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
    made = []
    for system in systems:
        claims = claims_of(everything.results, system, noise_rule)
        for claim in claims:
            needs = f"{'>' if claim.above else '<'} {claim.threshold:g}"
            words = NOT_TESTED if claim.estimate is None else claim.verdict
            cells = (_estimate(claim.estimate, claim.decimals), Cell(text=needs), Cell(text=words))
            made.append(Row(claim.text, cells, section=system.label))
        cells = (Cell(text="–"), Cell(text="–"), Cell(text=conclusion(claims)))
        made.append(Row("The mechanism", cells, section=system.label))
    return Table(
        table_name("reliability-verdicts", noise_rule),
        "Does reliability mean anything? Verdicts",
        (
            *captions.common(results.only(systems), [Question("II", noise_rule)]),
            "A claim is supported where the whole 95 % interval lies on the side that the claim "
            "needs, contradicted where it lies on the other, else undecided. First Spearman's "
            "correlation of r_m with λ, then the AUROC of 1 − r_m for m missing, then the share "
            "of the way from a random to a perfect ranking of errors, then gate on minus gate off. "
            "The mechanism needs the claims on r_m and on the gate.",
            captions.INTERVALS,
        ),
        (Column("Measured"), Column("Needed"), Column("Verdict")),
        tuple(made),
        corner="Claim",
    )


def _score_table(sources: Sources, noise_rule: str) -> Table:
    results = sources.results
    systems = [system for system in results.systems if scored(system)]
    made = []
    for system in systems:
        found = [follows(system, noise_rule, modality) for modality in results.present]
        cells = tuple(cell for one in found for cell in _score_cells(one))
        made.append(Row(system.label, cells, seeds=len(system.records)))
    return Table(
        table_name("reliability-scores", noise_rule),
        "Reliability scores under noise and missing modalities",
        (
            *captions.common(results.only(systems), [Question("II", noise_rule)]),
            f"Means of r_m on clean input, at λ = {_TOP} with everything available, and without "
            "noise over the subsets that lack m. ρ: Spearman's correlation of r_m with λ over all "
            "samples and levels. AUROC: of 1 − r_m for m missing, without noise, each subset "
            "counted alike; 0.5 is chance.",
            captions.INTERVALS,
        ),
        tuple(
            Column(title, modality)
            for modality in results.present
            for title in ("clean", f"λ = {_TOP}", "missing", "ρ(r, λ)", "AUROC")
        ),
        tuple(made),
    )


def _score_cells(found: Follows | None) -> tuple[Cell, ...]:
    if found is None:
        return (Cell(decimals=3),) * 5
    means = (found.clean, found.noisy, found.missing)
    return (
        *(Cell(one.value, one.std, len(one.per_seed), decimals=3) for one in means),
        _estimate(found.correlation, 3),
        _estimate(found.auroc, 3),
    )


def _uncertainty_table(sources: Sources, systems: Sequence[System]) -> Table:
    results = sources.results
    asked = answered_questions(results)
    made = []
    for system in systems:
        cells = tuple(c for p in asked.values() for c in _worth_cells(worth(system, p)))
        made.append(Row(system.label, cells, seeds=len(system.records)))
    error = "|ŷ − y|" if results.task == "regression" else "error"
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
        tuple(
            Column(title, name)
            for name in asked
            for title in (
                *("AURC", "random", "oracle", "way to oracle, %", f"ρ(s, {error})"),
                *("NLL", "NLL gain", f"{100 * COVERED:g} % coverage, %", "ENCE"),
            )
        ),
        tuple(made),
    )


def _worth_cells(found: Worth | None) -> tuple[Cell, ...]:
    if found is None:
        return (Cell(decimals=3),) * 9
    plain = (found.random, found.oracle)
    return (
        _estimate(found.aurc, 3),
        *(Cell(one.value, one.std, len(one.per_seed), decimals=3) for one in plain),
        _estimate(found.gain, 1, 100.0),
        Cell(found.correlation.value, found.correlation.std, decimals=3),
        Cell(found.nll.value, found.nll.std, decimals=3) if found.nll else Cell(text="–"),
        _estimate(found.nll_gain, 3) if found.nll_gain else Cell(text="–"),
        _estimate(found.coverage, 1, 100.0) if found.coverage else Cell(text="–"),
        Cell(found.ence.value, found.ence.std, decimals=3) if found.ence else Cell(text="–"),
    )


def _gate_table(sources: Sources, noise_rule: str, missing_rule: str) -> Table:
    results = sources.results
    found_pairs = pairs(results)
    systems = [system for pair in found_pairs for system in (pair.on, pair.off)]
    made = []
    for metric in SELECTIONS[results.task].grid:
        for pair in found_pairs:
            found = effect(pair, metric, noise_rule, missing_rule)
            cells = _gate_cells(found, view(metric))
            made.append(Row(pair.on.label, cells, section=view(metric).heading, seeds=_seeds(pair)))
    return Table(
        table_name("gate", noise_rule, missing_rule),
        "Gate on minus gate off, at every cell of the λ×η grid",
        (
            *captions.common(results.only(systems), grid_questions(noise_rule, missing_rule)),
            "Differences to the same model trained without the gate (r_m = 1), paired by sample. "
            "The grid mean has its own 95 % interval; for single cells the intervals are a band "
            "that holds all 64 at once with 95 %, and a cell counts as better or worse where the "
            "band excludes zero.",
            captions.INTERVALS,
        ),
        (
            Column("Grid mean"),
            Column("Clean"),
            Column(f"({_TOP}, {_TOP})"),
            Column("Cells better"),
            Column("Cells worse"),
            Column("Gate"),
        ),
        tuple(made),
    )


def _seeds(pair: Pair) -> int:
    return min(len(pair.on.records), len(pair.off.records))


def _gate_cells(found: Effect | None, shown: View) -> tuple[Cell, ...]:
    if found is None:
        return (Cell(decimals=shown.decimals),) * 6
    ends = [
        Cell(
            float(found.cells[place]) * shown.scale,
            decimals=shown.decimals,
            interval=(
                float(found.low[place]) * shown.scale,
                float(found.high[place]) * shown.scale,
            ),
        )
        for place in ((0, 0), (-1, -1))
    ]
    claim = Claim("", found.mean, 0.0, shown.higher_is_better, 0)
    words = {"supported": "helps", "contradicted": "hurts", "undecided": "undecided"}
    return (
        _estimate(found.mean, shown.decimals, shown.scale),
        *ends,
        Cell(float(found.better(shown.higher_is_better).sum()), decimals=0),
        Cell(float(found.worse(shown.higher_is_better).sum()), decimals=0),
        Cell(text=words[claim.verdict]),
    )


def _estimate(found: Estimate | None, decimals: int, scale: float = 1.0) -> Cell:
    if found is None:
        return Cell(decimals=decimals)
    low, high = found.interval
    std = None if found.std is None else found.std * scale
    ends = (low * scale, high * scale)
    return Cell(found.value * scale, std, decimals=decimals, interval=ends)
