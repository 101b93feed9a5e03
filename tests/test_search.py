"""Search: spaces, objectives, trials that are runs, failures, pruning, the storage."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmark.commands.search import search
from benchmark.config import EvaluationConfig
from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.execution.execute import execute
from benchmark.execution.executor import Execution
from benchmark.plan import PlanConfig, plan_conditions, plan_runs
from benchmark.predict import predict
from benchmark.records import PREDICTIONS, VALIDATION, RunStore
from benchmark.registry import model_class
from benchmark.search import plan as search_module
from benchmark.search.objective import OBJECTIVES, SEARCH_LEVELS, Objective, objective_of
from benchmark.search.plan import SearchPlan, plan_search
from benchmark.search.report import best_yaml, ranked
from benchmark.search.session import SearchSession
from benchmark.search.space import Choices, Range, grid_of, parse_space
from benchmark.search.study import Study
from protocols.conditions import LEVELS, at_level
from protocols.modalities import MODALITIES
from tests.records import make_table

SMALL = {"width": 16, "encoder_heads": 2}
RATES = {"training.learning_rate": [1e-3, 5e-4]}


def planned(data_dir: Path, space=None, objective="grid", name="tiny", **changes) -> SearchPlan:
    values = {
        "dataset": name,
        "models": ("qamoe",),
        "regimes": ("spectrum",),
        "seeds": (1,),
        "model": SMALL,
        "training": {"epochs": 2},
        **changes,
    }
    how = Execution(name, data_dir, Path("unused"), "cpu", 1)
    return plan_search(PlanConfig(**values), objective, space or RATES, how)


def searched(plan: SearchPlan, data_dir: Path, runs: Path, count: int | None = None) -> Study:
    how = Execution(plan.dataset.name, data_dir, runs, "cpu", 1)
    session = SearchSession(plan, how, count, None, True)
    session.carry_out()
    return session.study


# --- spaces ---


def test_a_space_is_checked() -> None:
    qamoe = model_class("qamoe")
    wrong = {
        "is empty": {},
        "model.topk": {"model.topkk": [1]},
        "training.epochs": {"training.epoch": [1]},
        "write it as": {"model.topk": 3},
        "no number": {"model.topk": [[1, 2]]},
        "must be below": {"model.topk": {"low": 8, "high": 1}},
        "begins above 0": {"training.weight_decay": {"low": 0.0, "high": 1.0, "log": True}},
        "not together with log": {"model.topk": {"low": 1, "high": 8, "log": True, "step": 1}},
    }
    for said, values in wrong.items():
        with pytest.raises(BenchmarkError, match=said):
            parse_space(values, qamoe, "space.yaml")


def test_small_finite_spaces_are_grids() -> None:
    space = parse_space(model_class("qamoe").search_space, model_class("qamoe"), "the space")
    points = grid_of(space)
    assert points is not None
    expected = itertools.product((1e-3, 5e-4, 1e-4), (1, 2, 3, 4, 8))
    assert [tuple(p.values()) for p in points] == list(expected)
    ranges = {"a": Range(1, 3), "b": Range(0.1, 0.3, step=0.1), "c": Choices(("x",))}
    assert len(grid_of(ranges) or []) == 9
    for endless in (Range(0.0, 1.0), Range(1, 1000), Range(1, 8, log=True)):
        assert grid_of({"a": endless}) is None
    assert grid_of({k: Choices(tuple(range(5))) for k in "abc"}) is None  # 125 points


def test_every_point_of_a_grid_is_claimed_once(tmp_path) -> None:
    space = {
        "a": Range(0.1, 0.3, step=0.1),
        "b": Range(1, 2),
        "c": Choices((None, "x", 1.5)),
        "d": Choices((False, True)),
    }
    study = Study("study", space, True, None, tmp_path)
    study.begin(36)
    found = []
    while (trial := study.claim(36)) is not None:
        found.append(tuple(trial.settings.values()))
        study.finish(trial.number, float(len(found)))
    study.close()
    assert len(found) == 36
    assert set(found) == {tuple(point.values()) for point in grid_of(space) or []}
    names = {path.name for path in study.draw(tmp_path, "MAE")}
    assert names == {"parallel_coordinates.png", "slices.png", "history.png", "importances.png"}


# --- objectives ---


def test_the_grid_objective_is_the_exact_expectation() -> None:
    """Against a loop over subsets with product weights, written from the definition."""
    table = make_table(draws=2, n=17, seed=3)
    objective = Objective("grid", "regression", MODALITIES)
    errors = []
    for intensity, rate, draw in itertools.product(SEARCH_LEVELS, LEVELS, range(2)):
        total = 0.0
        for mask in range(8):
            chance = np.prod([(1 - rate) if mask >> i & 1 else rate for i in range(3)])
            row = table.row(at_level("seed_a1", draw, intensity, mask))
            total += chance * np.abs(table.prediction[row] - table.label).mean()
        errors.append(total)
    assert objective.value(table) == pytest.approx(np.mean(errors), rel=1e-6)
    assert np.mean(SEARCH_LEVELS) == pytest.approx(np.mean(LEVELS))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_an_objective_needs_its_own_rows_only(name, task) -> None:
    table = make_table(task, draws=3)
    objective = Objective(name, task, MODALITIES)
    value = objective.value(table)
    own = [i for i, c in enumerate(table.conditions) if c in set(objective.conditions())]
    assert len(own) == len(objective.conditions())
    assert all(c.draw < 2 for c in objective.conditions())
    changed = make_table(task, draws=3, seed=9)
    changed.prediction[own] = table.prediction[own]
    changed.label[:] = table.label
    for key in table.joint_levels:
        changed.joint_levels[key][:] = table.joint_levels[key]
    assert objective.value(changed) == value
    changed.prediction[own[0]] += 1.0 if task == "regression" else np.arange(3.0)
    assert objective.value(changed) != value


def test_an_objective_has_at_least_two_draws() -> None:
    spec = load_dataset("synthetic").spec
    for given, expected in (({}, 2), ({"draws": 1}, 2), ({"draws": 4}, 4)):
        evaluation = EvaluationConfig(**given)
        assert objective_of("grid", evaluation, spec).draws == expected


# --- trials are runs ---


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
    answer = predict(load_model(record, plan.dataset), valid, 7).prediction
    assert trial.value == pytest.approx((answer - valid.label).abs().mean().item(), rel=1e-5)


class Untouchable:
    """A split that nobody may look at."""

    def __getattr__(self, name: str):
        raise AssertionError(f"the test split was touched: {name}")

    def __len__(self) -> int:
        raise AssertionError("the test split was touched")


def test_the_test_split_is_never_touched(data_dir, tmp_path, monkeypatch) -> None:
    def poisoned(name, folder):
        dataset = load_dataset(name, folder)
        dataset.splits["test"] = Untouchable()
        return dataset

    expected = searched(planned(data_dir), data_dir, tmp_path / "plain").trials()
    monkeypatch.setattr("benchmark.execution.executor.load_dataset", poisoned)
    monkeypatch.setattr("benchmark.search.plan.load_dataset", poisoned)
    found = searched(planned(data_dir), data_dir, tmp_path / "poisoned").trials()
    assert [t.value for t in found] == [t.value for t in expected]
    assert all(t.state == "done" for t in found)
    assert not list(tmp_path.rglob(PREDICTIONS))
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


# --- identity ---


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
    with pytest.raises(BenchmarkError, match=r"model qamoe\.topk"):
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


# --- failures, pruning ---


def test_failed_trials_are_recorded_and_the_study_goes_on(data_dir, tmp_path, monkeypatch) -> None:
    space = {"training.learning_rate": [1e-3, 1e30], "model.topk": [2, 3, 99]}
    plan = planned(data_dir, space)
    real = search_module.run_supply.__globals__["execute"]

    def short_of_memory(spec, *rest):
        if spec.model_config["topk"] == 3 and spec.training["learning_rate"] == 1e-3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(spec, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("benchmark.execution.executor.execute", short_of_memory)
        trials = searched(plan, data_dir, tmp_path).trials()
    reasons = {tuple(t.settings.values()): t.reason for t in trials if t.state == "failed"}
    assert reasons.keys() == {(1e-3, 3), (1e30, 2), (1e30, 3), (1e-3, 99), (1e30, 99)}
    assert "OutOfMemoryError" in reasons[1e-3, 3]
    assert "DivergedError" in reasons[1e30, 2]
    assert "topk" in reasons[1e-3, 99]
    (whole,) = (t for t in trials if t.state == "done")
    assert tuple(whole.settings.values()) == (1e-3, 2)
    # with memory for it, the trial is done after all; what diverged is left
    again = searched(plan, data_dir, tmp_path).trials()
    assert len(again) == 7
    assert {tuple(t.settings.values()) for t in again if t.state == "done"} == {
        (1e-3, 2),
        (1e-3, 3),
    }
    assert len(ranked(again, minimise=True)) == 6


def test_a_pruned_trial_leaves_its_state_and_can_be_benchmarked(
    data_dir, tmp_path, monkeypatch
) -> None:
    space = {"training.learning_rate": {"low": 1e-4, "high": 1e-3, "log": True}}
    plan = planned(data_dir, space, training={"epochs": 4})
    report = Study.report

    def prune_the_second(study, number, epoch, value):
        report(study, number, epoch, value)
        return number == 1 and epoch == 2

    monkeypatch.setattr(Study, "report", prune_the_second)
    study = searched(plan, data_dir, tmp_path, count=3)
    assert [t.state for t in study.trials()] == ["done", "pruned", "done"]
    pruned = study.trials()[1]
    store = RunStore(tmp_path)
    (run_id,) = pruned.run_ids
    assert not store.is_trained(run_id)
    state = torch.load(store.partial(run_id) / "resume.pt", weights_only=True)
    assert state["epoch"] == 1  # the end of the last complete epoch before the pruning one
    (spec,) = plan.specs(pruned.settings)
    tiny = load_dataset("tiny", data_dir)
    conditions = plan.objective.conditions()
    events = []
    execute(spec, tiny, (), store, events.append, validation=conditions)
    assert [e.done for e in events if e.kind == "epoch"] == [2, 3, 4]
    once = RunStore(tmp_path / "once")
    execute(spec, tiny, (), once, lambda event: None, validation=conditions)
    for record in (store, once):
        assert (record.path(run_id) / VALIDATION).read_bytes() == (
            once.path(run_id) / VALIDATION
        ).read_bytes()


def test_tpe_prunes_by_the_median_and_a_grid_does_not(data_dir, tmp_path) -> None:
    endless = planned(data_dir, {"training.learning_rate": {"low": 1e-4, "high": 1e-3}})
    for plan, expected in ((endless, True), (planned(data_dir), False)):
        study = Study(plan.name, plan.space, True, None, tmp_path)
        study.begin(7)
        pruned = []
        for value in (1.0, 1.1, 1.2, 1.3, 1.4, 1.15, 1.35):
            trial = study.claim(7)
            if trial is None:  # the grid has two points
                break
            pruned.append(study.report(trial.number, 3, value))
            study.finish(trial.number, value)
        study.close()
        assert pruned == [False] * 6 + [True] if expected else [False] * 2


# --- the storage ---


def test_sqlite_is_for_one_worker(data_dir, tmp_path) -> None:
    plan = planned(data_dir)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    two = Execution("tiny", data_dir, tmp_path, "cpu", 2)
    with pytest.raises(BenchmarkError, match="one process write at a time"):
        SearchSession(plan, two, None, url, True)
    one = Execution("tiny", data_dir, tmp_path, "cpu", 1)
    session = SearchSession(plan, one, None, url, True)
    assert session.carry_out()
    assert len(session.study.trials()) == 2
    with pytest.raises(BenchmarkError, match="cannot be opened"):
        SearchSession(plan, one, None, "nosuch://x", True)


def test_a_journal_cut_short_is_mended_and_forgotten_on_request(data_dir, tmp_path) -> None:
    plan = planned(data_dir)
    trials = searched(plan, data_dir, tmp_path).trials()
    with (tmp_path / "optuna.journal").open("a") as journal:
        journal.write('{"op_code": 5, "wor')
    again = searched(plan, data_dir, tmp_path)
    assert [t.value for t in again.trials()] == [t.value for t in trials]
    fresh = Study(plan.name, plan.space, True, None, tmp_path, resume=False)
    assert fresh.trials() == []
    fresh.close()


def test_the_best_settings_are_a_request(data_dir, tmp_path) -> None:
    plan = planned(data_dir, seeds=(1, 2), evaluation={"draws": 3})
    study = searched(plan, data_dir, tmp_path, count=1)
    (best,) = study.trials()
    text = best_yaml(plan, best)
    assert repr(best.value) in text
    request = PlanConfig(**yaml.safe_load(text))
    specs = plan_runs(request, plan.dataset)
    assert tuple(spec.run_id for spec in specs) == best.run_ids
