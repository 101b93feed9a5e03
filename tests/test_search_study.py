"""Search: failures, pruning, the storage."""

from __future__ import annotations

import pytest
import torch
import yaml

from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.execution import attempt, pool
from benchmark.execution.execute import execute
from benchmark.execution.executor import Execution
from benchmark.execution.progress import Display
from benchmark.execution.resume import load_state, origin_of
from benchmark.plan import PlanConfig, plan_runs
from benchmark.records import VALIDATION, RunStore
from benchmark.search.report import best_yaml, ranked, rows_of
from benchmark.search.session import SearchSession
from benchmark.search.study import Study, Trial
from tests.searches import planned, searched


def worker_short_of_memory(channel, how) -> None:
    """A worker process that has no memory for one of the trials."""

    def short_of_memory(spec, *rest):
        if spec.setting("model.topk") == 3 and spec.training.learning_rate == 1e-3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return execute(spec, *rest)

    attempt.execute = short_of_memory
    pool._worker(channel, how)


def test_failed_trials_are_recorded_and_the_study_goes_on(data_dir, tmp_path, monkeypatch) -> None:
    space = {"training.learning_rate": [1e-3, 1e30], "model.topk": [2, 3, 99]}
    plan = planned(data_dir, space)

    with monkeypatch.context() as patch:
        patch.setattr(pool, "_worker", worker_short_of_memory)
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
    ended = []
    end = Display._end
    monkeypatch.setattr(Display, "_end", lambda self, e: (ended.append(e.kind), end(self, e)))
    study = searched(plan, data_dir, tmp_path, count=3)
    assert [t.state for t in study.trials()] == ["done", "pruned", "done"]
    assert ended == ["finished", "stopped", "finished"]  # none keeps a bar
    pruned = study.trials()[1]
    store = RunStore(tmp_path)
    (run_id,) = pruned.run_ids
    assert not store.is_trained(run_id)
    (spec,) = plan.specs(pruned.settings)
    cpu = torch.device("cpu")
    state = load_state(store.partial(run_id) / "resume.pt", origin_of(spec, cpu), cpu)
    assert state["epoch"] == 1  # the end of the last complete epoch before the pruning one
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


def test_a_grid_may_have_one_point(data_dir, tmp_path) -> None:
    plan = planned(data_dir, {"training.learning_rate": [1e-3]})
    study = Study(plan.name, plan.space, True, None, tmp_path)
    study.begin(5)
    trial = study.claim(5)
    assert trial is not None
    study.finish(trial.number, 1.0)
    assert study.claim(5) is None
    assert [t.state for t in study.trials()] == ["done"]
    study.close()


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


def test_a_setting_that_is_called_rank_is_not_the_rank(data_dir, tmp_path) -> None:
    space = {"model.rank": [3, 16], "training.learning_rate": [1e-3]}
    plan = planned(data_dir, space, models=("lmf",), model={})
    trials = [
        Trial(number, "done", {"model.rank": r, "training.learning_rate": 1e-3}, value, *rest)
        for number, r, value in [(0, 3, 1.2), (1, 16, 1.1)]
        for rest in [("", ("0" * 12,), False, False, "")]
    ]
    rows = rows_of(plan, trials, RunStore(tmp_path))
    assert [(row["rank"], row["model.rank"], row["learning_rate"]) for row in rows] == [
        (1, 16, 1e-3),
        (2, 3, 1e-3),
    ]
