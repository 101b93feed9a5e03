"""What figures show, in words, for who cannot see them."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.questions import Question
from protocols.conditions import LEVELS
from reports.answers import Answers
from reports.results import Results, System
from reports.routing import contexts, experts, routed
from reports.sources import Sources
from reports.surface import Surfaces
from reports.tables.robustness import full_name
from reports.views import View, view

_TOP = LEVELS[-1]


def landscapes(found: Surfaces, shown: View, of: str = "") -> str:
    """Of each system, where its landscape begins and ends; in the metric's printed unit."""
    parts = [
        f"{system.label}: {one.values[0, 0]:.{shown.decimals}f} without noise and loss, "
        f"{one.values[-1, 0]:.{shown.decimals}f} at the most noise, "
        f"{one.values[0, -1]:.{shown.decimals}f} at the most loss, "
        f"{one.values[-1, -1]:.{shown.decimals}f} at both"
        for system, one in found
    ]
    return f"{f'{shown.unit} {of}'.strip()}. {'; '.join(parts)}."


def curves(
    answers: Answers,
    systems: Sequence[System],
    results: Results,
    metrics: Sequence[str],
    variant: Sequence[str],
) -> str:
    """Of each system, where its curves begin and end."""
    noise, missing = variant
    full = full_name(results)
    ends = (
        ("clean", Question("II", noise, "", 0.0, 0.0, full)),
        ("at the most noise", Question("II", noise, "", _TOP, 0.0, full)),
        ("at the most loss", Question("I", "", missing, 0.0, _TOP)),
    )
    parts = []
    for shown in map(view, metrics):
        for system in systems:
            said = [
                f"{found.value * shown.scale:.{shown.decimals}f} {where}"
                for where, question in ends
                if (found := answers.get(system, (question,), shown.name))
            ]
            parts.append(f"{shown.unit} of {system.label}: {', '.join(said) or 'not measured'}")
    return f"{'; '.join(parts)}."


def routing(sources: Sources, system: System, noise_rule: str) -> str:
    """The expert that each modality asks most on clean input, for each seed."""
    results, known = sources.results, sources.answers.rows
    clean = contexts(results.present, noise_rule)["clean"]
    parts = []
    for seed in (record.spec.seed for record in routed(system)):
        for modality in results.present:
            weights = experts(known, system, clean, modality, seed)
            if weights:
                top = max(range(len(weights)), key=weights.__getitem__)
                parts.append(f"seed {seed}, {modality}: expert {top + 1} with {weights[top]:.2f}")
    return f"Asked most on clean input: {'; '.join(parts)}."
