"""What a change of settings does: a model as it is beside its variants (Table 6, Figure 4).

A variant differs from its preset in some settings and in nothing else. Variants that change the
same settings share a table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from reports import captions
from reports.results import Results, System
from reports.sources import Sources
from reports.tables.robustness import block_table, blocks_of, table_name, titled
from reports.tables.table import Table

Settings = tuple[str, ...]
"""The names of the settings that a variant changes: ("model.topk",)."""

ABLATION: Settings = ("model.ablation",)
EXPERTS: Settings = ("model.topk",)

_TITLES = {
    ABLATION: ("table6-ablations", "Table 6: ablations"),
    EXPERTS: ("figure4-active-experts", "Figure 4: number of active experts k"),
}


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
    ablations = settings == ABLATION
    return block_table(
        sources,
        systems,
        table_name(name, *variant),
        titled(title, *variant),
        blocks_of(sources.results, variant),
        notes=_notes(sources) if ablations else (),
        beside="ablation" if ablations else "nothing",  # no paper prints other settings' variants
    )


def _notes(sources: Sources) -> tuple[str, ...]:
    if not sources.paper.models("table6"):
        return ()
    return (
        *captions.published_sentences(sources.results, "Table 6"),
        "The printed F1 of two ablations is impossible at their accuracy (`benchmark audit`).",
    )
