"""Names of runs for people: model and training, and every setting that departs from the preset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.interface import Preset
from benchmark.registry import model_class
from benchmark.spec import RunSpec
from protocols.regimes import Regime

DEFAULT_PRESET = "paper"
_IN_THE_REGIMES_NAME = ("kind", "rate", "intensity")


def run_title(spec: RunSpec) -> str:
    """A run's name: "qamoe · spectrum (topk=8) · seed 1111"."""
    return f"{system_title(spec)} · seed {spec.seed}"


def system_title(spec: RunSpec) -> str:
    """What the runs of several seeds share: "qamoe · spectrum (topk=8)"."""
    return " · ".join(model_and_training(spec))


def model_and_training(spec: RunSpec) -> tuple[str, str]:
    """("qamoe", "spectrum (topk=8)"): the model with its preset, the regime with departures.

    A reconstruction is called one wherever a number of it may stand.
    """
    preset = "" if spec.preset == DEFAULT_PRESET else f" [{spec.preset}]"
    if source_quality(spec.model) == "reconstruction":
        preset += " (reconstruction)"
    details = shown(departures(spec, preset_settings(spec.model).get(spec.preset)))
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


def shown(settings: Mapping[str, Any]) -> str:
    """Settings in one line, without their sections: "topk=8, scope=sample"."""
    return ", ".join(f"{key.split('.')[-1]}={_short(value)}" for key, value in settings.items())


def preset_settings(model: str) -> dict[str, dict[str, Any]]:
    """Preset -> the model's complete settings under it; nothing for a model not installed."""
    try:
        kind = model_class(model)
    except BenchmarkError:
        return {}
    return {
        preset: kind.Config(**changes.model).model_dump(mode="json")
        for preset, changes in {DEFAULT_PRESET: Preset(), **kind.presets}.items()
    }


def departures(spec: RunSpec, defaults: Mapping[str, Any] | None) -> dict[str, Any]:
    """The settings of the model and the regime that are not their defaults.

    Args:
        spec: the run.
        defaults: the model's settings under the run's preset; None where they are not known.

    Returns:
        "model.topk" or "regime.scope" -> value.
    """
    changes = changed_settings(spec.model_config, defaults)
    regime, usual = spec.regime.identity(), Regime(spec.regime.kind).identity()
    return changes | {
        f"regime.{key}": value
        for key, value in regime.items()
        if key not in _IN_THE_REGIMES_NAME and value != usual[key]
    }


def changed_settings(
    model_config: Mapping[str, Any], defaults: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The model's settings that are not the defaults; none where those are not known."""
    if defaults is None:
        return {}
    return {
        f"model.{key}": value
        for key, value in model_config.items()
        if json.dumps(value) != json.dumps(defaults.get(key))
    }


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
