"""The report as one Markdown page: tables inline, figures by relative path, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.availability import MASK_COUNT, subsets
from reports.captions import data_sentence
from reports.render import escape_markdown, markdown
from reports.results import Results
from reports.tables import Table


@dataclass(frozen=True)
class Picture:
    """A figure's place in a report.

    Attributes:
        name: its file name without the suffix.
        title: its heading.
        caption: what is on it.
        headline: whether it is the report's first picture.
        detail: whether it is folded away.
    """

    name: str
    title: str
    caption: str
    headline: bool = False
    detail: bool = False
    suffixes: tuple[str, ...] = (".png", ".pdf")


def page(
    results: Results, tables: Sequence[Table], grids: Sequence[Table], pictures: Sequence[Picture]
) -> str:
    """The whole page; the first table and the large figures open, the many small ones folded."""
    shown = [p for p in pictures if not p.detail]
    parts = [
        f"# Robustness report: {escape_markdown(results.dataset)}",
        _summary(results),
        _problems(results),
        "## Main result",
        *(markdown(table) for table in tables[:1]),
        *(["## Figures"] if shown else []),
        *(
            _figure(picture, captioned=not place or picture.caption != shown[place - 1].caption)
            for place, picture in enumerate(shown)
        ),
        _folded(
            "The landscape of each system",
            [_figure(picture, captioned=False) for picture in pictures if picture.detail],
        ),
        *(["## Protocols"] if tables[1:] else []),
        *(markdown(table) for table in tables[1:]),
        *(["## The λ×η grid"] if grids else []),
        *(_folded(escape_markdown(table.title), [markdown(table)]) for table in grids),
        "## Provenance",
        _provenance(results),
        "Every table is also in [tables/](tables) as Markdown, LaTeX, HTML and CSV (unrounded), "
        "every figure in [figures/](figures) as PNG and PDF.",
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _summary(results: Results) -> str:
    warning = (
        "> **Synthetic data.** Generated samples: they show how the suite works and how systems "
        "compare on them, and say nothing of real sentiment data.\n\n"
        if results.synthetic
        else ""
    )
    runs, systems = len(results.records), len(results.systems)
    listed = "; ".join(
        f"{system.label} ({_count(len(system.records), 'seed')})" for system in results.systems
    )
    masks = subsets(results.present)
    fewer = f"{len(masks)} availability subsets instead of {MASK_COUNT}. "
    return (
        f"{warning}{escape_markdown(data_sentence(results))} "
        f"{fewer if len(masks) < MASK_COUNT else ''}"
        f"{_count(runs, 'run')} of {_count(systems, 'system')}: {escape_markdown(listed)}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _problems(results: Results) -> str:
    if not results.problems:
        return ""
    listing = "\n".join(
        f"- `{run_id}`: {escape_markdown(' '.join(why.split()))}"
        for run_id, why in sorted(results.problems.items())
    )
    return f"## Runs that are not in this report\n\n{listing}"


def _figure(picture: Picture, captioned: bool = True) -> str:
    source = f"figures/{picture.name}"
    links = f"[PDF]({source}.pdf)"
    caption = f"{picture.caption} {links}" if captioned else links
    return f"![{escape_markdown(picture.title)}]({source}.png)\n\n{caption}"


def _folded(title: str, parts: Sequence[str]) -> str:
    """GitHub and most viewers fold this; the others show it."""
    if not parts:
        return ""
    body = "\n\n".join(part.strip() for part in parts)
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _provenance(results: Results) -> str:
    heads = ("Run", "System", "Seed", "Preset", "Epochs", "Commit", "Device", "Finished")
    rows = [heads, tuple("---" for _ in heads)]
    for system in results.systems:
        for record in system.records:
            facts = record.environment
            commit = str(facts.get("commit") or "unknown")[:10]
            rows.append(
                (
                    f"`{record.run_id}`",
                    escape_markdown(system.label),
                    str(record.spec.seed),
                    escape_markdown(record.spec.preset),
                    str(record.spec.training.get("epochs", "")),
                    commit + (" + changes" if facts.get("dirty") else ""),
                    escape_markdown(str(facts.get("device") or "unknown")),
                    str(facts.get("finished", "")),
                )
            )
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"Data SHA-256: `{results.data_sha256}`\n\n{table}"
