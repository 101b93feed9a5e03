"""A run's identity: what enters it, and that a plan is a product of such."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from pydantic import Field

from benchmark.errors import BenchmarkError
from benchmark.interface import ModelConfig
from benchmark.plan import plan_id
from protocols.regimes import Regime
from tests.test_execution import SMALL, plan


def test_the_run_id_depends_on_the_science_alone(tiny) -> None:
    (spec,), _ = plan(tiny)
    other = spec.config.model_copy(update={"topk": 4})
    scientific = [
        replace(spec, data_sha256="1" * 64),
        replace(spec, model="mult"),
        replace(spec, version=2),
        replace(spec, config=other),
        replace(spec, training=spec.training.model_copy(update={"learning_rate": 1e-3})),
        replace(spec, training=spec.training.model_copy(update={"select_on": "acc"})),
        replace(spec, regime=Regime(kind="clean")),
        replace(spec, regime=spec.regime.model_copy(update={"rate_max": 0.7})),
        replace(spec, seed=2),
        replace(spec, task="classification"),
    ]
    ids = {other.run_id for other in scientific}
    assert len(ids) == len(scientific)
    assert spec.run_id not in ids
    labels = [
        replace(spec, dataset="renamed"),
        replace(spec, preset="official", title="Q", source="x", changes={"model.topk": 1}),
        replace(spec, training=spec.training.model_copy(update={"plateau_patience": 3})),
        replace(spec, regime=spec.regime.model_copy(update={"rate": 0.9})),  # not of a spectrum
    ]
    assert {other.run_id for other in labels} == {spec.run_id}
    assert type(spec).from_dict(spec.as_dict()).run_id == spec.run_id


def test_one_run_has_one_id_however_it_is_asked_for(tiny) -> None:
    def ids(**changes) -> set[str]:
        return {spec.run_id for spec in plan(tiny, **changes)[0]}

    (plain,) = ids()
    for same in (
        {"model": {**SMALL, "topk": 3, "dropout": 0.1}},
        {"training": {"epochs": 2, "learning_rate": 0.0005, "select_on": "mae"}},
        {"training": {"epochs": 2, "plateau_patience": 7, "step_epochs": 3}},
        {"regime": {"rate_max": 1, "scope": "batch"}},
        {"seeds": (1, 1)},
    ):
        assert ids(**same) == {plain}, same
    assert ids(regimes=("missing-1",)) == ids(regimes=("missing",), regime={"rate": 1})
    assert ids(training={"epochs": 2, "schedule": "plateau", "plateau_patience": 7}) != ids(
        training={"epochs": 2, "schedule": "plateau"}
    )
    (named,) = plan(tiny, model={**SMALL, "topk": 3})[0]
    assert named.changes == {"model.width": 16, "model.encoder_heads": 2}  # 3 is the preset's


def test_a_truth_value_is_no_number(tiny) -> None:
    for wrong in (
        {"regimes": ("missing",), "regime": {"rate": True}},
        {"training": {"epochs": True}},
        {"model": {**SMALL, "topk": True}},
    ):
        with pytest.raises(BenchmarkError, match="a number is wanted"):
            plan(tiny, **wrong)


def test_an_option_added_with_a_default_leaves_identities_alone() -> None:
    class Before(ModelConfig):
        width: int = Field(8, description="w")

    class After(ModelConfig):
        width: int = Field(8, description="w")
        depth: int = Field(1, description="new")

    assert Before(width=4).departures() == After(width=4).departures() == {"width": 4}
    assert After(width=8, depth=2).departures() == {"depth": 2}


def test_an_edited_record_is_no_spec(tiny) -> None:
    (spec,), _ = plan(tiny)
    for change in (
        lambda d: d["identity"].update(seed=5),
        lambda d: d["settings"]["training"].update(learning_rate=0.1),
        lambda d: d.update(dataset="other"),
    ):
        values = copy.deepcopy(spec.as_dict())
        change(values)
        with pytest.raises(ValueError, match="edited"):
            type(spec).from_dict(values)


def test_a_plan_is_a_product_without_repeats(tiny) -> None:
    specs, _ = plan(tiny, regimes=("clean", "spectrum", "clean"), seeds=(1, 2, 2))
    assert [(s.regime.name, s.seed) for s in specs] == [
        ("clean", 1),
        ("clean", 2),
        ("spectrum", 1),
        ("spectrum", 2),
    ]
    assert plan_id(specs) == plan_id(specs[::-1])
    assert all(s.training.select_on == "mae" for s in specs)
