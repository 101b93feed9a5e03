"""The published number that stands beside an answer: which of a paper's tables asks the same."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.questions import Question
from protocols.conditions import LEVELS
from reports.published import Published
from reports.results import System
from reports.specialists import PER_INTENSITY, PER_RATE
from reports.views import view

TRAINED = {"clean": "clean_train", "spectrum": "spectrum_train"}
"""Our regime -> the condition of the paper's Table 5."""

NOT_STATED = "training not stated"
"""The training of a model whose numbers a paper prints without saying how it was trained."""

_OF_ONE_CHECKPOINT = "spectrum"
"""Table 8 is of a single checkpoint; its origin is the spectrum-trained row of Tables 5 and 6."""

_ABLATIONS = {
    "none": "full",
    "no_gate": "wo_quality_gating",
    "no_variance": "wo_variance",
    "no_prior": "wo_universal_fallback_yprior",
}
"""Our ablation -> the paper's name of it (A27)."""


def table_of(asked: Sequence[Question], aligned: bool | None) -> str:
    """The paper's table that asks this, "table1", be it of one condition or of an average."""
    first = asked[0]
    if first.protocol == "clean":
        return "table7" if aligned is False else "table1"
    if first.protocol == "I":
        return "table3" if first.missing_rule else "table2"
    return {"II": "table4", "III": "table5", "grid": "table8"}[first.protocol]


def printed(
    paper: Published,
    title: str,
    training: str,
    asked: Sequence[Question],
    metric: str,
    aligned: bool | None,
) -> float | None:
    """What a paper prints for a model under a condition or an average; None where it has nothing.

    Args:
        paper: its numbers for the data set.
        title: the model's.
        training: how it was trained, as tables name it.
        asked: the condition, or those of an average.
        metric: our name of it.
        aligned: whether the features are aligned; None where nobody knows.
    """
    table, first = table_of(asked, aligned), asked[0]
    if len(asked) > 1:
        every = len(asked) == len(LEVELS) - 1
        condition = {"table3": "Avg", "table4": "Avg"}.get(table, "") if every else ""
    else:
        condition = {
            "table2": first.available,
            "table3": f"{first.rate:g}",
            "table4": f"{first.intensity:g}",
            "table5": TRAINED.get(training, ""),
            "table8": f"eta={first.rate:.1f},lambda={first.intensity:.1f}",
        }.get(table, "clean")
    if training not in _TRAININGS[table] or not condition:
        return None
    return paper.value(table, title, condition, view(metric).paper_name)


_TRAININGS = {
    "table1": ("clean",),
    "table7": ("clean",),
    "table2": (*TRAINED, NOT_STATED),
    "table3": (PER_RATE,),
    "table4": (*TRAINED, PER_INTENSITY, NOT_STATED),
    "table5": tuple(TRAINED),
    "table8": (_OF_ONE_CHECKPOINT,),
}
"""The trainings that a table's numbers may stand beside."""


def ablation_printed(
    paper: Published, system: System, asked: Sequence[Question], metric: str
) -> float | None:
    """What Table 6 prints under Protocol III for the system without what its setting removes."""
    other = set(system.changes) - {"model.ablation"}
    if other or system.training != _OF_ONE_CHECKPOINT or asked[0].protocol != "III":
        return None
    name = system.records[0].spec.setting("model.ablation") or "none"
    row = _ABLATIONS.get(str(name), "")
    return paper.value("table6", system.title, row, view(metric).paper_name)
