"""A check, a manifest and the list of data sets, as rich tables."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from benchmark.data import cards
from benchmark.data.cards import Card
from benchmark.data.check import Check
from benchmark.data.dataset import SPLITS
from benchmark.data.manifest import Encoding, Manifest
from benchmark.screen import Column, Rows
from protocols.modalities import MODALITIES, Modality


def render(found: Check) -> RenderableType:
    """The whole check, for a terminal."""
    kind = "synthetic " if found.synthetic else ""
    title = f" ({escape(found.card.title)})" if found.card else ""
    head = [
        f"[bold]{escape(found.dataset)}[/bold]{title}: {kind}{found.task} data",
        f"from {escape(found.source)}; sha256 of the content {found.sha256[:12]}",
    ]
    if found.known:
        head.append(f"known as {escape(found.known.card.title)} by {found.known.by}")
    if found.encoding:
        head.append(escape(encoded_by(found.encoding)))
    if found.options:
        head.append(escape(asked_for(found.options)))
    if found.class_names:
        head.append(f"classes: {escape(', '.join(found.class_names))}")
    if found.videos:
        head.append(escape(found.videos))
    parts: list[RenderableType] = [
        *map(Text.from_markup, head),
        _splits(found),
        Text(OF_SPLITS[found.task], style="dim"),
        _modalities(found),
        Text(OF_MODALITIES, style="dim"),
    ]
    nothing = [] if found.notes else [Text("Nothing odd was found.")]
    parts += _listing("Worth knowing", found.oddities) or nothing
    parts += _listing("Notes of the import", found.notes)
    if found.card:
        parts += _terms(found.card)
    if found.known:
        parts.append(Text(f"All of its card: benchmark data show {found.known.key}"))
    return Group(*parts)


OF_SPLITS = {
    "regression": "standard: samples of the published split. min to max: of the labels; label 0:"
    " how many are exactly 0.",
    "classification": "standard: samples of the published split.",
}
OF_MODALITIES = (
    "real steps: fewest–most (mean) without padding. missing: samples without the modality;"
    " NaN/inf: values replaced (train/valid/test). constant: channels that never change in"
    " training. max |z|: the largest value, in standard deviations."
)


def _terms(card: Card) -> list[RenderableType]:
    """Where a set is from, its terms and its faults: of a card what has text."""
    lines = [("Where it comes from", card.apply), ("Licence", card.licence)]
    parts: list[RenderableType] = [Text(f"{title}: {text}") for title, text in lines if text]
    return [*parts, *_listing("Known blemishes", card.blemishes)]


def asked_for(options: Mapping[str, str]) -> str:
    """What an import was asked to change, as its options."""
    return "imported with " + " ".join(
        f"--{option}" if value == "yes" else f"--{option} {shlex.quote(value)}"
        for option, value in options.items()
    )


def card_page(card: Card) -> RenderableType:
    """A whole data card, for a terminal."""
    head = [Text(card.title, style="bold")]
    if card.citation:
        head.append(Text(card.citation))
    facts = []
    for classes, total in card.totals.items():
        kind = "sentiment" if classes == cards.SENTIMENT else f"{classes} classes"
        counts = "/".join(str(n) for n in card.splits.values())
        facts.append(f"{kind}: {total} samples" + (f", split {counts}" if counts else ""))
    if card.label_range:
        facts.append(f"labels from {card.label_range[0]:g} to {card.label_range[1]:g}")
    if card.stated:
        facts.append(f"widths text/audio/vision that the paper states: {cards.shown(card.stated)}")
    parts: list[RenderableType] = [*head, *map(Text, facts)]
    if card.packages:
        table = Rows("widths t/a/v", "package")
        for package in card.packages:
            sums = [f"{file}: sha256 {digest}" for file, digest in package.sha256.items()]
            table.add(cards.shown(package.widths), "\n".join([package.title, *sums]))
        parts.append(table)
    parts += _terms(card)
    if card.remarks:
        parts.append(Text(card.remarks))
    return Group(*parts)


def _listing(title: str, lines: Iterable[str]) -> list[RenderableType]:
    items = [Text(f"  • {line}") for line in lines]
    return [Text(f"{title}:", style="bold"), *items] if items else []


def _numbers(*heads: str) -> list[Column]:
    return [Column(head, number=True) for head in heads]


def _splits(found: Check) -> Rows:
    regression = found.task == "regression"
    shown = (
        _numbers("min", "mean", "std", "max", "label 0")
        if regression
        else [Column("samples per class, in order")]
    )
    table = Rows("split", *_numbers("samples", "standard", "videos"), *shown)
    for split in found.splits:
        expected = "–" if split.expected is None else str(split.expected)
        videos = str(len(split.videos)) if split.videos else "–"
        rest = (
            [*(f"{x:.2f}" for x in split.label), str(split.zeros)]
            if regression
            else [" ".join(str(n) for n in split.classes)]
        )
        table.add(split.name, str(split.count), expected, videos, *rest)
    return table


def _modalities(found: Check) -> Rows:
    counts = ("real steps", "missing", "NaN/inf", "constant", "max |z|")
    table = Rows("modality", *_numbers("width", "length", *counts))
    for facts in found.modalities:
        low, mean, high = facts.steps
        table.add(
            facts.modality,
            str(facts.width),
            str(facts.length),
            f"{low}–{high} ({mean:.0f})",
            _counts(facts.missing),
            _counts(facts.nonfinite),
            str(len(facts.constant)),
            f"{facts.largest:.0f}" if facts.largest else "–",
        )
    return table


def _counts(counts: Mapping[str, int]) -> str:
    """0, or one number per split."""
    return "/".join(str(n) for n in counts.values()) if any(counts.values()) else "0"


def summary(manifest: Manifest) -> RenderableType:
    """One data set in a few lines, for the end of an import."""
    counts = ", ".join(f"{s} {manifest.counts[s]}" for s in SPLITS)
    widths = ", ".join(
        f"{m} {manifest.lengths[m]} × {manifest.widths[m]}"
        for m in MODALITIES
        if m in manifest.widths
    )
    absent = [m for m in MODALITIES if m not in manifest.widths]
    lines = [f"samples: {counts}", f"features (steps × channels): {widths}"]
    if manifest.label_range:
        low, high = manifest.label_range
        lines.append(f"labels: sentiment from {low:g} to {high:g}")
    else:
        names = f": {', '.join(manifest.class_names)}" if manifest.class_names else ""
        lines.append(f"labels: {manifest.classes} classes{names}")
    lines += [f"non-finite values replaced: {_total(manifest.nonfinite)}"]
    lines += [f"samples that lack a modality by nature: {_total(manifest.missing)}"]
    if manifest.encoding:
        lines.append(encoded_by(manifest.encoding))
    if manifest.options:
        lines.append(asked_for(manifest.options))
    shown = [Text(f"  {line}") for line in lines]
    shown += [Text(f"  note: {note}", style="yellow") for note in manifest.notes]
    if absent:
        has = " and ".join(m for m in MODALITIES if m in manifest.widths)
        warning = f"  no {' and no '.join(absent)} in it: the data set has {has} only"
        shown.insert(0, Text(warning, style="bold yellow"))
    return Group(*shown)


def encoded_by(encoding: Encoding) -> str:
    """Which encoder made the text features, in a line."""
    revision = f", revision {encoding.revision[:12]}" if encoding.revision else ""
    return (
        f"text encoded by {encoding.name} (weights sha256 {encoding.sha256[:12]}{revision}), at"
        f" most {encoding.max_tokens} tokens"
    )


def _total(counts: Mapping[str, Mapping[Modality, int]]) -> str:
    """Sums over the splits, by modality; "none" where all are zero."""
    totals: dict[str, int] = {}
    for split in counts.values():
        for m, n in split.items():
            totals[m] = totals.get(m, 0) + n
    return ", ".join(f"{m} {n}" for m, n in totals.items() if n) or "none"


def listing(builtin: Mapping[str, str], manifests: Mapping[str, Manifest | str]) -> Rows:
    """All data sets: built-in names with their state, imported ones with what is known of them."""
    table = Rows("name", "labels", "samples", "t/a/v", Column("sha256", spare=1))
    for name, state in builtin.items():
        table.add(name, state, "", "", "")
    for name, manifest in manifests.items():
        if isinstance(manifest, str):
            table.add(name, f"damaged: {manifest}", "", "", "")
            continue
        known = cards.recognise(manifest.counts, manifest.classes, manifest.source.sha256)
        usual = known.card.usual_counts(manifest.classes) if known else "–"
        samples = "/".join(str(manifest.counts[s]) for s in SPLITS)
        in_all = f"{sum(manifest.counts.values())} in all"
        table.add(
            name,
            "sentiment" if manifest.classes == 1 else f"{manifest.classes} classes",
            samples if usual in ("–", samples, in_all) else f"{samples}\nusual {usual}",
            "/".join(str(manifest.widths.get(m, "–")) for m in MODALITIES),
            manifest.sha256[:8],
        )
    return table


def known() -> Rows:
    """The field's data sets and the packages in circulation."""
    table = Rows("known", "name", "labels", "samples", "packages, t/a/v")
    for key, card in cards.known_cards().items():
        for classes in card.totals:
            packages = [f"{cards.shown(p.widths)} {p.title}" for p in card.packages]
            table.add(
                card.title,
                key,
                "sentiment" if classes == cards.SENTIMENT else f"{classes} classes",
                card.usual_counts(classes),
                "\n".join(packages),
            )
    return table
