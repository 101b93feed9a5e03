"""What a change of settings does: a model as it is beside its variants (Table 6, Figure 4).

A variant differs from its preset in some settings and in nothing else. Variants that change the
same settings share a table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from benchmark.questions import Question
from benchmark.records import RunRecord
from reports import captions
from reports.published import Published
from reports.results import Results, System
from reports.tables.measure import Average, Measure, Subject
from reports.tables.robustness import Sources, block_table, blocks_of, table_name
from reports.tables.table import Table
from reports.views import view

Settings = tuple[str, ...]
"""The names of the settings that a variant changes: ("model.topk",)."""

ABLATION: Settings = ("model.ablation",)
EXPERTS: Settings = ("model.topk",)

_TITLES = {
    ABLATION: ("table6-ablations", "Table 6: ablations"),
    EXPERTS: ("figure4-active-experts", "Figure 4: number of active experts k"),
}
_PUBLISHED_ABLATIONS = {
    "none": "full",
    "no_gate": "wo_quality_gating",
    "no_variance": "wo_variance",
    "no_prior": "wo_universal_fallback_yprior",
}
"""Our ablation -> the paper's name of it (A27)."""


@dataclass(frozen=True)
class Ablated:
    """A system as a row of Table 6, beside the paper's row of the same part removed.

    Attributes:
        system: the system.
        training: the paper's name of the row; empty where the paper has none.
    """

    system: System
    training: str

    @property
    def label(self) -> str:
        """The row's name."""
        return self.system.label

    @property
    def title(self) -> str:
        """The model's."""
        return self.system.title

    @property
    def plain(self) -> bool:
        """Whether a published number may stand beside it."""
        return bool(self.training)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its runs."""
        return self.system.seeds

    def runs_at(self, question: Question) -> tuple[RunRecord, ...]:
        """The runs that answer for a condition."""
        return self.system.records


def variants(results: Results) -> dict[Settings, list[System]]:
    """Changed settings -> the plain systems that have such variants, each before its variants."""
    found: dict[Settings, dict[str, System]] = defaultdict(dict)
    for plain in results.compared.systems:
        for other in results.systems:
            if other.is_variant_of(plain):
                members = found[tuple(sorted(other.changes))]
                members[plain.key], members[other.key] = plain, other
    return {settings: list(members.values()) for settings, members in sorted(found.items())}


def variant_tables(sources: Sources) -> list[Table]:
    """A table for each way of changing settings, and each variant of Protocol III."""
    results = sources.results
    third = results.variants("III", "noise_rule", "missing_rule", "joint")
    return [
        _table(sources, settings, systems, variant)
        for settings, systems in variants(results).items()
        for variant in third or [()]
    ]


def _table(
    sources: Sources, settings: Settings, systems: Sequence[System], variant: tuple[str, ...]
) -> Table:
    short = ", ".join(key.split(".")[-1] for key in settings)
    name, title = _TITLES.get(settings, (f"settings {short}", f"Settings: {short}"))
    subjects: Sequence[Subject] = systems
    notes: tuple[str, ...] = ()
    if settings == ABLATION:
        subjects = [Ablated(system, _row_of_the_paper(system)) for system in systems]
        notes = _notes(sources)
    return block_table(
        Sources(Measure(sources.results, subjects), sources.floors, sources.paper),
        table_name(name, *variant),
        title,
        blocks_of(sources.results, variant),
        partial(_published, sources.paper),
        notes=notes,
    )


def _row_of_the_paper(system: System) -> str:
    if system.training != "spectrum":
        return ""
    ablation = system.records[0].spec.setting("model.ablation") or "none"
    return _PUBLISHED_ABLATIONS.get(str(ablation), "")


def _published(paper: Published, title: str, row: str, average: Average) -> float | None:
    if average.questions[0].protocol != "III":
        return None
    return paper.value("table6", title, row, view(average.metric).paper_name)


def _notes(sources: Sources) -> tuple[str, ...]:
    if not sources.paper.models("table6"):
        return ()
    return (
        *captions.published_sentences(sources.results, "Table 6"),
        "The printed F1 of two ablations is impossible at their accuracy (`benchmark audit`).",
    )
