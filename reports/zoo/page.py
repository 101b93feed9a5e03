"""The list of submissions as one HTML file that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from benchmark.cards import card_facts, deviations
from benchmark.packs.card import decimals, stands
from benchmark.packs.verify import CHECKED, NUMBERS, REEVALUATED
from benchmark.questions import OVERVIEW_MEANING, Headline
from reports import captions
from reports.answer import Answer
from reports.sources import Sources
from reports.views import View, headlines, view
from reports.web.heatmap import boards
from reports.web.page import source, style, template
from reports.zoo.entries import Entry, Listed, is_safe, sources_of
from reports.zoo.ranking import Rank, ranks

LEVELS_MEAN = {
    NUMBERS: "claims, and predictions that could not be held against the data here",
    CHECKED: "sample ids, labels and data are those of the data set here; every metric is what the "
    "predictions give",
    REEVALUATED: "the checkpoint gave these predictions on this machine, for some samples or all",
}
RANK_MEANS = (
    "Rank: the places that the data support. A system is behind another only where their paired "
    "difference holds for new test samples and new trainings after Holm's correction over all "
    "pairs of the list; 2–5 is a tie over these places, and systems of one tie stand in the "
    "alphabet's order. With fewer than three seeds nothing is known of new trainings: such a "
    "system ties with every other."
)


@dataclass(frozen=True)
class Number:
    """What is measured, what is claimed, and whether they agree."""

    measured: str
    more: str
    claimed: str
    wrong: bool


@dataclass(frozen=True)
class Line:
    """A row of a list."""

    rank: str
    entry: Entry
    numbers: tuple[Number, ...]
    latex: str


@dataclass(frozen=True)
class Board:
    """A list under one metric."""

    title: str
    by: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]


def zoo_page(lists: Sequence[Listed], problems: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        lists: one for each data set.
        problems: source -> why it could not be opened.
    """
    sections = [_section(one) for one in lists]
    return template("zoo.html").render(
        style=style("page.css", "zoo.css"),
        script=Markup(source("page.js") + source("zoo.js")),
        sections=sections,
        levels=LEVELS_MEAN,
        rank_means=RANK_MEANS,
        overview_means=OVERVIEW_MEANING,
        problems=dict(sorted(problems.items())),
    )


def _section(listing: Listed) -> dict[str, Any]:
    everything = sources_of(listing)
    entries = (*listing.ranked, *listing.claimed)
    return {
        "dataset": listing.dataset,
        "sha256": listing.data_sha256,
        "facts": captions.data_sentence(listing.together) if listing.together else "",
        "boards": _boards(listing, everything),
        "maps": boards(everything) if everything else [],
        "cards": [_card(entry) for entry in entries],
        "refused": [(one.label, one.source, why) for one, why in listing.refused.items()],
    }


def _boards(listing: Listed, everything: Sources | None) -> list[Board]:
    if everything is None:
        return [Board("Claims", "", (), tuple(_claims(e, 0) for e in listing.claimed))]
    metrics = headlines(everything.results.task)
    return [_board(listing, everything, view(metric)) for metric in metrics]


def _board(listing: Listed, sources: Sources, shown: View) -> Board:
    asked = sources.results.overview
    systems = {system.key: system for system in sources.results.systems}
    answers = sources.answers
    by = asked[-1]
    found = {
        entry.key: estimate
        for entry in listing.ranked
        if (estimate := answers.measured.estimate(systems[entry.key], by.questions, shown.name))
    }
    given = dict(zip(found, ranks(list(found.values()), shown.higher_is_better), strict=True))
    order = sorted(listing.ranked, key=lambda e: (_place(given.get(e.key)), e.label.lower()))
    lines = [
        _line(
            entry,
            str(given.get(entry.key, "–")),
            [(one, answers.get(systems[entry.key], one.questions, shown.name)) for one in asked],
            shown,
        )
        for entry in order
    ]
    lines += [_claims(entry, len(asked), asked, shown) for entry in listing.claimed]
    return Board(shown.heading, by.title, tuple(one.title for one in asked), tuple(lines))


def _place(rank: Rank | None) -> tuple[float, float]:
    return (math.inf, math.inf) if rank is None else (rank.best, rank.worst)


def _line(
    entry: Entry, rank: str, answers: Sequence[tuple[Headline, Answer | None]], shown: View
) -> Line:
    numbers = tuple(_number(entry, one, found, shown) for one, found in answers)
    cells = " & ".join([entry.label, rank, *(n.measured for n in numbers)])
    latex = cells.replace("±", r"$\pm$").replace("–", "--").replace("%", r"\%")
    return Line(rank, entry, numbers, latex.replace("_", r"\_").replace("·", r"$\cdot$") + r" \\")


def _number(entry: Entry, one: Headline, found: Answer | None, shown: View) -> Number:
    claim = entry.system.claims.get(f"{one.name}_{shown.name}")
    claimed = "" if claim is None else _as_claimed(claim, shown)
    if found is None or math.isnan(found.value):
        return Number("–", "", claimed, False)
    digits, scale = shown.decimals, shown.scale
    spread = "" if found.std is None else f" ± {found.std * scale:.{digits}f}"
    interval = ""
    if math.isfinite(found.low):
        interval = f" [{found.low * scale:.{digits}f}, {found.high * scale:.{digits}f}]"
    return Number(
        f"{found.value * scale:.{digits}f}{spread}",
        f"{one.title}, {shown.unit}: {found.value * scale:.{digits + 2}f}{interval}, "
        f"{len(found.seeds)} seed{'' if len(found.seeds) == 1 else 's'}",
        claimed,
        claim is not None and not stands(claim, found.value),
    )


def _as_claimed(claim: float, shown: View) -> str:
    """A claim with the digits that it has, in the unit that is shown."""
    digits = decimals(claim) - (2 if shown.scale == 100 else 0)
    return f"{claim * shown.scale:.{max(0, digits)}f}"


def _claims(
    entry: Entry, count: int, asked: Sequence[Headline] = (), shown: View | None = None
) -> Line:
    """A row of what is claimed only."""
    numbers = [_number(entry, one, None, shown) for one in asked] if shown else []
    return Line("–", entry, tuple(numbers[:count]), "")


def _card(entry: Entry) -> dict[str, Any]:
    facts, system = entry.facts, entry.system
    stated = [
        ("submission", entry.pack),
        ("from", entry.source),
        ("SHA-256", entry.sha256),
        ("verified", entry.level),
        ("runs", ", ".join(system.runs) or "none"),
        ("seeds", ", ".join(map(str, system.seeds)) or "none"),
        ("selected", system.selection),
        ("trained on", system.training_data),
        ("licence", facts.licence or "not stated"),
        ("paper", f"{facts.paper} {facts.year or ''}".strip()),
        ("notes", facts.notes),
        *card_facts(system.model),
    ]
    links = {name: url for name, url in facts.links.items() if is_safe(url)}
    return {
        "entry": entry,
        "facts": [(what, text) for what, text in stated if text],
        "links": links,
        "deviations": deviations(system.model),
        "findings": entry.findings,
        "bibtex": facts.bibtex or _bibtex(entry),
    }


def _bibtex(entry: Entry) -> str:
    facts = entry.facts
    fields = {
        "title": entry.pack,
        "note": facts.paper or f"predictions of SHA-256 {entry.sha256}",
        "year": str(facts.year or ""),
    }
    listed = ",\n".join(f"  {name} = {{{text}}}" for name, text in fields.items() if text)
    return f"@misc{{{entry.key},\n{listed}\n}}"
