"""Systems: runs that differ in nothing but their seed, and the one name each has everywhere.

A name is the model (with its preset where that is not the paper's, and a word of its source where
the method was rebuilt without it) and the training: the regime, every setting of model or
regime that departs, and, where two systems beside each other would read alike, where they differ.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.spec import RunSpec

DEFAULT_PRESET = "paper"
_SAID_SOURCES = ("reconstruction", "seen through a third party")
"""The sources that a name says: what stands beside it is no number of the original's."""


@dataclass(frozen=True, order=True)
class Name:
    """What a system is called.

    Attributes:
        model: "QA-MoE", "MulT [official]", "SAM-LML (reconstruction)".
        training: "spectrum (topk=8)".
        key: short, unique among systems named together, and stable; part of file names.
    """

    model: str
    training: str
    key: str

    @property
    def label(self) -> str:
        """Model and training in one line."""
        return f"{self.model} · {self.training}"


def systems(specs: Sequence[RunSpec]) -> dict[Name, list[RunSpec]]:
    """Runs by system, in the order of their first runs; systems never share a name."""
    groups: dict[str, list[RunSpec]] = {}
    for spec in specs:
        groups.setdefault(spec.apart_from(), []).append(spec)
    first = [runs[0] for runs in groups.values()]
    names = [_name(spec) for spec in first]
    places_of: dict[Name, list[int]] = {}
    for place, name in enumerate(names):
        places_of.setdefault(name, []).append(place)
    for places in [found for found in places_of.values() if len(found) > 1]:
        for place, extra in zip(places, _differing([first[i] for i in places]), strict=True):
            names[place] = _name(first[place], extra)
    return dict(zip(names, groups.values(), strict=True))


def run_titles(specs: Sequence[RunSpec]) -> dict[str, str]:
    """Run id -> "QA-MoE · spectrum (topk=8) · seed 1111", for runs that stand beside each other."""
    return {
        spec.run_id: f"{name.label} · seed {spec.seed}"
        for name, runs in systems(specs).items()
        for spec in runs
    }


def run_title(spec: RunSpec) -> str:
    """A run's name where it stands alone."""
    return run_titles([spec])[spec.run_id]


def model_name(title: str, source: str, preset: str = DEFAULT_PRESET) -> str:
    """A model's title, saying its preset and, wherever a number may stand, a doubtful source."""
    shown = "" if preset == DEFAULT_PRESET else f" [{preset}]"
    return title + shown + (f" ({source})" if source in _SAID_SOURCES else "")


def shown(settings: Mapping[str, Any]) -> str:
    """Settings in one line, without their sections: "topk=8, scope=sample"."""
    return ", ".join(f"{key.split('.')[-1]}={short(value)}" for key, value in settings.items())


def slug(text: str) -> str:
    """Lower-case letters, digits and hyphens: safe as a file name and in LaTeX."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _name(spec: RunSpec, also: Mapping[str, Any] | None = None) -> Name:
    details = shown({**(spec.changes or {}), **(also or {})})
    model = model_name(spec.title or spec.model, spec.source, spec.preset)
    training = spec.regime.name + (f" ({details})" if details else "")
    key = slug(f"{spec.model} {spec.regime.name}")
    if details or spec.preset != DEFAULT_PRESET:
        key += f"-{hashlib.sha256(f'{model} {training}'.encode()).hexdigest()[:6]}"
    return Name(model, training, key)


def _differing(specs: Sequence[RunSpec]) -> list[dict[str, Any]]:
    """For each run its settings and versions in which these runs are not alike."""
    found = [_everything(spec) for spec in specs]
    keys = [
        key
        for key in sorted(set().union(*found))
        if len({json.dumps(settings.get(key)) for settings in found}) > 1
    ]
    return [{key: settings.get(key) for key in keys} for settings in found]


def _everything(spec: RunSpec) -> dict[str, Any]:
    settings = spec.settings()
    flat = {f"{part}.{key}": x for part, values in settings.items() for key, x in values.items()}
    for part in settings:
        flat[f"{part} version"] = spec.identity[part].get("version")
    return {**flat, "data": spec.data_sha256[:6]}


def short(value: Any) -> str:
    """A number by six digits where these are all of it, so that no two values read alike."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)
