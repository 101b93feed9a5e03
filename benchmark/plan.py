"""From what the user asked for to the list of runs: a pure product of models, regimes, seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from benchmark.config import EvaluationConfig, Settings, TrainingConfig, build
from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError, unknown
from benchmark.interface import MultimodalModel, Preset
from benchmark.metrics import PRIMARY
from benchmark.registry import model_class
from benchmark.spec import RunSpec
from protocols.conditions import PROTOCOLS, Condition, Protocol, conditions_of
from protocols.regimes import REGIME_KINDS, Regime


class PlanConfig(Settings):
    """What ``benchmark run`` is asked for; a ``--config`` file has these keys.

    ``model`` and ``training`` hold departures from the preset; a ``model`` setting applies to
    every chosen model that has it. ``regime`` holds settings of the regimes named in ``regimes``.
    """

    dataset: str = "synthetic"
    models: tuple[str, ...] = Field((), description="empty: every installed model")
    protocol: str = Field("all", description="I, II, III, grid or all; several with commas")
    regimes: tuple[str, ...] = Field(("clean", "spectrum"), min_length=1)
    seeds: tuple[int, ...] = Field((1111,), min_length=1)
    preset: str = "paper"
    model: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    regime: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)


def plan_runs(config: PlanConfig, dataset: Dataset) -> list[RunSpec]:
    """The runs that a request means, in the order model, regime, seed; each once.

    Raises:
        BenchmarkError: for an unknown model, preset, regime or setting, or one that does not fit.
    """
    classes = {name: model_class(name) for name in dict.fromkeys(config.models)}
    regimes = [regime_named(kind, config.regime) for kind in dict.fromkeys(config.regimes)]
    for key in config.model:
        if not any(key in kind.Config.model_fields for kind in classes.values()):
            fields = {field for kind in classes.values() for field in kind.Config.model_fields}
            raise unknown(f"setting of {', '.join(classes)}", f"model.{key}", _dotted(fields))
    specs = [
        RunSpec(
            dataset=dataset.name,
            data_sha256=dataset.sha256,
            task=dataset.spec.task,
            model=name,
            preset=config.preset,
            model_config=_model_settings(name, kind, config),
            training=_training_settings(name, kind, config, dataset),
            regime=regime,
            seed=seed,
        )
        for name, kind in classes.items()
        for regime in regimes
        for seed in dict.fromkeys(config.seeds)
    ]
    return list({spec.run_id: spec for spec in specs}.values())


def plan_conditions(config: PlanConfig, dataset: Dataset) -> tuple[Condition, ...]:
    """The prediction-table rows that the asked-for protocols need."""
    evaluation = build(EvaluationConfig, config.evaluation, "evaluation")
    return conditions_of(
        protocols_named(config.protocol),
        dataset.spec.present,
        evaluation.noise_rules,
        evaluation.draws,
        evaluation.joint,
    )


def plan_id(specs: Sequence[RunSpec]) -> str:
    """The identity of a plan: a hash of its run ids, whatever their order."""
    joined = ",".join(sorted(spec.run_id for spec in specs))
    return hashlib.sha256(joined.encode()).hexdigest()[:12]


def plan_title(specs: Sequence[RunSpec]) -> str:
    """For people: models, regimes and the number of seeds."""
    models = "+".join(dict.fromkeys(spec.model for spec in specs))
    regimes = "+".join(dict.fromkeys(spec.regime.name for spec in specs))
    seeds = len({spec.seed for spec in specs})
    return f"{models} · {regimes} · {seeds} seed{'s' if seeds > 1 else ''}"


def protocols_named(text: str) -> tuple[Protocol, ...]:
    """``all``, or names separated by commas. Raises BenchmarkError for an unknown one."""
    if text == "all":
        return PROTOCOLS
    by_name = {protocol.lower(): protocol for protocol in PROTOCOLS}
    chosen = []
    for name in text.split(","):
        if name.strip().lower() not in by_name:
            raise unknown("protocol", name.strip(), [*PROTOCOLS, "all"])
        chosen.append(by_name[name.strip().lower()])
    return tuple(dict.fromkeys(chosen))


def regime_named(kind: str, settings: Mapping[str, Any]) -> Regime:
    """A regime of a kind with settings. Raises BenchmarkError for what does not exist or fit."""
    if kind not in REGIME_KINDS:
        raise unknown("regime", kind, REGIME_KINDS)
    fields = [field for field in Regime.__dataclass_fields__ if field != "kind"]
    for key in settings:
        if key not in fields:
            raise unknown("setting in regime", key, fields)
    if kind == "missing" and "rate" not in settings:
        raise BenchmarkError("regime missing needs its rate: add --set regime.rate=0.3, say")
    if kind == "noise" and "intensity" not in settings:
        raise BenchmarkError(
            "regime noise needs its intensity: add --set regime.intensity=0.3, say"
        )
    try:
        return Regime(kind=kind, **settings)
    except (ValueError, TypeError) as error:
        raise BenchmarkError(str(error)) from None


def _model_settings(name: str, kind: type[MultimodalModel], config: PlanConfig) -> dict[str, Any]:
    chosen = {k: v for k, v in config.model.items() if k in kind.Config.model_fields}
    values = {**_preset(name, kind, config.preset).model, **chosen}
    return build(kind.Config, values, f"model {name}").model_dump(mode="json")


def _training_settings(
    name: str, kind: type[MultimodalModel], config: PlanConfig, dataset: Dataset
) -> dict[str, Any]:
    values = {**_preset(name, kind, config.preset).training, **config.training}
    training = build(TrainingConfig, values, "training")
    if training.select_on == "auto":
        training = training.model_copy(update={"select_on": PRIMARY[dataset.spec.task]})
    return training.model_dump(mode="json")


def _preset(name: str, kind: type[MultimodalModel], preset: str) -> Preset:
    presets = {"paper": Preset(), **kind.presets}
    if preset not in presets:
        raise unknown(f"preset of {name}", preset, presets)
    return presets[preset]


def _dotted(fields: set[str]) -> list[str]:
    return [f"model.{field}" for field in fields]
