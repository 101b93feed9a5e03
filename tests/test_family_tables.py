"""Tables, regimes and plans of families of degradation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark import metrics_file
from benchmark.config import build
from benchmark.contract_cases import zeroed
from benchmark.data.registry import load_dataset
from benchmark.plan import PlanConfig, make_plan
from benchmark.planfile import named_plan
from benchmark.predict import fill_table
from benchmark.questions import Question, noise_questions
from benchmark.readouts import answered_by, covers
from benchmark.table import seal_of
from protocols.conditions import PROTOCOLS, at_level, conditions_of, version_of
from protocols.degradation import degrade, keyed_noise
from protocols.missing import as_bools
from protocols.modalities import MODALITIES
from protocols.regimes import Regime
from protocols.rules import FAMILIES
from protocols.training import degrade_training_batch, degrade_validation_split
from tests.batches import make_batch, make_dataset
from tests.small_models import small_model
from tests.test_families import NEW, SIGMA, noisy
from tests.test_readouts import Counting


def table_of(data, model, rule, batch_size=None):
    conditions = conditions_of(PROTOCOLS, data.spec.present, (rule,), 2, "uniform_0.7")
    split = data.splits["test"]
    centre = data.centre
    return fill_table(
        model, split, data.spec, data.sigma_ref, conditions, batch_size=batch_size, centre=centre
    )


@pytest.mark.parametrize("rule", NEW)
def test_a_table_is_the_model_on_inputs_degraded_afresh(rule) -> None:
    """In any batch size, and for a model of branches as for any other."""
    data = make_dataset(sizes=(16, 8, 20))
    data.splits["test"].samples.available[4, 2] = False
    data.splits["test"].samples.features["vision"][4] = 0  # naturally missing
    test = data.splits["test"]
    for model in (Counting(data.spec).eval(), small_model("qamoe").eval()):
        table = table_of(data, model, rule)
        small = table_of(data, model, rule, batch_size=7)
        np.testing.assert_allclose(table.prediction, small.prediction, atol=1e-5)
        for intensity, mask in ((0.4, 7), (0.7, 5), (0.3, 0), (0.0, 3)):
            condition = at_level(rule, 1 if FAMILIES[rule].random else 0, intensity, mask)
            noise = keyed_noise(rule, condition.draw, "test", test.sample_ids, test.samples)
            inputs = degrade(
                test.samples, intensity, as_bools(mask), noise, data.sigma_ref, data.centre
            )
            with torch.no_grad():
                expected = model(inputs).prediction.numpy()
            np.testing.assert_allclose(
                table.prediction[table.row(condition)], expected, atol=1e-5, err_msg=str(condition)
            )


def test_rows_of_a_table() -> None:
    def rows(*rules: str, draws: int = 3) -> int:
        return len(conditions_of(("grid",), MODALITIES, rules, draws, "uniform_0.7"))

    assert rows("frames") == rows("seed_a1") == 8 + 3 * 49
    assert rows("quantise") == 8 + 49  # every draw would be the same
    assert rows("fill_noise") == 8 + 3 * 56  # with nothing available it still says something
    assert rows("seed_a1", "frames") == 8 + 2 * 3 * 49
    assert covers(
        table_of(make_dataset(), Counting(make_dataset().spec), "fill_noise"),
        [
            *noise_questions("fill_noise", MODALITIES),
            Question("grid", "fill_noise", "bernoulli", 0.3, 0.4),
        ],
    )


def test_the_version_of_a_family_is_of_its_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    base = at_level("seed_a1", 0, 0.3, 7)
    assert version_of(base) == "zeroing 1, degradation 2, draw 1"
    assert version_of(at_level("frames", 0, 0.3, 7)) == "zeroing 1, frames 1, draw 1"
    data = make_dataset()
    table = table_of(data, Counting(data.spec), "frames")
    seal = seal_of(table)
    kept = metrics_file.json.loads(metrics_file.to_json(table, seal))
    assert metrics_file.is_current(kept, "regression", seal)
    old = table_of(data, Counting(data.spec), "seed_a1")
    kept_old = metrics_file.json.loads(metrics_file.to_json(old, seal_of(old)))
    assert "frames" not in kept_old["versions"]
    changed = replace(FAMILIES["frames"], version=2)
    monkeypatch.setitem(FAMILIES, "frames", changed)
    assert version_of(base) == "zeroing 1, degradation 2, draw 1"
    assert not metrics_file.is_current(kept, "regression", seal)
    assert metrics_file.is_current(kept_old, "regression", seal_of(old))


def test_a_spectrum_of_several_families() -> None:
    batch = make_batch(64)
    generator = torch.Generator().manual_seed(0)
    families = ("gaussian_av", "frames")
    by_batch = Regime(kind="spectrum", noise_rules=families)
    by_sample = Regime(kind="spectrum", noise_rules=families, scope="sample")

    def met(regime: Regime) -> torch.Tensor:
        """Which samples with text lost some but not all of it: only frames does that."""
        found = degrade_training_batch(batch, regime, generator, SIGMA, MODALITIES)
        here = found.available[:, 0]
        changed = (found.features["text"] != batch.features["text"]).any(-1).any(-1)
        return changed[here]

    shares = [met(by_batch).float().mean().item() for _ in range(60) if len(met(by_batch))]
    assert 0.2 < np.mean([share == 0 for share in shares]) < 0.8
    mixed = torch.cat([met(by_sample) for _ in range(60)]).float().mean()
    assert 0.15 < mixed < 0.6


def test_validation_meets_every_family_the_same_at_every_epoch() -> None:
    split = make_dataset(sizes=(10, 200, 10)).splits["valid"]
    regime = Regime(kind="spectrum", noise_rules=("quantise", "gaussian_all"))
    arguments = (split.samples, split.sample_ids, regime, SIGMA, MODALITIES, 16)
    first, second = (degrade_validation_split(*arguments) for _ in range(2))
    for m in MODALITIES:
        assert torch.equal(first.features[m], second.features[m])
    here = first.available[:, 0]
    same = (first.features["text"] == split.samples.features["text"]).all(-1).all(-1)[here]
    assert 0.35 < same.float().mean() < 0.65  # quantise leaves text alone


def test_families_are_part_of_a_regimes_identity_only_where_they_are_named() -> None:
    plain = Regime(kind="spectrum")
    assert plain.identity() == {"kind": "spectrum", "version": 2}
    named = Regime(kind="spectrum", noise_rules=("frames", "gaussian_av"))
    assert named.identity()["families"] == {"frames": 1}
    assert named.families == ("frames", "gaussian_av")
    assert "noise_rule" in named.idle()
    assert (named.name, named.changes()) == ("spectrum (frames, gaussian_av)", {})
    assert Regime(kind="clean", noise_rules=("frames",)).identity() == {"kind": "clean"}
    assert Regime(kind="noise", noise_rule="gain").families == ("gain",)
    assert Regime(kind="missing").families == ()
    with pytest.raises(ValueError, match="evaluation only"):
        Regime(kind="spectrum", noise_rules=("fill_mean",))


def test_zeros_are_what_a_fill_of_no_severity_is() -> None:
    batch = make_batch(8)
    assert all(
        torch.equal(noisy("fill_noise", 0.0, batch, 5).features[m], zeroed(batch, 5).features[m])
        for m in MODALITIES
    )


@pytest.mark.parametrize(("name", "runs"), [("study/held-out-families", 27), ("study/qa-moe", 35)])
def test_the_studies_are_plans(name: str, runs: int) -> None:
    data = load_dataset("synthetic-tiny", None)
    plan = make_plan(build(PlanConfig, named_plan(name), name), data)
    assert len(plan) == runs
    assert {c.noise_rule for p in plan for c in p.conditions} >= {"frames", "impulse"}


def test_a_rule_that_is_not_known_makes_its_rows_out_of_date() -> None:
    """A record of a later version of this project is read as far as it is understood."""
    table = table_of(make_dataset(), Counting(make_dataset().spec), "frames")
    strange = [
        c._replace(noise_rule="of the future") if c.noise_rule == "frames" else c
        for c in table.conditions
    ]
    kept = replace(table, conditions=tuple(strange), versions=table.versions)
    known = {c for c in kept.conditions if c.noise_rule == "none"}
    assert set(kept.index.rows) == known
    assert answered_by(kept, ("bernoulli",))
