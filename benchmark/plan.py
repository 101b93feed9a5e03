"""From what the user asked for to the list of runs: pure products of models, regimes, seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pydantic import Field, field_validator, model_validator

from benchmark.config import EvaluationConfig, TrainingConfig, build
from benchmark.data.dataset import Dataset
from benchmark.diagnostics.kept import Diagnosis
from benchmark.errors import BenchmarkError, unknown
from benchmark.interface import ModelConfig, MultimodalModel, Preset
from benchmark.metrics import PRIMARY
from benchmark.registry import model_class
from benchmark.search.objective import Objective, objective_of
from benchmark.spec import RunSpec
from protocols.conditions import PROTOCOLS, Condition, Protocol, conditions_of
from protocols.regimes import LEVEL_OF, REGIME_KINDS, Regime
from protocols.settings import Settings

CLEAN = "clean"


class Product(Settings):
    """Runs that are one product: models by regimes by seeds, with settings that all of them share.

    ``model`` and ``training`` hold departures from the preset; a ``model`` setting applies to
    every chosen model that has it. ``regime`` holds settings of the regimes named in ``regimes``.
    """

    models: tuple[str, ...] = Field(
        (), description="empty: the usual ones; [all]: every installed one"
    )
    protocol: str = Field("all", description="clean, I, II, III, grid or all; several with commas")
    regimes: tuple[str, ...] = Field(("clean", "spectrum"), min_length=1)
    seeds: tuple[int, ...] = Field((1111,), min_length=1)
    preset: str = "paper"
    model: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    regime: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)

    @field_validator("protocol", mode="before")
    @classmethod
    def _join_protocols(cls, value: Any) -> Any:
        """A list of protocols, as a file may have it, to its names with commas."""
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


SECTIONS = ("model", "training", "regime", "evaluation")
"""The keys of a product that hold settings, one name and value each."""


class PlanConfig(Product):
    """What ``benchmark run`` is asked for; a plan file, and a ``--config`` file, has these keys.

    Without ``runs`` it is one product. With ``runs`` it is several, each of them the keys given
    beside ``runs`` with its own on top; settings are joined key by key.
    """

    dataset: str = "synthetic"
    title: str = Field("", description="for people; empty: models, regimes and seeds")
    runs: tuple[Product, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _join_common_keys(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not values.get("runs"):
            return values
        common = {key: values[key] for key in Product.model_fields if key in values}
        runs = [_joined(common, run) if isinstance(run, Mapping) else run for run in values["runs"]]
        return {**values, "runs": runs}

    @property
    def products(self) -> tuple[Product, ...]:
        """The products that the plan is made of."""
        return self.runs or (self,)


def _joined(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    joined = {**common, **own}
    for section in SECTIONS:
        parts = [values[section] for values in (common, own) if section in values]
        if all(isinstance(part, Mapping) for part in parts):
            joined[section] = {key: value for part in parts for key, value in part.items()}
    return joined


@dataclass(frozen=True)
class Planned:
    """A run, and the conditions that its prediction tables must cover.

    Attributes:
        spec: the run.
        conditions: of the test table; none for a search's trial.
        validation: of the validation table, which only a search asks for.
        diagnose: the diagnostics that it must have beside its record.
    """

    spec: RunSpec
    conditions: tuple[Condition, ...]
    validation: tuple[Condition, ...] = ()
    diagnose: tuple[Diagnosis, ...] = ()


def make_plan(config: PlanConfig, dataset: Dataset) -> list[Planned]:
    """Every run of every product, each once, with all the conditions that any product asks of it.

    Raises:
        BenchmarkError: see :func:`plan_runs` and :func:`plan_conditions`.
    """
    plan: dict[str, Planned] = {}
    for product in config.products:
        conditions = plan_conditions(product, dataset)
        objective = plan_objective(product, dataset)
        validation = objective.conditions() if objective else ()
        for spec in plan_runs(product, dataset):
            known = plan.get(spec.run_id, Planned(spec, ()))
            plan[spec.run_id] = Planned(
                known.spec,
                _joint_rows(known.conditions, conditions),
                _joint_rows(known.validation, validation),
            )
    return list(plan.values())


@lru_cache(maxsize=64)
def _joint_rows(one: tuple[Condition, ...], other: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """The conditions of both; runs that are asked the same share them."""
    return tuple(sorted({*one, *other}))


def plan_runs(product: Product, dataset: Dataset) -> list[RunSpec]:
    """The runs of a product, in the order model, regime, seed; each once.

    Raises:
        BenchmarkError: for an unknown model, preset, regime or setting, or one that does not fit.
    """
    classes = {name: model_class(name) for name in dict.fromkeys(product.models)}
    regimes = [regime_named(name, product.regime) for name in dict.fromkeys(product.regimes)]
    for key in product.model:
        if not any(key in kind.Config.model_fields for kind in classes.values()):
            known = {f"model.{x}" for kind in classes.values() for x in kind.Config.model_fields}
            raise unknown(f"setting of {', '.join(classes)}", f"model.{key}", known)
    first = [
        _spec(name, kind, product, regime, product.seeds[0], dataset)
        for name, kind in classes.items()
        for regime in regimes
    ]
    specs = [replace(spec, seed=seed) for spec in first for seed in dict.fromkeys(product.seeds)]
    return list({spec.run_id: spec for spec in specs}.values())


def plan_conditions(product: Product, dataset: Dataset) -> tuple[Condition, ...]:
    """The prediction-table rows that a product's protocols need.

    Raises:
        BenchmarkError: for an unknown protocol, a setting of the evaluation that does not fit, or a
            noise rule that the data set was not made for.
    """
    evaluation = evaluation_of(product)
    conditions = conditions_of(
        protocols_named(product.protocol),
        dataset.spec.present,
        evaluation.noise_rules,
        evaluation.draws,
        evaluation.joint,
    )
    dataset.require(conditions)
    return conditions


def plan_objective(product: Product, dataset: Dataset) -> Objective | None:
    """The search objective that is to be reported too; None where none is named.

    Raises:
        BenchmarkError: for a setting of the evaluation that does not fit.
    """
    evaluation = evaluation_of(product)
    if evaluation.objective is None:
        return None
    objective = objective_of(evaluation.objective, evaluation, dataset.spec)
    dataset.require(objective.conditions())
    return objective


def evaluation_of(product: Product) -> EvaluationConfig:
    """What the tables cover. Raises BenchmarkError for a setting that does not fit."""
    return build(EvaluationConfig, product.evaluation, "evaluation")


def check_missing_rule(specs: Sequence[RunSpec], dataset: Dataset) -> None:
    """Refuse a missing rule that the data set has too few modalities for."""
    present = dataset.spec.present
    for spec in specs:
        uses = spec.regime.kind in ("spectrum", "missing")
        if uses and spec.regime.missing_rule == "imder_batch" and len(present) < 3:
            raise BenchmarkError(
                "the missing rule imder_batch is defined for three modalities, but "
                f"{dataset.name} has {', '.join(present)}: "
                "use --set regime.missing_rule=bernoulli or at_least_one"
            )


def plan_id(specs: Sequence[RunSpec]) -> str:
    """The identity of a plan: a hash of its run ids, whatever their order."""
    joined = ",".join(sorted(spec.run_id for spec in specs))
    return hashlib.sha256(joined.encode()).hexdigest()[:12]


def plan_title(specs: Sequence[RunSpec]) -> str:
    """For people: models, regimes and the number of seeds."""
    models = "+".join(dict.fromkeys(spec.title for spec in specs))
    regimes = "+".join(dict.fromkeys(spec.regime.name for spec in specs))
    seeds = len({spec.seed for spec in specs})
    return f"{models} · {regimes} · {seeds} seed{'s' if seeds > 1 else ''}"


def protocols_named(text: str) -> tuple[Protocol, ...]:
    """Names separated by commas; ``clean`` asks for the clean test alone, ``all`` for every one.

    Raises:
        BenchmarkError: for an unknown one.
    """
    known: dict[str, tuple[Protocol, ...]] = {name.lower(): (name,) for name in PROTOCOLS}
    known |= {CLEAN: (), "all": PROTOCOLS}  # every table has the clean row
    chosen: list[Protocol] = []
    for name in [name.strip() for name in text.split(",") if name.strip()] or [text]:
        if name.lower() not in known:
            raise unknown("protocol", name, [CLEAN, *PROTOCOLS, "all"])
        chosen += known[name.lower()]
    return tuple(dict.fromkeys(chosen))


def regime_named(name: str, settings: Mapping[str, Any]) -> Regime:
    """A regime by its name: a kind, or ``missing-0.3`` and ``noise-0.3`` with their level.

    Args:
        name: the regime's name, as in the tables.
        settings: the other settings of the regime.

    Raises:
        BenchmarkError: for what does not exist or fit.
    """
    named, dash, level = name.partition("-")
    kind = next((known for known in REGIME_KINDS if known == named), None)
    if kind is None or (dash and kind not in LEVEL_OF):
        raise unknown("regime", name, REGIME_KINDS)
    if dash:
        settings = {**settings, LEVEL_OF[kind]: _level(name, level)}
    elif kind in LEVEL_OF and LEVEL_OF[kind] not in settings:
        raise BenchmarkError(
            f"regime {kind} needs its {LEVEL_OF[kind]}: "
            f"write {kind}-0.3, say, or add --set regime.{LEVEL_OF[kind]}=0.3"
        )
    return build(Regime, {**settings, "kind": kind}, "regime")


def _level(name: str, level: str) -> float:
    try:
        return float(level)
    except ValueError:
        raise BenchmarkError(f"regime {name}: '{level}' is no number") from None


def _spec(
    name: str,
    kind: type[MultimodalModel],
    product: Product,
    regime: Regime,
    seed: int,
    dataset: Dataset,
) -> RunSpec:
    preset = preset_named(name, kind, product.preset)
    card = preset.card or kind.card
    plain = _model_config(name, kind, preset.model)
    config = _model_config(name, kind, {**preset.model, **product.model})
    training = build(TrainingConfig, {**preset.training, **product.training}, "training")
    if training.select_on == "auto":
        training = training.model_copy(update={"select_on": PRIMARY[dataset.spec.task]})
    return RunSpec(
        dataset=dataset.name,
        data_sha256=dataset.sha256,
        task=dataset.spec.task,
        model=name,
        version=kind.card.version or 1,
        config=config,
        training=training,
        regime=regime,
        seed=seed,
        preset=product.preset,
        changes={**_changes(config, plain), **_in_section("regime", regime.changes())},
        title=card.title,
        source=card.source,
    )


def _model_config(name: str, kind: type[MultimodalModel], values: Mapping[str, Any]) -> ModelConfig:
    """Of a product's settings those that the model has."""
    own = {key: value for key, value in values.items() if key in kind.Config.model_fields}
    return build(kind.Config, own, f"{name}'s model")


def _changes(config: ModelConfig, preset: ModelConfig) -> dict[str, Any]:
    """The settings that have an effect and are not the preset's."""
    usual, idle = preset.model_dump(mode="json"), config.idle()
    found = config.model_dump(mode="json")
    changed = {key: x for key, x in found.items() if key not in idle and x != usual[key]}
    return _in_section("model", changed)


def _in_section(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{section}.{key}": value for key, value in values.items()}


def preset_named(name: str, kind: type[MultimodalModel], preset: str) -> Preset:
    """A preset of a model; "paper" is the defaults. Raises BenchmarkError for an unknown one."""
    presets = {"paper": Preset(), **kind.presets}
    if preset not in presets:
        raise unknown(f"preset of {name}", preset, presets)
    return presets[preset]
