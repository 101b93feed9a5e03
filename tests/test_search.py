"""Search: trials that are runs, studies, what is said of mistakes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.commands.search import search
from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.execution import executor, pool
from benchmark.execution.execute import execute
from benchmark.plan import plan_conditions, plan_runs
from benchmark.predict import predict
from benchmark.records import PREDICTIONS, VALIDATION, RunStore
from benchmark.search import search as search_module
from tests.searches import SMALL, planned, searched


def test_a_trial_is_a_run_and_nothing_is_trained_twice(data_dir, tmp_path, monkeypatch) -> None:
    plan = planned(data_dir)
    store = RunStore(tmp_path)
    request = plan.with_settings({"training.learning_rate": 1e-3})
    tiny = load_dataset("tiny", data_dir)
    (run,) = plan_runs(request, tiny)
    execute(run, tiny, plan_conditions(request, tiny), store, lambda event: None)
    before = {p.name: p.read_bytes() for p in store.path(run.run_id).iterdir()}
    trained = []
    run_supply = search_module.run_supply  # the real thing, with an ear to it

    def listening(supply, how, listen):
        def hear(event):
            if event.kind == "started":
                trained.append(event.run_id)
            listen(event)

        run_supply(supply, how, hear)

    monkeypatch.setattr(search_module, "run_supply", listening)
    study = searched(plan, data_dir, tmp_path)
    assert len(trained) == 1
    assert run.run_id not in trained
    after = {p.name: p.read_bytes() for p in store.path(run.run_id).iterdir()}
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {VALIDATION}
    (other,) = trained
    assert not store.has(other)
    assert store.is_trained(other)
    assert not store.broken()
    assert [r.run_id for r in store.records()] == [run.run_id]
    by_run = {t.run_ids[0]: t.value for t in study.trials()}
    for run_id, value in by_run.items():
        assert value == plan.objective.value(store.trained(run_id).validation)
    # ... and a benchmark of the trial evaluates its checkpoint, without training
    (spec,) = plan.specs({"training.learning_rate": 5e-4})
    assert spec.run_id == other
    history = (store.path(other) / "history.csv").read_bytes()
    events = []
    execute(spec, tiny, plan_conditions(request, tiny), store, events.append)
    assert {e.kind for e in events} == {"evaluating", "finished"}
    assert store.has(other)
    assert (store.path(other) / "history.csv").read_bytes() == history
    trained.clear()
    searched(plan, data_dir, tmp_path)
    assert trained == []


def test_the_validation_table_is_the_checkpoints(data_dir, tmp_path) -> None:
    plan = planned(data_dir, objective="clean")
    study = searched(plan, data_dir, tmp_path, count=1)
    (trial,) = study.trials()
    record = RunStore(tmp_path).trained(trial.run_ids[0])
    from benchmark.execution.execute import load_model

    valid = load_dataset("tiny", data_dir).splits["valid"].samples
    model = load_model(record, plan.specs(trial.settings)[0], plan.dataset)
    answer = predict(model, valid, 7).prediction
    assert trial.value == pytest.approx((answer - valid.label).abs().mean().item(), rel=1e-5)


class Untouchable:
    """A split that nobody may look at."""

    def __getattr__(self, name: str):
        raise AssertionError(f"the test split was touched: {name}")

    def __len__(self) -> int:
        raise AssertionError("the test split was touched")


def poisoned(name, folder):
    dataset = load_dataset(name, folder)
    dataset.splits["test"] = Untouchable()
    return dataset


def poisoned_worker(channel, how) -> None:
    executor.load_dataset = poisoned
    (how.runs_dir / "poisoned").touch()
    pool._worker(channel, how)


def test_the_test_split_is_never_touched(data_dir, tmp_path, monkeypatch) -> None:
    expected = searched(planned(data_dir), data_dir, tmp_path / "plain").trials()
    monkeypatch.setattr(pool, "_worker", poisoned_worker)
    monkeypatch.setattr("benchmark.search.request.load_dataset", poisoned)
    found = searched(planned(data_dir), data_dir, tmp_path / "poisoned").trials()
    assert [t.value for t in found] == [t.value for t in expected]
    assert all(t.state == "done" for t in found)
    assert not list(tmp_path.rglob(PREDICTIONS))
    assert (tmp_path / "poisoned" / "poisoned").exists()  # the poison reached the worker
    with pytest.raises(AssertionError, match="touched"):  # the poison works
        poisoned("tiny", data_dir).to("cpu")


def test_the_seeds_of_a_trial_are_averaged(data_dir, tmp_path) -> None:
    both = searched(planned(data_dir, seeds=(1, 2)), data_dir, tmp_path, count=1)
    (trial,) = both.trials()
    assert len(trial.run_ids) == 2
    plan = planned(data_dir)
    store = RunStore(tmp_path)
    values = [plan.objective.value(store.trained(r).validation) for r in trial.run_ids]
    assert trial.value == np.mean(values)
    assert values[0] != values[1]


def test_a_study_is_named_by_what_it_asks(data_dir) -> None:
    plan = planned(data_dir)
    same = planned(data_dir, preset="paper", training={"epochs": 2, "batch_size": 16})
    assert same.name == plan.name
    others = [
        planned(data_dir, space={"training.learning_rate": [1e-3]}),
        planned(data_dir, objective="clean"),
        planned(data_dir, regimes=("clean",)),
        planned(data_dir, seeds=(1, 2)),
        planned(data_dir, training={"epochs": 3}),
        planned(data_dir, model={**SMALL, "topk": 4}),
        planned(data_dir, evaluation={"noise_rules": ["gaussian_all"]}),
        planned(data_dir, name="tiny-cls"),
    ]
    names = {plan.name, *(other.name for other in others)}
    assert len(names) == len(others) + 1


def test_what_does_not_fit_is_said_before_anything_runs(data_dir) -> None:
    with pytest.raises(BenchmarkError, match="both set and searched"):
        planned(data_dir, training={"epochs": 2, "learning_rate": 1e-3})
    with pytest.raises(BenchmarkError, match="one model"):
        planned(data_dir, models=("qamoe", "mult"))
    with pytest.raises(BenchmarkError, match="one regime"):
        planned(data_dir, regimes=("clean", "spectrum"))
    with pytest.raises(BenchmarkError, match=r"qamoe's model\.topk"):
        planned(data_dir, space={"model.topk": ["three", "four"]})


def test_mistakes_on_the_command_line_are_said(data_dir, tmp_path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("model.topkk: [1, 2]")
    given = {"dataset": "tiny", "data_dir": data_dir, "runs_dir": tmp_path, "model": "qamoe"}
    for changes, said in (
        ({"space": space}, "Did you mean model.topk"),
        ({"objective": "gird"}, "Did you mean grid"),
        ({"model": "qamo"}, "Did you mean qamoe"),
        ({"model": None}, "name the model"),
        ({"space": tmp_path / "none.yaml"}, "cannot read"),
    ):
        with pytest.raises(BenchmarkError, match=said):
            search(**{**given, **changes})
