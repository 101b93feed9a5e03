"""Whole runs: records, kill and resume, two processes at once, failures."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest

from benchmark.execution import execute as module
from benchmark.execution import resume
from benchmark.execution.attempt import attempt
from benchmark.execution.execute import execute, load_model
from benchmark.execution.executor import Execution, run_plan
from benchmark.execution.processes import start_process
from benchmark.files import replace_file
from benchmark.plan import PlanConfig, Planned, plan_conditions, plan_runs
from benchmark.predict import fill_table, predict
from benchmark.readouts import summarise
from benchmark.records import CHECKPOINT, INPUTS, RECORD_FILES, RunStore
from protocols import rules
from tests.imports import of_a_run
from tests.tiny import QUICK, Command, benchmark

SMALL = {"width": 16, "encoder_heads": 2}


def request(**changes) -> PlanConfig:
    values = {
        "dataset": "tiny",
        "models": ("qamoe",),
        "regimes": ("spectrum",),
        "seeds": (1,),
        "model": SMALL,
        "training": {"epochs": 2},
        "evaluation": {"draws": 1},
        **changes,
    }
    return PlanConfig(**values)


def plan(tiny, **changes):
    wanted = request(**changes)
    return plan_runs(wanted, tiny), plan_conditions(wanted, tiny)


def execution(data_dir: Path, runs_dir: Path, workers: int = 1) -> Execution:
    return Execution("tiny", data_dir, runs_dir, "cpu", workers)


def test_what_runs_import_is_imported_once_for_all_workers(tiny, data_dir, tmp_path) -> None:
    (spec,), conditions = plan(tiny)
    RunStore(tmp_path).prepare()
    channel, process = start_process(
        of_a_run, execution(data_dir, tmp_path), Planned(spec, conditions)
    )
    outcome, modules = channel.recv()
    process.join()
    assert outcome == "done"
    assert len(modules) < 50, modules


def test_a_run_makes_a_complete_record(tiny, data_dir, tmp_path) -> None:
    (spec,), conditions = plan(tiny)
    store, events = RunStore(tmp_path), []
    assert execute(spec, tiny, conditions, store, events.append) == "done"
    record = store.record(spec.run_id)
    names = sorted(p.name for p in record.path.iterdir())
    assert names == sorted((*RECORD_FILES, CHECKPOINT, INPUTS))
    assert record.spec.run_id == spec.run_id
    assert record.spec.settings() == spec.settings()
    assert record.environment["data_sha256"] == tiny.sha256
    assert record.environment["floors"].keys() == {"mean", "median"}
    facts = record.environment["model"]
    assert facts["title"] == "QA-MoE"
    assert len(facts["source_sha256"]) == 64
    assert len(record.history) == 2
    assert set(record.metrics["protocol"]) == {"clean", "I", "II", "III", "grid"}
    assert [e.kind for e in events if e.kind != "step"][:3] == ["started", "epoch", "epoch"]
    assert events[-1].kind == "finished"
    assert not store.partial(spec.run_id).exists()
    model = load_model(record, spec, tiny)  # the checkpoint is what made the table
    again = predict(model, tiny.splits["test"].samples, 64).prediction.numpy()
    clean = record.table.prediction[record.table.row(conditions[7])]
    assert conditions[7].mask == 7
    assert abs(again - clean).max() < 1e-6
    assert execute(spec, tiny, conditions, store, events.append) == "kept"
    assert events[-1].kind == "kept"


def test_protocols_added_later_do_not_train_again(tiny, data_dir, tmp_path) -> None:
    (spec,), first = plan(tiny, protocol="III")
    _, everything = plan(tiny)
    store = RunStore(tmp_path / "steps")
    execute(spec, tiny, first, store, lambda event: None)
    assert set(store.record(spec.run_id).metrics["protocol"]) == {"clean", "III"}
    events = []
    assert execute(spec, tiny, everything, store, events.append) == "done"
    assert not [e for e in events if e.kind in ("started", "epoch")]
    once = RunStore(tmp_path / "once")
    execute(spec, tiny, everything, once, lambda event: None)
    for name in ("predictions.npz", "metrics.json", "history.csv"):
        assert (store.path(spec.run_id) / name).read_bytes() == (
            once.path(spec.run_id) / name
        ).read_bytes()


def test_metrics_that_are_out_of_date_are_made_again(tiny, tmp_path) -> None:
    (spec,), conditions = plan(tiny, protocol="I")
    store = RunStore(tmp_path)
    execute(spec, tiny, conditions, store, lambda event: None)
    path = store.path(spec.run_id) / "metrics.json"
    good = path.read_text()
    path.write_text(good.replace('"metric": 2', '"metric": 1'))
    assert execute(spec, tiny, conditions, store, lambda event: None) == "kept"
    assert path.read_text() == good


def test_rows_of_an_older_version_are_made_anew_from_the_checkpoint(
    tiny, tmp_path, monkeypatch
) -> None:
    """A new degradation is another noise: those rows are out of date, the others are not."""
    (spec,), conditions = plan(tiny)
    store = RunStore(tmp_path)
    execute(spec, tiny, conditions, store, lambda event: None)
    before = store.record(spec.run_id)
    checkpoint = (before.path / "checkpoint.safetensors").stat().st_mtime_ns
    assert before.covers(conditions)
    monkeypatch.setitem(rules.RULE_VERSIONS, "degradation", 99)
    stale = store.record(spec.run_id)
    assert not stale.covers(conditions)
    assert not stale.metrics_are_current()
    assert {c.noise_rule for c in stale.table.outdated} == {"seed_a1"}
    assert len(stale.table.outdated) == len(conditions) - 8
    assert set(summarise(stale.table)["protocol"]) == {"clean", "I"}
    filled = []
    monkeypatch.setattr(module, "fill_table", counting(filled))
    assert execute(spec, tiny, conditions, store, lambda event: None) == "done"
    assert filled == [stale.table.outdated]
    after = store.record(spec.run_id)
    assert after.covers(conditions)
    np.testing.assert_array_equal(after.table.prediction, before.table.prediction)
    assert {v for v in after.table.versions if "degradation" in v} == {
        "zeroing 1, degradation 99, draw 1",
        "zeroing 1, degradation 99, draw 1, III 1",
    }
    assert (after.path / "checkpoint.safetensors").stat().st_mtime_ns == checkpoint


def counting(filled: list):
    def fill(model, split, spec, sigma_ref, conditions, *rest, **options):
        filled.append(tuple(conditions))
        return fill_table(model, split, spec, sigma_ref, conditions, *rest, **options)

    return fill


def test_a_table_of_another_form_is_made_anew_with_one_line(tiny, tmp_path) -> None:
    (spec,), conditions = plan(tiny, protocol="I")
    store = RunStore(tmp_path)
    execute(spec, tiny, conditions, store, lambda event: None)
    path = store.path(spec.run_id) / "predictions.npz"
    before, events = path.read_bytes(), []
    with np.load(path) as arrays:
        older = {k: v for k, v in arrays.items() if k != "version"}
    np.savez(path, **older)
    assert execute(spec, tiny, conditions, store, events.append) == "done"
    assert path.read_bytes() == before
    (note,) = [event.message for event in events if event.kind == "note"]
    assert "predictions.npz: it was made by an older version" in note


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_other_numbers_of_draws_later_end_in_the_record_of_asking_at_once(
    tiny, tmp_path, order
) -> None:
    """One draw of everything, three of Protocol III, two of another rule, in any order."""
    (spec,), first = plan(tiny)
    asked = [
        first,
        plan(tiny, protocol="III", evaluation={"draws": 3})[1],
        plan(tiny, protocol="II", evaluation={"draws": 2, "noise_rules": ["gaussian_av"]})[1],
    ]
    store = RunStore(tmp_path / "steps")
    for place in order:
        execute(spec, tiny, asked[place], store, lambda event: None)
        assert store.record(spec.run_id).covers(asked[place])
    once = RunStore(tmp_path / "once")
    execute(spec, tiny, tuple(sorted(set().union(*asked))), once, lambda event: None)
    for name in ("predictions.npz", "metrics.json"):
        assert (store.path(spec.run_id) / name).read_bytes() == (
            once.path(spec.run_id) / name
        ).read_bytes()
    draws = store.record(spec.run_id).table.index.draws
    assert (draws["seed_a1", ""], draws["seed_a1", "uniform_0.7"]) == (1, 3)
    assert draws["gaussian_av", ""] == 2


def test_workers_give_the_same_bytes_and_a_failure_ends_nothing(tiny, data_dir, tmp_path) -> None:
    specs, conditions = plan(tiny, seeds=(1, 2))
    broken = replace(
        specs[0], training=specs[0].training.model_copy(update={"learning_rate": 1e30})
    )
    events = []
    pooled = run_plan(
        [Planned(spec, conditions) for spec in (broken, *specs)],
        execution(data_dir, tmp_path / "pool", 2),
        events.append,
    )
    assert pooled == {broken.run_id: "failed", specs[0].run_id: "done", specs[1].run_id: "done"}
    store = RunStore(tmp_path / "pool")
    assert "DivergedError" in store.unfinished()[broken.run_id]
    assert [e.run_id for e in events if e.kind == "failed"] == [broken.run_id]
    planned = [Planned(spec, conditions) for spec in specs]
    here = run_plan(planned, execution(data_dir, tmp_path / "here"), lambda event: None)
    assert set(here.values()) == {"done"}
    for spec in specs:
        one, two = (RunStore(tmp_path / n).path(spec.run_id) for n in ("pool", "here"))
        assert (one / "predictions.npz").read_bytes() == (two / "predictions.npz").read_bytes()


def test_a_disk_that_fills_up_fails_the_run_and_keeps_its_state(tiny, tmp_path) -> None:
    (spec,), conditions = plan(tiny, training={"epochs": 4})
    store, events = RunStore(tmp_path), []
    writes = []

    def fill_up(path: Path, *parts: bytes) -> None:
        writes.append(path)
        if len(writes) > 2:
            raise OSError(28, "No space left on device")
        replace_file(path, *parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "replace_file", fill_up)
        assert (
            attempt(Planned(spec, conditions), lambda: tiny, store, events.append, False)
            == "failed"
        )
    assert "No space left on device" in events[-1].message
    events.clear()
    assert attempt(Planned(spec, conditions), lambda: tiny, store, events.append, False) == "done"
    assert events[0].done == 2  # the two epochs before the disk was full are kept


def test_a_worker_that_dies_fails_its_run_only(tiny, data_dir, tmp_path) -> None:
    specs, conditions = plan(tiny, seeds=(1, 2, 3), training={"epochs": 12})
    killed = []

    def listen(event) -> None:
        if event.kind == "epoch" and not killed:
            killed.append(event.run_id)
            active_children()[0].kill()

    planned = [Planned(spec, conditions) for spec in specs]
    results = run_plan(planned, execution(data_dir, tmp_path, 2), listen)
    assert sorted(results.values()) == ["done", "done", "failed"]


def words(data_dir: Path, runs_dir: Path, *more: str) -> list[str]:
    return [
        *("run", *QUICK, "--regime", "spectrum"),
        *("--data-dir", str(data_dir), "--runs-dir", str(runs_dir)),
        *("--tracking-uri", "none", *more),
    ]


@pytest.mark.long
def test_kill_9_at_random_moments_changes_nothing(data_dir, tmp_path) -> None:
    options = ["--seeds", "1,2", "--epochs", "30"]
    assert benchmark(*words(data_dir, tmp_path / "straight", *options)).returncode == 0
    interrupted = words(data_dir, tmp_path / "killed", *options)
    moments, resumable = random.Random(7), 0
    for _ in range(2):
        process = Command(*interrupted)
        process.until(lambda: list(tmp_path.glob("killed/.partial/*/resume.pt")))
        time.sleep(moments.uniform(0, 0.5) + (3.0 if resumable else 0.0))  # later: resumed, on
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        resumable += len(list(tmp_path.glob("killed/.partial/*/resume.pt")))
    assert resumable > 0
    time.sleep(1.5)  # workers notice that their parent is gone
    done = benchmark(*interrupted)
    assert done.returncode == 0, done.stderr
    ids = [record.run_id for record in RunStore(tmp_path / "straight").records()]
    assert len(ids) == 2
    for run_id in ids:
        for name in ("predictions.npz", "history.csv", "checkpoint.safetensors"):
            one, two = (tmp_path / n / run_id / name for n in ("straight", "killed"))
            assert one.read_bytes() == two.read_bytes(), (name, done.stdout)
    assert "2 runs on tiny, 0 to do" in benchmark(*interrupted).stdout


def test_two_processes_on_one_plan(data_dir, tmp_path) -> None:
    both = words(data_dir, tmp_path / "both", "--seeds", "1,2", "--epochs", "6", "--workers", "1")
    processes = [Command(*both), Command(*both)]
    outputs = [process.wait().stdout for process in processes]
    assert [process.code for process in processes] == [0, 0]
    trained = sum(output.count("done    QA-MoE") for output in outputs)
    assert trained == 2, outputs  # each run once, by one of the two
    alone = benchmark(*words(data_dir, tmp_path / "one", "--seeds", "1,2", "--epochs", "6"))
    assert alone.returncode == 0, alone.stderr
    for record in RunStore(tmp_path / "one").records():
        other = tmp_path / "both" / record.run_id / "predictions.npz"
        assert other.read_bytes() == (record.path / "predictions.npz").read_bytes()


def test_interrupt_says_how_to_go_on(data_dir, tmp_path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmark"),
            *words(data_dir, tmp_path, "--seeds", "1,2", "--epochs", "4000"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".partial/*/resume.pt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, the workers too
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "same command" in error
    assert "Traceback" not in error


def test_a_classification_run(data_dir, tmp_path) -> None:
    done = benchmark(
        *("run", *QUICK[2:], "--dataset", "tiny-cls", "--epochs", "3", "--regime", "clean"),
        *("--data-dir", data_dir, "--runs-dir", tmp_path, "--tracking-uri", "none"),
    )
    assert done.returncode == 0, done.stderr
    assert "ACC" in done.stdout
    (record,) = RunStore(tmp_path).records()
    assert record.spec.training.select_on == "acc"
    assert record.table.prediction.shape[2] == 3
