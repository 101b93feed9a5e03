"""A run's settings beside those of its preset: what departs, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.spec import RunSpec
from protocols.regimes import Regime

DEFAULT_PRESET = "paper"
_IN_THE_REGIMES_NAME = ("kind", "rate", "intensity")


def shown(settings: Mapping[str, Any]) -> str:
    """Settings in one line, without their sections: "topk=8, scope=sample"."""
    return ", ".join(f"{key.split('.')[-1]}={_short(value)}" for key, value in settings.items())


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


def differing(specs: Sequence[RunSpec]) -> list[dict[str, Any]]:
    """For each run its settings, "training.epochs" -> value, in which these runs are not alike."""
    found = [_all_settings(spec) for spec in specs]
    keys = [
        key
        for key in sorted(set().union(*found))
        if len({json.dumps(settings.get(key)) for settings in found}) > 1
    ]
    return [{key: settings.get(key) for key in keys} for settings in found]


def _all_settings(spec: RunSpec) -> dict[str, Any]:
    parts: dict[str, Mapping[str, Any]] = {
        "model": spec.model_config,
        "training": spec.training,
        "regime": spec.regime.identity(),
        "versions": spec.versions,
    }
    return {
        f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()
    }


def _short(value: Any) -> str:
    """A number by six digits where these are all of it, so that no two values read alike."""
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)
