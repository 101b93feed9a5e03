"""Names for systems: short, unique within a report, open about what departs from a default."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.settings import DEFAULT_PRESET, departures, differing, shown
from benchmark.spec import RunSpec
from reports.cards import Card


@dataclass(frozen=True)
class Described:
    """A system before it has a name: the spec of any of its runs, and its model's card."""

    spec: RunSpec
    card: Card


def labels(systems: Sequence[Described]) -> list[tuple[str, str, dict[str, Any]]]:
    """A (key, label, settings that depart from the preset's) for each system.

    A label is "title · regime", then the preset where it is not the paper's, then every model or
    regime setting that departs from the preset's; and where two systems would still read alike,
    the settings in which they differ.
    """
    departed = [departures(one.spec, one.card.settings) for one in systems]
    names = [_label(one, changes) for one, changes in zip(systems, departed, strict=True)]
    alike = {name for name, count in Counter(names).items() if count > 1}
    for name in alike:
        places = [i for i, other in enumerate(names) if other == name]
        extras = differing([systems[i].spec for i in places])
        for place, extra in zip(places, extras, strict=True):
            names[place] = _label(systems[place], departed[place] | extra)
    return [
        (_key(one, name), name, changes)
        for one, name, changes in zip(systems, names, departed, strict=True)
    ]


def _label(system: Described, changes: Mapping[str, Any]) -> str:
    title = system.card.name
    if system.spec.preset != DEFAULT_PRESET:
        title += f" [{system.spec.preset}]"
    details = shown(changes)
    return f"{title} · {system.spec.regime.name}" + (f" ({details})" if details else "")


def _key(system: Described, label: str) -> str:
    """A file name's part: readable where the label is plain, with a hash where it says more."""
    name = slug(f"{system.spec.model} {system.spec.regime.name}")
    plain = f"{system.card.title} · {system.spec.regime.name}"
    if label == plain:
        return name
    return f"{name}-{hashlib.sha256(label.encode()).hexdigest()[:6]}"


def slug(text: str) -> str:
    """Lower-case letters, digits and hyphens: safe as a file name and in LaTeX."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
