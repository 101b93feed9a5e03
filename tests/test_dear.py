"""What a CPU leaves out of dear methods' tables, and that an estimate knows what is dear."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from baselines.imder import IMDer
from baselines.mult import MulT
from benchmark.environment import compute_with
from benchmark.execution import estimate
from benchmark.execution.dear import affordable
from benchmark.execution.executor import Execution
from benchmark.interface import Phase
from benchmark.plan import PlanConfig, make_plan
from protocols.conditions import NO_RULE
from tests.batches import make_dataset
from tests.small_models import SMALL

QUICK = {"epochs": 4, "batch_size": 8}


def how(device: str = "cpu") -> Execution:
    return Execution("toy", None, Path("runs"), device, 1)


def request(**settings: object) -> PlanConfig:
    given = {"models": ("mult", "imder"), "regimes": ("clean",), **settings}
    return PlanConfig.model_validate(given)


def test_a_cpu_asks_dear_methods_for_the_rows_without_noise() -> None:
    asked = request()
    plan = make_plan(asked, make_dataset())
    kept, said = affordable(plan, asked, how())
    mult, imder = kept
    assert mult == plan[0]
    assert len(imder.conditions) == 8
    assert {c.noise_rule for c in imder.conditions} == {NO_RULE}
    assert imder.spec.run_id == plan[1].spec.run_id
    assert len(said) == 1
    assert said[0].startswith("IMDer: Protocol I only")
    assert IMDer.card.dear in said[0]
    assert "evaluation.dear=true" in said[0]


def test_what_is_asked_anyway_is_left_alone() -> None:
    for asked, device in (
        (request(evaluation={"dear": True}), "cpu"),
        (request(), "cuda"),
        (request(protocol="I"), "cpu"),
    ):
        plan = make_plan(asked, make_dataset())
        assert affordable(plan, asked, how(device)) == (plan, [])


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "1 s"), (99, "99 s"), (150, "2 min"), (5990, "100 min"),
                           (6000, "1.7 h"), (360_000, "100.0 h")],
)  # fmt: skip
def test_times_in_words(seconds: float, words: str) -> None:
    assert estimate.in_words(seconds) == words


def test_an_estimate_counts_what_is_missing(monkeypatch) -> None:
    """A method of 1 s a missing modality: by hand, with the table's and the regime's patterns."""
    data, ticks = make_dataset(sizes=(48, 16, 20)), []

    def seconds(action, device) -> float:
        ticks.clear()
        action()
        return float(sum(ticks))

    def forward(self, batch):
        missing = ~batch.available & batch.available.any(1, keepdim=True)
        ticks.append(int(missing.sum()))
        return original(self, batch)

    def phases(self):
        groups = [{"params": list(self.parameters())}]
        return [Phase("none", groups, lambda *_, **__: (torch.zeros((), requires_grad=True), {}))]

    original = IMDer.forward
    monkeypatch.setattr(IMDer, "forward", forward)
    monkeypatch.setattr(estimate, "_seconds", seconds)
    monkeypatch.setattr(estimate, "_MEASURED", {})
    monkeypatch.setattr(IMDer, "phases", phases)
    asked = request(
        models=("imder",), model=IMDer.trial, training=QUICK, protocol="I",
        regimes=("clean", "spectrum"),
    )  # fmt: skip
    clean, spectrum = (
        estimate.estimate(p.spec, data, p.conditions, how()).seconds for p in make_plan(asked, data)
    )
    table = 20 * 9  # of the 8 rows three lack one modality, three lack two
    assert clean == pytest.approx(table, rel=0.02)
    assert spectrum == pytest.approx(table + 4 * 16 * 9 / 8, rel=0.02)


def test_an_estimate_of_a_table_counts_what_every_row_costs(monkeypatch) -> None:
    """Branches run once for a level, what joins them once for a row: 1 s for each sample."""
    data, ticks = make_dataset(), []

    def seconds(action, device) -> float:
        ticks.clear()
        action()
        return float(sum(ticks))

    def fuse(self, encoded):
        ticks.append(len(encoded["text"]["stream"]))
        return original(self, encoded)

    original = MulT.fuse
    monkeypatch.setattr(MulT, "fuse", fuse)
    monkeypatch.setattr(estimate, "_seconds", seconds)
    monkeypatch.setattr(estimate, "_MEASURED", {})
    asked = request(
        models=("mult",), model=SMALL["mult"], training=QUICK, regimes=("clean",),
        evaluation={"noise_rules": ("seed_a1", "fill_mean")},
    )  # fmt: skip
    (planned,) = make_plan(asked, data)
    cost = estimate.estimate(planned.spec, data, planned.conditions, how())
    assert cost.table == pytest.approx(20 * len(planned.conditions))


def test_an_estimate_counts_each_phase_in_its_own_epochs(monkeypatch) -> None:
    data = make_dataset()
    monkeypatch.setattr(estimate, "_seconds", lambda action, device: action() or 1.0)
    for part in ("_seconds_a_sample", "_table_seconds"):
        monkeypatch.setattr(estimate, part, lambda *_: 0.0)
    monkeypatch.setattr(estimate, "_MEASURED", {})
    models = ("mult", "mmin", "momke", "imder")
    asked = request(models=models, model=IMDer.trial, training=QUICK, protocol="clean")
    seconds = {
        p.spec.model: estimate.estimate(p.spec, data, p.conditions, how()).seconds
        for p in make_plan(asked, data)
    }
    assert seconds == dict.fromkeys(models, 4 * 6)


def test_no_run_identity_knows_of_it() -> None:
    data = make_dataset()
    plain, dear = (
        make_plan(request(evaluation={"dear": x}), data)[1].spec.run_id for x in (False, True)
    )
    assert plain == dear


def test_an_estimate_is_of_the_processor_and_not_of_a_first_time_or_of_other_work(
    monkeypatch,
) -> None:
    """The first step takes 3 s, others 0.5 s; others' work holds each of them up for a minute."""
    now = {"processor": 0.0, "wall": 0.0}
    steps = iter([3.0, 0.5, 0.7, 0.5])
    clocks = SimpleNamespace(
        process_time=lambda: now["processor"], perf_counter=lambda: now["wall"]
    )

    def action() -> None:
        seconds = next(steps)
        now["processor"] += seconds
        now["wall"] += seconds + 60.0

    monkeypatch.setattr(estimate, "time", clocks)
    compute_with(1)
    assert estimate._seconds(action, torch.device("cpu")) == pytest.approx(0.5)
