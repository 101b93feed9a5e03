"""The report as one HTML file that loads nothing: every table and figure, and where numbers come
from.

The template, its style and its script are in ``web/``; all of them and the figures are put into the
file, so it can be mailed, archived, or opened without a network.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from benchmark.cards import card_facts, deviations
from benchmark.table import PredictionTable
from protocols.availability import MASK_COUNT, subsets
from reports.captions import data_sentence
from reports.results import Results, System
from reports.tables.render import html_table
from reports.tables.table import Table
from reports.web.heatmap import PALETTE, Board, anchor_of
from reports.web.notes import Notes


@dataclass(frozen=True)
class Picture:
    """A figure's place in a report.

    Attributes:
        name: its file name without the suffix.
        title: its heading.
        caption: sentences that say what is on it.
        alt: what it shows, in words, for who cannot see it.
        headline: whether it is the report's first picture.
        image: the PNG that the page shows; empty until it is drawn.
    """

    name: str
    title: str
    caption: tuple[str, ...]
    alt: str
    headline: bool = False
    image: bytes = b""


@dataclass(frozen=True)
class Contents:
    """What a page shows, in its order.

    Attributes:
        leaderboards: the first tables, which a reader can sort.
        boards: the landscapes that say their values.
        pictures: the figures.
        tables: the other tables.
        grids: the long tables, folded away.
    """

    leaderboards: Sequence[Table]
    boards: Sequence[Board]
    pictures: Sequence[Picture]
    tables: Sequence[Table]
    grids: Sequence[Table]


def page(results: Results, contents: Contents, links: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        results: what it is about.
        contents: what it shows.
        links: run id -> the address of the run in MLflow, for those that have one.
    """
    anchors = {system.key: anchor_of(results, system) for system in results.systems}
    every = [*contents.leaderboards, *contents.tables, *contents.grids]
    notes = Notes.of([*(_said(table) for table in every), *(p.caption for p in contents.pictures)])

    def shown(table: Table) -> Markup:
        html = html_table(table, anchors, caption=notes.caption(_said(table)))
        return Markup(html)  # escaped by html_table

    return template("page.html").render(
        style=style("page.css"),
        script=Markup(source("page.js")),
        dataset=results.dataset,
        synthetic=results.synthetic,
        facts=_facts(results),
        runs=len(results.records),
        systems=len(results.systems),
        problems=[(i, " ".join(why.split())) for i, why in sorted(results.problems.items())],
        leaderboards=[shown(table) for table in contents.leaderboards],
        notes=notes.sentences,
        boards=contents.boards,
        pictures=[
            {"of": p, "caption": notes.caption(p.caption), "data": _embedded(p.image)}
            for p in contents.pictures
        ],
        tables=[(t.name, t.title, shown(t)) for t in contents.tables],
        grids=[(t.name, t.title, shown(t)) for t in contents.grids],
        models=_models(results),
        provenance=[_origin(results, system, links) for system in results.systems],
        sha256=results.data_sha256,
        commits=sorted({_commit(r.environment) for r in results.records}),
        linked=bool(links),
        elsewhere=any(map(is_elsewhere, links.values())),
    )


def _facts(results: Results) -> str:
    """The data; and how many subsets they have where modalities are absent."""
    masks = subsets(results.present)
    if len(masks) == MASK_COUNT:
        return data_sentence(results)
    return f"{data_sentence(results)} {len(masks)} availability subsets instead of {MASK_COUNT}."


def _said(table: Table) -> tuple[str, ...]:
    return (*table.caption, *table.notes)


def is_elsewhere(address: str) -> bool:
    """Whether an address may open on another machine than the one that the page was made on."""
    host = urlsplit(address).hostname or ""
    return host not in ("", "localhost", "127.0.0.1", "::1", "0.0.0.0")


def _embedded(image: bytes) -> str:
    """The PNG as a data address."""
    return f"data:image/png;base64,{base64.b64encode(image).decode()}"


def _origin(results: Results, system: System, links: Mapping[str, str]) -> dict[str, Any]:
    """Where a system's numbers come from."""
    return {
        "anchor": anchor_of(results, system),
        "label": system.label,
        "source": system.source,
        "runs": [
            {
                "id": record.run_id,
                "seed": record.spec.seed,
                "preset": record.spec.preset,
                "epochs": record.spec.setting("training.epochs") or "unknown",
                "commit": _commit(record.environment),
                "device": record.environment.get("device") or "unknown",
                "finished": record.environment.get("finished", ""),
                "rows": _made_with(record.table),
                "link": links.get(record.run_id, ""),
            }
            for record in system.records
        ],
    }


def _models(results: Results) -> list[dict[str, Any]]:
    """Every model's card, as its first run keeps it."""
    cards: dict[str, Mapping[str, Any]] = {}
    for system in results.systems:
        cards.setdefault(system.title, system.records[0].environment["model"])
    return [
        {"title": title, "facts": card_facts(card), "deviations": deviations(card)}
        for title, card in cards.items()
    ]


def _made_with(table: PredictionTable) -> str:
    """What a table's rows were made with, block by block, and how many are not shown."""
    parts = []
    for place, block in enumerate(table.blocks):
        date = f" on {block['date']}" if "date" in block else ""
        parts.append(f"{table.block.count(place)} by {_commit(block)}{date}")
    if table.outdated:
        parts.append(f"{len(table.outdated)} out of date, not read: run the same again")
    return "; ".join(parts)


def _commit(environment: Mapping[str, Any]) -> str:
    commit = str(environment.get("commit") or "unknown")[:10]
    return commit + (" + changes" if environment.get("dirty") else "")


@cache
def template(name: str) -> Any:
    """A template of this folder: what it is given is escaped, what it lacks is an error."""
    loader = FunctionLoader(source)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return made.get_template(name)


def style(*names: str) -> Markup:
    """Our own style sheets, and the palette of the landscapes."""
    palette = "".join(f".k{place}{{background:{colour}}}" for place, colour in enumerate(PALETTE))
    ramp = f":root{{--ramp:{','.join(PALETTE[::3])}}}"
    return Markup("".join(map(source, names)) + ramp + palette)


def source(name: str) -> str:
    """The text of a file of this folder."""
    return files("reports.web").joinpath(name).read_text(encoding="utf-8")
