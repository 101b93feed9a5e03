"""The audit of reliability scores (:mod:`reports.reliability.audit`) as one table: what was
measured, and in words that say no more than that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from benchmark.metrics import PRIMARY
from benchmark.questions import Question, fixed_questions, grid_questions, noise_questions
from protocols.modalities import LETTERS
from protocols.rules import harmed, is_met
from reports import captions
from reports.answer import Answer, Key, ordered
from reports.reliability.audit import conditions, noisiest
from reports.reliability.scores import noise_rules, scored
from reports.results import System
from reports.sources import Sources
from reports.tables.rows import cell_of
from reports.tables.table import Cell, Column, Row, Table
from reports.views import AUROC, DETECTED, GATE, HEAD_ROOM, PERMUTED, RHO, view

NOT_MEASURED = "not measured"
_WORDS: Mapping[str, tuple[str, str, str]] = {
    RHO: ("falls as noise rises", "rises with noise", "no trend is shown"),
    DETECTED: ("tells noisy from clean", "takes clean for noisy", "not shown to beat chance"),
    AUROC: ("tells missing from there", "takes there for missing", "not shown to beat chance"),
    PERMUTED: ("worse with another's scores", "better with another's scores", "no change is shown"),
    HEAD_ROOM: ("fixed weights are better", "own scores are better", "no difference is shown"),
    GATE: ("better with the gate", "worse with the gate", "no difference is shown"),
}
"""Quantity -> what is said where the interval lies on the side of the claim, on the other, or on
neither."""
_SIDE = {"supported": 0, "better": 0, "contradicted": 1, "worse": 1}


def audit_tables(everything: Sources) -> list[Table]:
    """One table of every system with scores; none where neither given scores nor several families
    were asked for."""
    results, known = everything.compared.results, everything.answers.rows
    systems = [system for system in results.systems if scored(system)]
    asked = any(key.quantity in (PERMUTED, HEAD_ROOM) for key in known)
    if not systems or not (asked or len(noise_rules(results)) > 1):
        return []
    made = []
    for system in systems:
        for text, key in _lines(everything, system):
            said = known.get(key)
            made.append(Row(text, _cells(said, key), section=system.label))
    about = [q for rule in noise_rules(results) for q in noise_questions(rule, results.present)]
    return [
        Table(
            "reliability-audit",
            "Reliability audit: do the scores notice, do they matter, is there anything to win?",
            (
                *captions.common(results.only(systems), about),
                "Seen: training met what the family does to that modality. ρ: Spearman's "
                f"correlation of r_m with λ. AUROC: of 1 − r_m for λ = {view_level(about)} "
                "against clean input, and for m missing; 0.5 is chance. Permuted: each sample has "
                "another one's scores of the same condition, mean of five permutations; positive "
                "where that is worse. Fixed weights: for each (λ, what is available) the best of a "
                "grid on validation, which "
                "is what a perfect detector of the degradation could win by weighing; positive "
                "where there is something to win. Gate: against the same model trained without "
                "it. The words say on which side of its threshold the whole 95 % interval lies, "
                "and never more; with fewer than three seeds nothing is shown. Not measured: see "
                "benchmark run --diagnose reliability, and --set model.ablation=no_gate.",
                captions.INTERVALS,
            ),
            (Column("Measured"), Column("In words")),
            tuple(made),
            corner="Question",
        )
    ]


def view_level(about: list[Question]) -> str:
    """The highest λ that was asked."""
    return f"{max(question.intensity for question in about):g}"


def _lines(everything: Sources, system: System) -> Iterator[tuple[str, Key]]:
    """Every question of the audit, and the answer that it is about."""
    results = everything.compared.results
    fixed = ordered(fixed_questions(results.present))
    metric = PRIMARY[results.task]
    for rule in noise_rules(results):
        for m in harmed(rule, results.present):
            met = "seen" if is_met(rule, m, system.regime.families) else "unseen"
            name, along = f"r_{LETTERS[m]}", ordered(noise_questions(rule, results.present))
            yield f"notices {rule} ({met}): ρ({name}, λ)", Key(system.key, along, f"r_{m}", RHO)
            top = noisiest(results, rule)
            text = f"notices {rule} ({met}): AUROC of {name}"
            yield text, Key(system.key, top, f"r_{m}", DETECTED)
    for m in results.present:
        yield f"notices missing {m}: AUROC", Key(system.key, fixed, f"r_{m}", AUROC)
    shown = view(metric).title
    for rule in noise_rules(results):
        for asked in conditions(results, rule):
            where = f"{rule}, {'grid' if asked[0].protocol == 'grid' else 'nothing missing'}"
            yield (
                f"matters: {shown}, permuted scores ({where})",
                Key(system.key, asked, metric, PERMUTED),
            )
            yield (
                f"head room: {shown}, fixed weights ({where})",
                Key(system.key, asked, metric, HEAD_ROOM),
            )
    for noise, missing in results.variants("grid", "noise_rule", "missing_rule"):
        asked = ordered(grid_questions(noise, missing))
        yield f"gate on − off: {shown} ({noise}, grid)", Key(system.key, asked, metric, GATE)


def _cells(said: Answer | None, key: Key) -> tuple[Cell, Cell]:
    shown = view(key.metric, key.quantity)
    if said is None:
        return Cell(text="–"), Cell(text=NOT_MEASURED)
    words = _WORDS[key.quantity][_SIDE.get(said.verdict, 2)]
    return replace(cell_of(said, shown, "interval"), n=0), Cell(text=words)
