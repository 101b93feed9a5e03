"""A run's settings beside those of its preset: what departs, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
