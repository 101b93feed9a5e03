"""The longest run begins first, which changes no result; a worker reads its data set once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmark.data.registry import load_dataset
from benchmark.execution.estimate import timed
from benchmark.execution.events import Event
from benchmark.execution.executor import Execution, run_plan
from benchmark.plan import PlanConfig, make_plan
from benchmark.records import RunStore
from tests.batches import make_dataset
from tests.tiny import benchmark

SAME = ("predictions.npz", "history.csv", "checkpoint.safetensors", "metrics.json")
PLAN = """
dataset: tiny
models: [qamoe]
regimes: [clean]
protocol: clean
model: {width: 16, encoder_heads: 2}
runs:
  - {training: {epochs: 1}, seeds: [1, 2]}
  - {training: {epochs: 6}, seeds: [3, 4]}
  - {training: {epochs: 3}, seeds: [5]}
"""
SEEDS = [3, 4, 5, 1, 2]


def test_the_longest_begins_first_and_results_do_not_depend_on_it(data_dir, tmp_path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    done = benchmark(
        *("run", "--config", tmp_path / "plan.yaml", "--data-dir", data_dir, "--workers", "1"),
        *("--runs-dir", tmp_path / "one", "--tracking-uri", "none"),
    )
    assert done.returncode == 0, done.stderr
    records = {record.run_id: record for record in RunStore(tmp_path / "one").records()}
    lines = [line for line in done.stdout.splitlines() if " done " in line]
    ended = [run_id for line in lines for run_id in records if run_id in line]
    assert [records[run_id].spec.seed for run_id in ended] == SEEDS
    other = tmp_path / "other"
    plan = make_plan(request_of(tmp_path / "plan.yaml"), load_dataset("tiny", data_dir))
    run_plan(plan, Execution("tiny", data_dir, other, "cpu", 2), lambda event: None)
    for run_id, record in records.items():
        for name in SAME:
            assert (record.path / name).read_bytes() == (other / run_id / name).read_bytes(), name


def request_of(path: Path) -> PlanConfig:
    from benchmark.planfile import read_plan

    return PlanConfig.model_validate(read_plan(path))


def test_a_worker_keeps_its_data_set_between_runs(data_dir, tmp_path) -> None:
    """It is deleted as soon as the first run has begun."""
    shutil.copytree(data_dir, tmp_path / "data")
    request = PlanConfig(dataset="tiny", models=("lmf",), regimes=("clean",), seeds=(1, 2, 3))
    request = request.model_copy(update={"protocol": "clean", "training": {"epochs": 1}})
    plan = make_plan(request, load_dataset("tiny", data_dir))

    def listen(event: Event) -> None:
        shutil.rmtree(tmp_path / "data", ignore_errors=True)

    how = Execution("tiny", tmp_path / "data", tmp_path / "runs", "cpu", 1)
    assert set(run_plan(plan, how, listen).values()) == {"done"}


def test_seeds_share_what_is_timed_and_impatience_takes_means(monkeypatch) -> None:
    from benchmark.execution import estimate as module
    from benchmark.execution.timeleft import Cost

    seen = []

    def one(spec, dataset, conditions, how) -> Cost:
        seen.append(spec.model)
        return Cost(float(spec.trainer.epochs), 1.0)

    monkeypatch.setattr(module, "estimate", one)
    request = PlanConfig.model_validate(
        {
            **{"regimes": ["clean"], "protocol": "clean", "seeds": [1, 2, 3]},
            "runs": [
                *({"models": ["lmf"], "training": {"epochs": n}} for n in (2, 4, 9)),
                {"models": ["mult"], "training": {"epochs": 7}},
            ],
        }
    )
    data = make_dataset()
    plan, how = make_plan(request, data), Execution("toy", None, Path("runs"), "cpu", 1)
    costs = [cost.training for cost in timed(plan, data, how)]
    assert costs == pytest.approx([2, 2, 2, 4, 4, 4, 9, 9, 9, 7, 7, 7])
    assert seen == ["lmf", "lmf", "lmf", "mult"]
    seen.clear()
    costs = [cost.training for cost in timed(plan, data, how, patience=0.0)]
    assert costs == pytest.approx([2] * 9 + [7] * 3)  # of each model one
    assert seen == ["lmf", "mult"]
