"""Data cards: what is known of a data set, one YAML file each; of a user's own set, his own card.

A set is known by what it is (the package's SHA-256, its split sizes, its number of samples and
classes), never by what somebody called it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import BenchmarkError, unknown
from benchmark.hygiene import one_line
from benchmark.yamlfile import parse_yaml, read_yaml
from protocols.modalities import MODALITIES, Modality, Task

NEAR = 0.02
"""Split sizes that differ by no more than this share are a set with a few samples missing."""
SENTIMENT = 1
"""The number of classes of a regression."""


class FeaturePackage(BaseModel):
    """A package of features in circulation.

    Attributes:
        title: its name.
        widths: the modalities' numbers of channels, by which it is known.
        sha256: file -> SHA-256, where its makers publish it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    widths: dict[Modality, int]
    sha256: dict[str, str] = {}


class Card(BaseModel):
    """What is known of a data set.

    Attributes:
        title: its full name.
        task: what it is labelled for.
        splits: standard number of samples per split; empty where there is no single standard.
        totals: number of classes (1 for sentiment) -> labelled samples in all.
        label_range: of the sentiment.
        stated: the widths that the seed paper states for it.
        packages: the features in circulation.
        licence: the terms that it may be used under.
        apply: where and how to get it.
        blemishes: known faults.
        remarks: what else to know.
        citation: the paper that describes it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    task: Task | None = None
    splits: dict[str, int] = {}
    totals: dict[int, int] = {}
    label_range: tuple[float, float] | None = None
    stated: dict[Modality, int] = {}
    packages: tuple[FeaturePackage, ...] = ()
    licence: str = ""
    apply: str = ""
    blemishes: tuple[str, ...] = ()
    remarks: str = ""
    citation: str = ""

    def usual_counts(self, classes: int) -> str:
        """ "1284/229/686", or "5531 in all" where there is no single split; else a dash."""
        if self.splits and classes in self.totals:
            return "/".join(str(n) for n in self.splits.values())
        return f"{self.totals[classes]} in all" if classes in self.totals else "–"


@dataclass(frozen=True)
class Recognised:
    """A known set, and what it was known by ("its split sizes")."""

    key: str
    card: Card
    by: str


def _card(content: Any, where: str) -> Card:
    try:
        return Card.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BenchmarkError(
            f"{where}: at {one_line(place, 60)}: {one_line(first['msg'])}. A data card has"
            f" {', '.join(Card.model_fields)}; only the title is a must."
        ) from None


def read_card(path: Path) -> Card:
    """A user's card. Raises BenchmarkError: no YAML, an unknown key, or no title."""
    return _card(read_yaml(path), str(path))


@cache
def known_cards() -> Mapping[str, Card]:
    """The cards of the field's data sets, by short name."""
    found = sorted(f.name for f in files(__name__).iterdir() if f.name.endswith(".yaml"))
    texts = {name: files(__name__).joinpath(name).read_text(encoding="utf-8") for name in found}
    return {
        name.removesuffix(".yaml"): _card(parse_yaml(text, name), name)
        for name, text in texts.items()
    }


def known_card(name: str) -> Card:
    """The card of a known data set; BenchmarkError with the near matches."""
    cards = known_cards()
    if name.lower() not in cards:
        raise unknown("data set", name, cards)
    return cards[name.lower()]


def recognise(counts: Mapping[str, int], classes: int, sha256: str = "") -> Recognised | None:
    """The known data set that a set is; None where it is none of them.

    Args:
        counts: samples per split.
        classes: number of classes; 1 for sentiment.
        sha256: of the package that it was imported from.
    """
    for key, card in known_cards().items():
        if sha256 and any(sha256 in p.sha256.values() for p in card.packages):
            return Recognised(key, card, "the SHA-256 of its package")
    alike = {k: card for k, card in known_cards().items() if classes in card.totals}
    for key, card in alike.items():
        if card.splits and card.splits == dict(counts):
            return Recognised(key, card, "its split sizes")
    for key, card in alike.items():
        if not card.splits and card.totals[classes] == sum(counts.values()):
            return Recognised(key, card, "its number of samples and classes")
    for key, card in alike.items():
        if card.splits and all(
            abs(counts.get(split, 0) - n) <= NEAR * n for split, n in card.splits.items()
        ):
            return Recognised(key, card, "its split sizes, though a few samples differ")
    return None


def named(name: str) -> tuple[str, Card] | None:
    """The known data set whose short name is a whole word of ``name``: "mosi" of "mosi-glove"."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next(((key, card) for key, card in known_cards().items() if key in words), None)


def package_of(card: Card, widths: Mapping[Modality, int]) -> FeaturePackage | None:
    """The package of features that has these widths; a modality may be absent."""
    return next((p for p in card.packages if fits(widths, p.widths)), None)


def fits(widths: Mapping[Modality, int], known: Mapping[Modality, int]) -> bool:
    """Whether each modality that is there has the known width."""
    return all(known.get(m) == width for m, width in widths.items())


def shown(widths: Mapping[Modality, int]) -> str:
    """Widths as "768/74/35", text, audio and vision; a dash for what is absent."""
    return "/".join(str(widths.get(m, "–")) for m in MODALITIES)


def unlike(
    card: Card,
    widths: Mapping[Modality, int],
    counts: Mapping[str, int],
) -> list[str]:
    """Why published numbers on this set are not like for like with numbers on these data.

    Args:
        card: of the set that the numbers are published for.
        widths: channels of the modalities that the data have.
        counts: samples per split, of the splits that are known.
    """
    reasons = [
        f"{split} has {counts[split]} samples, {card.title}'s {n}"
        for split, n in card.splits.items()
        if counts.get(split, n) != n
    ]
    if card.stated and dict(widths) != card.stated:
        reasons.append(
            f"text/audio/vision are {shown(widths)} wide, the paper's {shown(card.stated)}"
        )
    return reasons
