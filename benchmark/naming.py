"""Names of runs for people: model and training, and every setting that departs from the preset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.registry import model_class
from benchmark.settings import DEFAULT_PRESET, departures, differing, shown
from benchmark.spec import RunSpec


def run_title(spec: RunSpec) -> str:
    """A run's name: "qamoe · spectrum (topk=8) · seed 1111"."""
    return f"{' · '.join(model_and_training(spec))} · seed {spec.seed}"


def run_titles(specs: Sequence[RunSpec]) -> dict[str, str]:
    """Run id -> name, for runs that stand beside each other: see :func:`systems`."""
    return {
        spec.run_id: f"{' · '.join(name)} · seed {spec.seed}"
        for name, runs in systems(specs).items()
        for spec in runs
    }


def systems(specs: Sequence[RunSpec]) -> dict[tuple[str, str], list[RunSpec]]:
    """Runs by the (model, training) that those of several seeds share.

    Systems that would read alike, as two learning rates do, are named by where they differ.
    """
    alike: dict[tuple[str, str], dict[str, list[RunSpec]]] = {}
    for spec in specs:
        alike.setdefault(model_and_training(spec), {}).setdefault(spec.system, []).append(spec)
    found = {}
    for members in alike.values():
        runs = list(members.values())
        for group, extra in zip(runs, differing([one[0] for one in runs]), strict=True):
            found[model_and_training(group[0], extra)] = group
    return found


def model_and_training(spec: RunSpec, also: Mapping[str, Any] | None = None) -> tuple[str, str]:
    """("qamoe", "spectrum (topk=8)"): the model with its preset, the regime with departures.

    A reconstruction is called one wherever a number of it may stand. ``also`` are settings that
    are named whether they depart or not.
    """
    preset = "" if spec.preset == DEFAULT_PRESET else f" [{spec.preset}]"
    if source_quality(spec.model) == "reconstruction":
        preset += " (reconstruction)"
    changes = departures(spec, preset_settings(spec.model).get(spec.preset))
    details = shown(changes | dict(also or {}))
    return spec.model + preset, spec.regime.name + (f" ({details})" if details else "")


def source_quality(model: str) -> str | None:
    """How well a model's source is known; None where the model is not installed."""
    try:
        card = getattr(model_class(model), "card", None)
    except BenchmarkError:
        return None
    return card.source if card is not None else None


def described(model: str, preset: str) -> dict[str, Any]:
    """What a record keeps of a model, so that a report can name it where it is not installed.

    Returns:
        "title", "source" (how well the original is known), "settings" (all, under the preset).
    """
    card = model_class(model).card
    settings = preset_settings(model).get(preset)
    return {"title": card.title, "source": card.source, "settings": settings}


def preset_settings(model: str) -> dict[str, dict[str, Any]]:
    """Preset -> the model's complete settings under it; nothing for a model not installed."""
    try:
        kind = model_class(model)
    except BenchmarkError:
        return {}
    presets: dict[str, Mapping[str, Any]] = {DEFAULT_PRESET: {}}
    presets |= {name: preset.model for name, preset in kind.presets.items()}
    return {name: kind.Config(**made).model_dump(mode="json") for name, made in presets.items()}
