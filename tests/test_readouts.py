"""The prediction table and its read-outs: exactness, convergence, nothing evaluated twice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from benchmark.interface import DataSpec, ModelConfig, MultimodalModel, Output, Progress
from benchmark.metrics import evaluate
from benchmark.predict import fill_table
from benchmark.questions import Question
from benchmark.readouts import read, summarise
from benchmark.table import load, merge, to_bytes, to_make
from protocols.availability import subsets
from protocols.conditions import LEVELS, PROTOCOLS, Condition, at_joint, at_level, conditions_of
from protocols.degradation import degrade, keyed_noise
from protocols.draws import NO_NOISE, joint_levels
from protocols.expectation import availability_weights
from protocols.missing import as_bools
from protocols.modalities import MODALITIES, Modalities
from tests.batches import make_dataset

JOINT = "uniform_0.7"


def cell(level: float, rate: float, missing_rule: str = "bernoulli") -> Question:
    return Question("grid", "seed_a1", missing_rule, level, rate)


def fixed(level: float, available: str = "tav") -> Question:
    return Question("II", "seed_a1", intensity=level, available=available)


class Counting(MultimodalModel):
    """A fixed nonlinear function of all inputs that remembers what it was asked."""

    Config = ModelConfig

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(None, spec)
        torch.manual_seed(1)
        self.maps = torch.nn.ModuleDict({m: torch.nn.Linear(spec.widths[m], 3) for m in MODALITIES})
        self.classes = spec.classes
        self.seen: list[Modalities] = []

    def forward(self, batch: Modalities) -> Output:
        self.seen.append(batch)
        hidden = sum(torch.tanh(self.maps[m](batch.features[m])).sum(1) for m in MODALITIES)
        log_variance = hidden[:, 2]
        if self.classes > 1:
            return Output(hidden, log_variance)
        reliability = torch.sigmoid(hidden)
        return Output(hidden[:, 0] * hidden[:, 1], log_variance, reliability)

    def loss(self, output: Output, batch: Modalities, progress: Progress):
        raise AssertionError("evaluation needs no loss")


def make_table(data, model, protocols=PROTOCOLS, draws=1, rules=("seed_a1",), batch_size=None):
    conditions = conditions_of(protocols, data.spec.present, rules, draws, JOINT)
    return fill_table(
        model, data.splits["test"], data.spec, data.sigma_ref, conditions, batch_size=batch_size
    )


@pytest.fixture(scope="module")
def data():
    return make_dataset(sizes=(8, 8, 40))


@pytest.fixture(scope="module")
def table(data):
    return make_table(data, Counting(data.spec), draws=2)


def test_the_grid_has_57_rows() -> None:
    assert len(conditions_of(("grid",), MODALITIES, ("seed_a1",), 1, JOINT)) == 57
    assert len(conditions_of(("I",), MODALITIES, ("seed_a1",), 1, JOINT)) == 8
    assert len(conditions_of(("II",), MODALITIES, ("seed_a1",), 1, JOINT)) == 8
    assert len(conditions_of(("III",), MODALITIES, ("seed_a1",), 1, JOINT)) == 1 + 7 + 1
    assert len(conditions_of(PROTOCOLS, MODALITIES, ("seed_a1",), 1, JOINT)) == 57 + 7
    assert len(conditions_of(PROTOCOLS, MODALITIES, ("seed_a1",), 3, JOINT)) == 8 + 3 * 56
    assert len(conditions_of(("grid",), ("text",), ("seed_a1",), 1, JOINT)) == 9


def test_nothing_is_evaluated_twice(data) -> None:
    model = Counting(data.spec)
    made = make_table(data, model, draws=2, batch_size=40)
    assert len(model.seen) == len(made.conditions) == 8 + 2 * 56
    keys = {
        b"".join(batch.features[m].numpy().tobytes() for m in MODALITIES) for batch in model.seen
    }
    assert len(keys) == len(model.seen)


def test_the_model_is_not_shown_the_answer(data) -> None:
    model = Counting(data.spec)
    make_table(data, model, protocols=("I",))
    assert all(batch.label is None for batch in model.seen)


@pytest.mark.parametrize("rule", ["bernoulli", "at_least_one", "imder_batch"])
@pytest.mark.parametrize(("level", "rate"), [(0.0, 0.3), (0.4, 0.35), (0.7, 0.7), (0.2, 1.0)])
def test_the_expectation_equals_brute_force(data, table, rule, level: float, rate: float) -> None:
    """All 8 masks by hand, from inputs degraded afresh, for the metrics that are means."""
    model, test = Counting(data.spec).eval(), data.splits["test"]
    weights = availability_weights(rule, rate, MODALITIES)
    label = test.samples.label.numpy()
    totals = []
    for draw in range(2 if level else 1):
        noise = keyed_noise("seed_a1", draw, "test", test.sample_ids, test.samples)
        total = {"mae": 0.0, "acc7": 0.0, "acc2_has0": 0.0}
        for mask, weight in enumerate(weights.tolist()):
            inputs = degrade(test.samples, level, as_bools(mask), noise, data.sigma_ref)
            with torch.no_grad():
                p = model(inputs).prediction.numpy()
            total["mae"] += weight * np.abs(p - label).mean()
            seven = np.rint(np.clip(p, -3, 3)) == np.rint(np.clip(label, -3, 3))
            total["acc7"] += weight * seven.mean()
            total["acc2_has0"] += weight * ((p >= 0) == (label >= 0)).mean()
        totals.append(total)
    exact = read(table, cell(level, rate, rule))
    for name in totals[0]:
        assert exact[name] == pytest.approx(np.mean([t[name] for t in totals]), abs=1e-6)


def test_f1_and_corr_are_those_of_the_weighted_population(table) -> None:
    weights = availability_weights("bernoulli", 0.3, MODALITIES)
    rows = [table.prediction[table.row(at_level("seed_a1", 0, 0.0, m))] for m in range(8)]
    expected = evaluate(
        "regression", np.concatenate(rows), np.tile(table.label, 8), np.repeat(weights, 40)
    )
    assert read(table, cell(0.0, 0.3)) == pytest.approx(expected)


def test_a_cell_recomputed_alone_equals_the_tables(data, table) -> None:
    only = [
        at_level("seed_a1", draw, 0.3, mask) for draw in range(2) for mask in subsets(MODALITIES)
    ]
    alone = fill_table(
        Counting(data.spec),
        data.splits["test"],
        data.spec,
        data.sigma_ref,
        sorted(set(only)),
        batch_size=7,
    )
    a, b = (read(t, cell(0.3, 0.45)) for t in (alone, table))
    assert a == pytest.approx(b, abs=1e-6)


def test_batch_size_does_not_matter() -> None:
    data = make_dataset(sizes=(8, 8, 686))
    model = Counting(data.spec)
    small, large = (make_table(data, model, batch_size=size) for size in (16, 686))
    np.testing.assert_allclose(small.prediction, large.prediction, atol=1e-5)
    np.testing.assert_allclose(small.reliability, large.reliability, atol=1e-5)


def test_every_model_meets_the_same_corruption(data) -> None:
    one, two = Counting(data.spec), Counting(data.spec)
    make_table(data, one, batch_size=40)
    make_table(data, two, batch_size=40)
    for a, b in zip(one.seen, two.seen, strict=True):
        assert all(torch.equal(a.features[m], b.features[m]) for m in MODALITIES)


def test_protocol_three_is_per_sample(data, table) -> None:
    model, test = Counting(data.spec).eval(), data.splits["test"]
    expected = []
    for draw in range(2):
        levels, rates = joint_levels(JOINT, draw, "test", test.sample_ids)
        assert levels.min() >= 0
        assert levels.max() < 0.7
        noise = keyed_noise("seed_a1", draw, "test", test.sample_ids, test.samples)
        error = np.zeros(40)
        for kept in itertools.product([False, True], repeat=3):
            chance = np.ones(40)
            for available in kept:
                chance = chance * (1 - rates.numpy() if available else rates.numpy())
            inputs = degrade(test.samples, levels, torch.tensor(kept), noise, data.sigma_ref)
            with torch.no_grad():
                error += chance * np.abs(model(inputs).prediction.numpy() - table.label)
        expected.append(error.mean())
    assert read(table, Question("III", "seed_a1", "bernoulli", joint=JOINT))[
        "mae"
    ] == pytest.approx(np.mean(expected))


def test_fixed_subsets_and_levels_are_plain_rows(table) -> None:
    row = table.prediction[table.row(Condition("none", 0, 0.0, "", 5))]
    assert read(table, fixed(0.0, "tv")) == pytest.approx(evaluate("regression", row, table.label))
    by_draw = [
        evaluate(
            "regression", table.prediction[table.row(at_level("seed_a1", d, 0.4, 7))], table.label
        )
        for d in range(2)
    ]
    mae = read(table, fixed(0.4))["mae"]
    assert mae == pytest.approx(np.mean([m["mae"] for m in by_draw]))


def test_the_summary_agrees_with_the_read_outs(table) -> None:
    summary = summarise(table, ("bernoulli", "at_least_one"))
    counts = summary.groupby("protocol").size().to_dict()
    assert counts == {"clean": 1, "I": 7 + 2 * 8, "II": 8, "grid": 2 * 64, "III": 2}
    grid = summary[(summary.protocol == "grid") & (summary.missing_rule == "bernoulli")]
    grid = grid.set_index(["intensity", "rate"])["mae"]
    clean = read(table, Question("clean", available="tav"))["mae"]
    assert grid.loc[(0.0, 0.0)] == pytest.approx(clean)
    for level in LEVELS:
        assert grid.loc[(level, 0.0)] == pytest.approx(read(table, fixed(level))["mae"])


def test_bytes_round_trip_and_are_deterministic(table, tmp_path) -> None:
    content = to_bytes(table)
    path = tmp_path / "predictions.npz"
    path.write_bytes(content)
    again = load(path)
    assert to_bytes(again) == content
    assert again.conditions == table.conditions
    np.testing.assert_array_equal(again.prediction, table.prediction)


class Routed(Counting):
    """With a routing over four experts that depends on each modality's own input."""

    def forward(self, batch: Modalities) -> Output:
        plain = super().forward(batch)
        logits = torch.stack([self.maps[m](batch.features[m]).mean(1) for m in MODALITIES], 1)
        routing = torch.cat([logits, logits[..., :1] ** 2], -1).softmax(-1)
        return Output(plain.prediction, plain.log_variance, plain.reliability, routing)


def test_the_mean_routing_of_each_condition_is_kept(data, tmp_path) -> None:
    model = Routed(data.spec)
    made = make_table(data, model, batch_size=7)
    assert made.routing.shape == (len(made.conditions), 3, 4)
    np.testing.assert_allclose(made.routing.sum(-1), 1.0, rtol=1e-6)
    samples = data.splits["test"].samples
    for mask in (7, 2, 0):
        given = degrade(samples, 0.0, as_bools(mask), NO_NOISE, data.sigma_ref)
        mean = model(given).routing.double().mean(0).detach().numpy()
        row = made.row(at_level("seed_a1", 0, 0.0, mask))
        np.testing.assert_allclose(made.routing[row], mean, rtol=1e-5)
    path = tmp_path / "predictions.npz"
    path.write_bytes(to_bytes(made))
    np.testing.assert_array_equal(load(path).routing, made.routing)
    assert make_table(data, Counting(data.spec)).routing is None


@pytest.mark.parametrize("kind", [Counting, Routed])
def test_rows_added_later_give_the_same_table(data, kind) -> None:
    model = kind(data.spec)
    whole = make_table(data, model)
    first = make_table(data, model, protocols=("III",))
    rest = tuple(c for c in whole.conditions if c not in set(first.conditions))
    second = fill_table(model, data.splits["test"], data.spec, data.sigma_ref, rest)
    assert to_bytes(merge(first, second)) == to_bytes(whole)
    assert to_make(first, (at_joint("seed_a1", 0, JOINT, 7),)) == ()
    assert to_make(first, whole.conditions) == rest


@pytest.mark.parametrize("present", [("text", "audio"), ("audio", "vision"), ("text",)])
def test_fewer_modalities_have_fewer_masks(present) -> None:
    data = make_dataset(sizes=(8, 8, 20), present=present)
    made = make_table(data, Counting(data.spec))
    assert len(made.conditions) == (2 ** len(present) - 1) * 9 + 1
    summary = summarise(made)
    assert len(summary[summary.protocol == "grid"]) == 64
    assert summary["mae"].notna().all()


def test_classification_reads_logits() -> None:
    data = make_dataset(sizes=(8, 8, 30), task="classification", classes=3)
    made = make_table(data, Counting(data.spec))
    assert made.prediction.shape == (64, 30, 3)
    assert read(made, cell(0.0, 0.0))["acc"] == pytest.approx(
        (made.prediction[made.row(at_level("seed_a1", 0, 0.0, 7))].argmax(1) == made.label).mean()
    )


def test_a_level_that_is_not_covered_is_an_error(data) -> None:
    made = make_table(data, Counting(data.spec), protocols=("I",))
    with pytest.raises(KeyError):
        read(made, cell(0.3, 0.2))
