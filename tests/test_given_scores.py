"""Predictions with reliability scores that are not the model's own."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.config import build
from benchmark.diagnostics import reliability
from benchmark.diagnostics.kept import given_scores, path_of, read
from benchmark.diagnostics.reliability import PERMUTATIONS, WEIGHTS
from benchmark.execution.attempt import attempt
from benchmark.plan import PlanConfig, Planned, plan_conditions, plan_runs
from benchmark.records import RunStore
from benchmark.registry import model_class
from protocols.conditions import at_level, conditions_of
from protocols.degradation import degrade, keyed_noise
from protocols.missing import as_bools
from protocols.modalities import MODALITIES
from tests.batches import make_batch, make_dataset
from tests.small_models import SMALL, small_model

RULES = ("seed_a1", "fill_noise")


@pytest.fixture(scope="module")
def data():
    return make_dataset(sizes=(16, 24, 20))


@pytest.fixture(scope="module")
def conditions():
    return conditions_of(("I", "II", "III"), MODALITIES, RULES, 2, "uniform_0.7")


@pytest.fixture(scope="module")
def found(data, conditions):
    model = small_model("qamoe")
    return reliability.given_scores(model, data, conditions)


def gated(**config: object):
    """QA-MoE in another reading, of the same size."""
    kind = model_class("qamoe")
    torch.manual_seed(0)
    made = kind(build(kind.Config, {**SMALL["qamoe"], **config}, "qamoe"), make_dataset().spec)
    return made.eval()


READINGS = (
    *({}, {"prior": "per_modality"}, {"ablation": "no_prior"}, {"ablation": "no_variance"}),
    *({"fusion": "precision"}, {"fusion": "shared_errors"}, {"uncertainty_head": "reads_variance"}),
)


@pytest.mark.parametrize("config", READINGS)
def test_the_models_own_scores_give_its_own_prediction(config) -> None:
    model, batch = gated(**config), make_batch(9)
    encoded = {m: model.encode(m, x, batch.masks[m]) for m, x in batch.features.items()}
    own = model.fuse(encoded)
    given = model.with_reliability(encoded, own.reliability)
    torch.testing.assert_close(model.fuse(given).prediction, own.prediction)
    half = torch.full((9, 3), 0.5)
    assert torch.equal(model.fuse(model.with_reliability(encoded, half)).reliability, half)
    assert not torch.allclose(
        model.fuse(model.with_reliability(encoded, half)).prediction, own.prediction
    )


def test_without_trust_only_the_prior_speaks() -> None:
    """Eq. 7 at r = 0: y_m is the prior, whatever the input."""
    model, batch = gated(), make_batch(9)
    encoded = {m: model.encode(m, x, batch.masks[m]) for m, x in batch.features.items()}
    none = model.with_reliability(encoded, torch.zeros(9, 3))
    for m in MODALITIES:
        torch.testing.assert_close(none[m]["y"], model.prior.expand(9, -1))


def test_a_precision_is_what_its_score_says() -> None:
    """v = 1 / r - 1 (Eq. 6): without trust in any modality the answer is the prior's mean."""
    model, batch = gated(fusion="precision"), make_batch(9)
    encoded = {m: model.encode(m, x, batch.masks[m]) for m, x in batch.features.items()}
    given = model.with_reliability(encoded, torch.full((9, 3), 0.25))
    assert all(torch.allclose(given[m]["variance"], torch.tensor(3.0)) for m in MODALITIES)
    none = model.fuse(model.with_reliability(encoded, torch.zeros(9, 3))).prediction
    torch.testing.assert_close(none, model.fusion.prior_mean.expand(9))


def test_models_whose_scores_cannot_be_given_say_so(data, conditions) -> None:
    assert reliability.given_scores(gated(ablation="no_gate"), data, conditions) == {}
    assert reliability.given_scores(gated(moe_level="token"), data, conditions) == {}
    for name in ("tfn", "emoe"):  # no scores; scores, but no branches
        assert reliability.given_scores(small_model(name).eval(), data, conditions) == {}


def degraded(data, split: str, condition):
    part = data.splits[split]
    noise = keyed_noise(
        "seed_a1" if condition.noise_rule == "none" else condition.noise_rule,
        condition.draw,
        split,
        part.sample_ids,
        part.samples,
    )
    available = as_bools(condition.mask)
    return degrade(part.samples, condition.intensity, available, noise, data.sigma_ref)


def with_scores(model, batch, scores):
    encoded = {m: model.encode(m, x, batch.masks[m]) for m, x in batch.features.items()}
    with torch.no_grad():
        return model.fuse(model.with_reliability(encoded, scores)).prediction.numpy()


ASKED = [
    at_level("seed_a1", 1, 0.4, 7),
    at_level("seed_a1", 0, 0.0, 5),
    at_level("fill_noise", 1, 0.7, 7),
]


@pytest.mark.parametrize("condition", ASKED, ids=str)
def test_permuted_scores_are_another_samples_of_the_same_condition(data, found, condition) -> None:
    model = small_model("qamoe").eval()
    place = row_of(found, condition)
    batch = degraded(data, "test", condition)
    with torch.no_grad():
        own = model(batch)
    assert found["permuted"].shape[0] == PERMUTATIONS
    for number, order in enumerate(reliability._permutations(20)):
        assert sorted(order.tolist()) == list(range(20))
        expected = with_scores(model, batch, own.reliability[order])
        np.testing.assert_allclose(found["permuted"][number, place], expected, atol=1e-5)


def row_of(found, condition) -> int:
    columns = zip(
        *(found[k].tolist() for k in ("noise_rule", "draw", "intensity", "mask")), strict=True
    )
    key = (condition.noise_rule, condition.draw, condition.intensity, condition.mask)
    return list(columns).index(key)


@pytest.mark.parametrize("condition", ASKED, ids=str)
def test_fixed_weights_are_the_best_on_validation(data, found, condition) -> None:
    """By trying every weight by hand, over both draws of the cell together."""
    model = small_model("qamoe").eval()
    label = data.splits["valid"].samples.label.numpy()
    draws = [0] if condition.noise_rule == "none" else [0, 1]
    batches = [
        degraded(
            data, "valid", at_level(condition.noise_rule, d, condition.intensity, condition.mask)
        )
        if condition.intensity
        else degraded(data, "valid", condition)
        for d in draws
    ]
    errors = {}
    for weights in product(WEIGHTS, repeat=3):
        scores = torch.tensor(weights).expand(len(label), -1)
        answers = [with_scores(model, batch, scores) for batch in batches]
        errors[weights] = np.mean([np.abs(a - label).mean() for a in answers])
    place = row_of(found, condition)
    chosen = tuple(found["weights"][place].tolist())
    assert errors[chosen] == pytest.approx(min(errors.values()), abs=1e-6)
    test = degraded(data, "test", condition)
    expected = with_scores(model, test, torch.tensor(chosen).expand(20, -1))
    np.testing.assert_allclose(found["fixed"][place], expected, atol=1e-5)


def test_every_row_at_a_level_is_asked(data, found, conditions) -> None:
    assert len(found["mask"]) == len([c for c in conditions if not c.joint])
    assert found["fixed"].shape == found["permuted"].shape[1:] == (len(found["mask"]), 20)


def test_a_run_keeps_them_beside_its_record(tmp_path: Path, data_dir: Path) -> None:
    from benchmark.data.registry import load_dataset

    tiny = load_dataset("tiny", data_dir)
    request = PlanConfig(
        dataset="tiny",
        models=("qamoe", "tfn"),
        regimes=("clean",),
        protocol="I",
        model={"width": 16, "encoder_heads": 2},
        training={"epochs": 1},
    )
    store = RunStore(tmp_path)
    for spec in plan_runs(request, tiny):
        planned = Planned(spec, plan_conditions(request, tiny), diagnose=("reliability",))
        assert attempt(planned, lambda: tiny, store, lambda event: None, False) == "done"
        assert attempt(planned, lambda: tiny, store, lambda event: None, False) == "kept"
        kept = given_scores(store.root, spec.run_id)
        if spec.model == "tfn":
            assert kept is None
            assert read(path_of(store.root, spec.run_id, "reliability")) is not None
            continue
        table = store.record(spec.run_id).table
        assert kept.conditions == table.conditions
        assert kept.fixed.shape == table.prediction.shape
