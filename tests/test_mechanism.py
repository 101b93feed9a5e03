"""Does reliability mean anything: records whose scores and gates do what a test says."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from benchmark.questions import Question
from benchmark.records import RunStore
from benchmark.table import PredictionTable
from protocols.conditions import Condition, Protocol
from reports.answer import Answer, Key
from reports.figures.look import Look
from reports.figures.style import drawing
from reports.reliability.claims import Claim, claims_of, conclusion, verdict_of
from reports.reliability.figure import has_panel, reliability_figure
from reports.reliability.gate import gates, pairs
from reports.reliability.scores import estimates, follows, scores
from reports.reliability.tables import mechanism_tables
from reports.reliability.uncertainty import worths
from reports.results import Results, System
from reports.statistics.inference import Estimate, estimate
from reports.statistics.ranks import auroc
from reports.views import AUROC, GATE
from tests.report_records import Predict, add, cell, make_spec, make_table, sources
from tests.report_records import one as results_of
from tests.test_statistics import labels

Y = labels(60)
SPREAD = np.random.default_rng(0).uniform(-0.05, 0.05, 60)


def off(error: float) -> Predict:
    return lambda c, y: y + error * np.where(np.arange(len(y)) % 2, 1, -1)


def with_scores(table: PredictionTable, sign: float) -> PredictionTable:
    """r_m moves with λ and with m being missing: down for sign 1, up for -1, not at all for 0."""

    def scores(condition: Condition) -> np.ndarray:
        lacks = [not condition.mask >> place & 1 for place in range(3)]
        bad = abs(condition.intensity) / 2 + 0.4 * np.array(lacks)
        return 0.5 - sign * bad + abs(sign) * SPREAD[: len(table.label), None]

    rows = np.stack([scores(c) for c in table.conditions]).astype(np.float32)
    return replace(table, reliability=rows)


def with_log_variance(table: PredictionTable, factor: float = 1.0) -> PredictionTable:
    """s is the logarithm of the squared error, times a factor."""
    squared = np.maximum((table.prediction - table.label) ** 2, 1e-6)
    return replace(table, log_variance=(factor * np.log(squared)).astype(np.float32))


def add_pair(
    store: RunStore,
    sign: float,
    on: float,
    without: float,
    settings: dict[str, object] | None = None,
    seeds: int = 3,
) -> None:
    for gate, error in (("none", on), ("no_gate", without)):
        table = make_table(Y, off(error))
        if gate == "none":
            table = with_scores(table, sign)
        for seed in range(seeds):
            spec = make_spec("qamoe", "spectrum", seed, config={"topk": 3, "ablation": gate})
            add(store, spec, with_log_variance(table))


@pytest.mark.parametrize(
    ("sign", "on", "without", "words"),
    [
        (1, 0.3, 0.5, "supported: every needed claim is"),
        (-1, 0.3, 0.5, "contradicted: r_t falls as λ rises; r_t is lower where text is missing"),
        (0, 0.3, 0.5, "undecided: 1 of 7 needed claims are supported, none contradicted"),
        (1, 0.5, 0.3, "contradicted: the gate improves MAE over the λ×η grid"),
        (1, 0.5, 0.5, "undecided: 6 of 7 needed claims are supported, none contradicted"),
    ],
)
def test_the_verdict_follows_the_records(
    store: RunStore, sign: float, on: float, without: float, words: str
) -> None:
    add_pair(store, sign, on, without)
    made = mechanism_tables(sources(results_of(store)))
    said = cell(made[0], "The mechanism", "Verdict").text
    assert said.startswith(words)


def test_scores_of_known_behaviour(store: RunStore) -> None:
    add_pair(store, 1, 0.3, 0.5)
    results = results_of(store)
    scores = next(t for t in mechanism_tables(sources(results)) if "scores" in t.name)
    label = scores.rows[0].label
    assert len(scores.rows) == 1  # the one without the gate has no scores
    mean = 0.5 + SPREAD.mean()
    assert cell(scores, label, "clean", "text").value == pytest.approx(mean, abs=1e-6)
    assert cell(scores, label, "λ = 0.7", "text").value == pytest.approx(mean - 0.35, abs=1e-6)
    assert cell(scores, label, "missing", "text").value == pytest.approx(mean - 0.4, abs=1e-6)
    assert cell(scores, label, "AUROC", "audio").value == pytest.approx(1.0)
    # λ/2 steps by 0.05, the samples differ by up to 0.1: nearly but not quite monotone.
    found = cell(scores, label, "ρ(r, λ)", "vision")
    assert -1 < (found.value or 0) < -0.9
    assert found.interval is not None
    assert found.interval[0] <= (found.value or 0) <= found.interval[1]


def test_the_other_side_of_a_gate_may_be_a_variant(store: RunStore) -> None:
    """As in real records, where gate on is the preset: tables of models leave gate off out."""
    add_pair(store, 1, 0.3, 0.5, {"topk": 3, "ablation": "none"})
    results = results_of(store)
    assert [s.label for s in results.compared.systems] == ["QA-MoE · spectrum"]
    made = mechanism_tables(sources(results))
    said = cell(made[0], "the gate improves MAE over the λ×η grid", "Verdict").text
    assert said == "supported"
    assert any(table.name.startswith("gate") for table in made)


def test_without_the_other_side_the_gate_is_not_tested(store: RunStore) -> None:
    spec = make_spec("qamoe", config={"topk": 3, "ablation": "none"})
    add(store, spec, with_scores(make_table(Y, off(0.5)), 1))
    made = mechanism_tables(sources(results_of(store)))
    said = cell(made[0], "the gate improves MAE over the λ×η grid", "Verdict").text
    assert said == "not tested: no run without the gate"
    assert cell(made[0], "The mechanism", "Verdict").text.startswith("undecided")
    assert not any("gate" in table.name for table in made)


def test_the_gate_cell_by_cell(store: RunStore) -> None:
    """On is off by 0.3 and off by 0.5 on every sample: the difference is -0.2 in all 64 cells."""
    add_pair(store, 1, 0.3, 0.5)
    results = results_of(store)
    (pair,) = pairs(results)
    found = {k: x for k, x in gates(results).items() if (k.metric, k.quantity) == ("mae", GATE)}
    assert {len(key.asked) for key in found} == {1, 64}
    assert [one.value for one in found.values()] == pytest.approx([-0.2] * 65, abs=1e-6)
    assert {one.verdict for one in found.values()} == {"better"}
    table = next(t for t in mechanism_tables(sources(results)) if t.name.startswith("gate"))
    row = pair.on.label
    assert cell(table, row, "Cells better", section="MAE").value == 64
    assert cell(table, row, "Cells worse", section="MAE").value == 0
    assert cell(table, row, "Verdict", section="MAE").text == "better"


def test_only_the_gate_may_differ(store: RunStore) -> None:
    for gate, topk in (("none", 3), ("no_gate", 4), ("no_variance", 3)):
        spec = make_spec("qamoe", config={"topk": topk, "ablation": gate})
        add(store, spec, make_table(Y, off(0.5), protocols=["I"]))
    spec = make_spec("qamoe", "spectrum", config={"topk": 3, "ablation": "no_gate"})
    add(store, spec, make_table(Y, off(0.5), protocols=["I"]))
    assert pairs(results_of(store)) == []


def test_no_uncertainty_no_tables(store: RunStore) -> None:
    add(store, make_spec(), make_table(Y, off(0.5)))
    assert mechanism_tables(sources(results_of(store))) == []


def test_a_log_variance_that_knows_the_error(store: RunStore) -> None:
    """s = log e²: the oracle's ranking, every label within one σ, and a likelihood of its own."""
    generator = np.random.default_rng(3)
    errors = generator.normal(size=60)
    for model, factor in (("alpha", 1.0), ("beta", -1.0)):
        table = with_log_variance(make_table(Y, lambda _, y: y + errors), factor)
        add(store, make_spec(model), table)
    results = results_of(store)
    knows, inverts = (clean(results, system) for system in results.systems)
    assert knows["way_to_oracle"].value == pytest.approx(1.0)
    assert knows["s_correlation"].value == pytest.approx(1.0)
    assert knows["aurc_random"].value == pytest.approx(np.abs(errors).mean(), abs=1e-5)
    assert knows["aurc"].value == pytest.approx(knows["aurc_oracle"].value)
    assert inverts["way_to_oracle"].value < 0
    assert inverts["s_correlation"].value == pytest.approx(-1.0)
    assert knows["coverage"].value == pytest.approx(1.0)
    squared = errors**2
    want = np.mean(0.5 * (np.log(2 * np.pi) + np.log(squared) + 1))
    assert knows["nll"].value == pytest.approx(want, abs=1e-4)
    best = 0.5 * (np.log(2 * np.pi * squared.mean()) + 1)
    assert knows["nll_gain"].value == pytest.approx(best - want, abs=1e-4)


def clean(results: Results, system: System) -> dict[str, Answer]:
    """What the log-variance is worth on clean input, by name."""
    question = (Question("clean", available="tav"),)
    known = worths(results).items()
    return {key.metric: x for key, x in known if (key.subject, key.asked) == (system.key, question)}


def test_classes_have_no_likelihood(store: RunStore) -> None:
    y = np.arange(60.0) % 3
    right = np.eye(3)[y.astype(int)]
    table = make_table(y, lambda c, _: right if c.mask == 7 else -right, "classification")
    table = replace(table, log_variance=np.zeros(table.prediction.shape[:2], np.float32))
    add(store, make_spec(task="classification"), table)
    results = results_of(store)
    found = clean(results, results.systems[0])
    assert list(found) == ["aurc", "aurc_random", "aurc_oracle", "way_to_oracle", "s_correlation"]
    assert found["aurc"].value == 0.0  # nothing wrong
    made = {table.name: table for table in mechanism_tables(sources(results))}
    assert list(made) == ["uncertainty"]


def between(low: float, high: float, seeds: int = 3) -> Estimate:
    """An estimate with this interval: one that has an interval, in another unit, and moved."""
    some = estimate(np.tile(Y, (seeds, 1)))
    scaled = some.times((high - low) / (2 * float(some.half_width())))
    return scaled + estimate(np.full((seeds, len(Y)), (low + high) / 2 - scaled.value))


@pytest.mark.parametrize(
    ("low", "high", "above", "verdict"),
    [
        (0.1, 0.2, True, "supported"),
        (0.1, 0.2, False, "contradicted"),
        (-0.2, -0.1, False, "supported"),
        (-0.2, -0.1, True, "contradicted"),
        (-0.1, 0.1, True, "undecided"),
        (0.0, 0.0, False, "undecided"),
    ],
)
def test_a_claim_is_where_its_interval_lies(
    low: float, high: float, above: bool, verdict: str
) -> None:
    assert verdict_of(between(low, high), 0.0, above) == verdict


def test_two_seeds_decide_no_claim(store: RunStore) -> None:
    assert verdict_of(between(0.1, 0.2, seeds=2), 0.0, above=True) == "undecided"
    add_pair(store, 1, 0.3, 0.5, seeds=2)
    results = results_of(store)
    made = mechanism_tables(sources(results))
    assert cell(made[0], "The mechanism", "Verdict").text.startswith("undecided: 0 of 7")
    gate = next(t for t in made if t.name.startswith("gate"))
    assert cell(gate, pairs(results)[0].on.label, "Cells better", section="MAE").value == 0


def claim(verdict: str, needed: bool) -> Claim:
    number = Answer(0.0, None, 0.0, 0.0, (), (), verdict=verdict)
    return Claim(f"it is {verdict}", Key("", (), ""), 0.0, True, number, needed)


def test_what_is_not_needed_decides_nothing() -> None:
    yes, no = (
        claim(word, needed) for word, needed in (("supported", True), ("contradicted", False))
    )
    assert conclusion([yes, no]) == "supported: every needed claim is"
    assert conclusion([yes, replace(no, needed=True)]) == "contradicted: it is contradicted"


def test_claims_are_about_the_modalities_that_there_are(store: RunStore) -> None:
    table = make_table(Y, off(0.5), present=("text", "audio"))
    add(store, make_spec(), with_scores(table, 1))
    results = results_of(store)
    found = scores(results)
    texts = [claim.text for claim in claims_of(results, results.systems[0], "seed_a1", found)]
    assert sum("falls as" in text for text in texts) == 2


@pytest.mark.parametrize(
    ("protocols", "panels"), [(("I", "II", "III", "grid"), 6), (("grid",), 6), (("III",), 2)]
)
def test_the_figure_has_the_panels_that_the_runs_allow(
    store: RunStore, protocols: tuple[Protocol, ...], panels: int
) -> None:
    for seed, gate in product((1, 2, 3), ("none", "no_gate")):
        table = make_table(Y, off(0.5 if gate == "none" else 0.3), protocols=protocols)
        scored = with_scores(table, 1) if gate == "none" else table
        spec = make_spec("qamoe", seed=seed, config={"topk": 3, "ablation": gate})
        add(store, spec, with_log_variance(scored))
    results = results_of(store)
    (system,) = has_panel(results)
    with drawing():
        figure = reliability_figure(sources(results), system, "seed_a1")
    assert figure is not None
    titles = [axis.get_title("left") for axis in figure.axes if axis.get_title("left")]
    assert len(titles) == panels
    signs = {text.get_text() for axis in figure.axes for text in axis.texts}
    assert signs == ({"−"} if panels == 6 else set())  # the gate costs 0.2 everywhere


@pytest.mark.parametrize("look", [Look(), Look(6.3), Look(3.03)])
@pytest.mark.parametrize("gate", [False, True])
def test_no_name_lies_on_a_number_and_no_room_is_wasted(
    store: RunStore, look: Look, gate: bool
) -> None:
    for seed, ablation in product((1, 2, 3), ("none", "no_gate") if gate else ("none",)):
        table = make_table(Y, off(0.25), protocols=("I", "II", "III", "grid"))
        spec = make_spec("qamoe", seed=seed, config={"topk": 3, "ablation": ablation})
        table = table if ablation == "no_gate" else with_scores(table, 1)
        add(store, spec, with_log_variance(table))
    results = results_of(store)
    (system,) = has_panel(results)
    with drawing(look.width):
        figure = reliability_figure(sources(results), system, "seed_a1", look)
        assert figure is not None
        figure.draw_without_rendering()
        right = 0.0
        for axis in figure.axes:
            name = axis.yaxis.label.get_window_extent()
            numbers = [n.get_window_extent() for n in axis.get_yticklabels() if n.get_text()]
            if axis.get_ylabel():
                assert all(name.x1 <= number.x0 for number in numbers), axis.get_title("left")
                assert name.x0 >= 0
            right = max(right, axis.get_tightbbox().x1 / figure.dpi)
    width = figure.get_size_inches()[0]
    assert width - 0.5 <= right <= width


def test_a_figure_of_classes_has_no_calibration(store: RunStore) -> None:
    y = np.arange(60.0) % 3
    table = make_table(y, lambda c, _: np.eye(3)[y.astype(int)], "classification")
    table = replace(table, log_variance=np.zeros(table.prediction.shape[:2], np.float32))
    add(store, make_spec(task="classification"), with_scores(table, 1))
    results = results_of(store)
    with drawing():
        figure = reliability_figure(sources(results), results.systems[0], "seed_a1")
    assert figure is not None
    titles = [axis.get_title("left") for axis in figure.axes]
    assert titles == ["Scores under noise", "Scores by availability", "Risk–coverage"]


def test_scores_are_over_the_samples_that_have_the_modality(store: RunStore) -> None:
    """Like MMMO: most samples have no vision by nature, and r_v says so. It tells present from
    missing perfectly for those that have it; counting the others makes it 0.7 or so."""
    lacks = np.arange(60) % 7 < 4
    table = make_table(Y, off(0.5))
    available = table.available.copy()
    available[:, 2] = ~lacks
    rows = []
    for condition in table.conditions:
        there = bool(condition.mask & 4) & ~lacks
        vision = np.where(there, 0.8 - abs(condition.intensity) / 2, 0.2) + SPREAD
        rows.append(np.stack([np.full(60, 0.5), np.full(60, 0.5), vision], axis=1))
    scores = np.stack(rows).astype(np.float32)
    add(store, make_spec("qamoe"), replace(table, available=available, reliability=scores))
    results = results_of(store)
    (system,) = results.systems
    found = estimates(follows(system, "seed_a1", "vision"))
    assert found[AUROC].value == pytest.approx(1.0)
    assert found[AUROC].interval == pytest.approx((1.0, 1.0))
    assert found["clean"].value == pytest.approx(0.8 + SPREAD[~lacks].mean(), abs=1e-6)
    counts = np.random.default_rng(0).multinomial(60, np.full(60, 1 / 60), 1000)[:, ~lacks]
    resampled = counts @ SPREAD[~lacks] / counts.sum(axis=1)  # as many as are drawn of them
    assert found["clean"].parts[0] ** 0.5 == pytest.approx(resampled.std(), rel=0.1)
    whole = auroc(1 - scores[..., 2][:8], ~(np.arange(8) & 4).astype(bool), np.full(60, 1 / 60))
    assert whole[0] < 0.8  # what it read before
    caption = " ".join(mechanism_tables(sources(results))[0].caption)
    assert "60 test samples, of which by nature 36 lack vision" in caption
