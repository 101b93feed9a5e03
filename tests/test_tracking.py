"""Live tracking and the rebuilding from records, on hand-made records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from benchmark.errors import BenchmarkError
from benchmark.execution.events import Event
from benchmark.readouts import summarise
from benchmark.records import HISTORY, RunStore
from benchmark.table import merge, restrict
from benchmark.tracking.description import describe_plan
from benchmark.tracking.mirror import PARENT
from benchmark.tracking.summary import summary
from benchmark.tracking.sync import attach, sync
from benchmark.tracking.tracked import MAX_VALUE, NOTE, RUN_ID, curve_values, params_of, read
from protocols.regimes import Regime
from qamoe.model import QAMoE
from tests.records import make_history, make_record, make_run_spec, make_table
from tests.tracked_store import (
    EPOCHS,
    client_of,
    curve,
    finish,
    found,
    open_tracker,
    plan_of,
    prepared_store,
    settled,
    specs_of,
    track,
    train,
    uri_of,
)


@pytest.fixture
def store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return prepared_store(tmp_path / "the runs", tmp_path_factory)


def contents(store: RunStore) -> dict[str, Any]:
    """Everything tracked that does not depend on when, or on MLflow's random ids."""
    parents = {run.info.run_id: run.data.tags["plan_id"] for run in found(store, "plan")}
    result: dict[str, Any] = {
        run.data.tags["plan_id"]: (run.info.run_name, run.info.status, run.data.tags)
        for run in found(store, "plan")
    }
    for run in found(store):
        tags = dict(run.data.tags)
        for tie in (PARENT, "plan.plan-1"):
            tags[tie] = parents[tags[tie]]
        curves = {name: curve(store, run, name) for name in run.data.metrics}
        data = [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs]
        files = client_of(store).list_artifacts(run.info.run_id, "record")
        named = (run.info.run_name, run.info.status, sorted(file.path for file in files))
        result[tags[RUN_ID]] = (named, tags, run.data.params, curves, data)
    return result


def test_a_plan_is_a_parent_with_a_child_for_each_run(store: RunStore) -> None:
    specs = specs_of("qamoe", "mult")
    track(store, specs)
    (parent,) = found(store, "plan")
    children = {run.data.tags[RUN_ID]: run for run in found(store)}
    assert set(children) == {spec.run_id for spec in specs}
    assert {run.data.tags[PARENT] for run in children.values()} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    assert "| QA-MoE | spectrum | 2 |" in parent.data.tags[NOTE]
    run = children[specs[0].run_id]
    assert run.info.run_name == "QA-MoE · spectrum · seed 1"
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    tags = {"model": "qamoe", "dataset": "synthetic", "regime": "spectrum", "seed": "1"}
    tags |= {"protocol": "I,II,III,grid", "synthetic": "true", "task": "regression"}
    tags |= {"commit": "0123456789abcdef0123456789abcdef01234567", "source": "paper read"}
    assert tags.items() <= run.data.tags.items()
    assert run.data.params["training.epochs"] == str(EPOCHS)
    assert run.data.params["model.topk"] == "2"
    assert len([name for name in run.data.metrics if name.startswith("test/")]) == 18
    assert run.data.metrics.keys() >= {"test/clean_acc7", "test/clean_f1_non0"}
    assert run.data.tags[NOTE].startswith(f"**{QAMoE.card.title}**\n")
    assert QAMoE.card.citation in run.data.tags[NOTE]
    assert "source: paper read" in run.data.tags[NOTE]
    values = [children[s.run_id].data.metrics["test/clean_mae"] for s in specs[:2]]
    shown = parent.data.metrics["QA-MoE spectrum/test/clean_mae"]
    assert shown == pytest.approx(sum(values) / 2)
    (dataset,) = run.inputs.dataset_inputs
    assert dataset.dataset.name == "synthetic"
    assert specs[0].data_sha256.startswith(dataset.dataset.digest)


def test_curves_are_live_and_one_batch_an_epoch(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("logged one by one")

    for name in ("log_metric", "log_param", "set_tag"):
        monkeypatch.setattr(MlflowClient, name, refuse)
    batches: list[int] = []
    log_batch = MlflowClient.log_batch

    def counted(self: MlflowClient, run_id: str, **entities: Any) -> None:
        batches.append(len(entities.get("metrics", ())))
        log_batch(self, run_id, **entities)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    spec = make_run_spec("qamoe", "spectrum", 1)
    tracker = open_tracker(store, [spec])
    train(tracker, spec, last=2)
    settled(tracker)
    assert [size for size in batches if size] == [3, 3]
    (run,) = found(store)
    assert run.info.status == "RUNNING"
    expected = make_history(EPOCHS, seed=1)["train_loss"]
    assert curve(store, run, "train/loss") == [(1, expected[0]), (2, expected[1])]
    tracker.close()


def test_a_failed_run_says_why(store: RunStore) -> None:
    good, bad = specs_of("qamoe")
    tracker = open_tracker(store, [good, bad])
    train(tracker, bad, last=1)
    tracker.handle(bad, Event(bad.run_id, "failed", message="DivergedError: the loss is nan"))
    finish(tracker, store, good)
    tracker.close()
    status = {run.data.tags[RUN_ID]: run for run in found(store)}
    assert status[bad.run_id].info.status == "FAILED"
    assert status[bad.run_id].data.tags["error"] == "DivergedError: the loss is nan"
    assert status[good.run_id].info.status == "FINISHED"
    (parent,) = found(store, "plan")
    assert parent.info.status == "FAILED"
    assert "1 of 2 runs are finished" in parent.data.tags[NOTE]


def test_an_interrupted_run_goes_on_as_the_same_child(store: RunStore) -> None:
    spec = make_run_spec("qamoe", "spectrum", 1)
    tracker = open_tracker(store, [spec])
    train(tracker, spec, last=2)
    tracker.close()
    assert [run.info.status for run in (*found(store), *found(store, "plan"))] == ["KILLED"] * 2
    tracker = open_tracker(store, [spec])
    train(tracker, spec, first=2)
    finish(tracker, store, spec)
    tracker.close()
    (run,) = found(store)
    assert run.info.status == found(store, "plan")[0].info.status == "FINISHED"
    assert [step for step, _ in curve(store, run, "train/loss")] == [1, 2, 3]


def test_sync_rebuilds_a_deleted_database_as_live_tracking_made_it(
    store: RunStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    specs = specs_of("qamoe", "mult")
    track(store, specs)
    live = contents(store)
    assert str(sync(store, uri_of(store))) == "0 runs made, 0 updated, 4 already there"
    assert contents(store) == live
    prepared_store(store.root, tmp_path_factory)
    assert str(sync(store, uri_of(store))) == "4 runs made, 0 updated, 0 already there"
    assert contents(store) == live
    assert sync(store, uri_of(store)).present == 4


def test_sync_takes_the_times_from_the_record(store: RunStore) -> None:
    make_record(store)
    sync(store, uri_of(store), experiment_of=lambda spec: "elsewhere")
    (run,) = found(store, experiment="elsewhere")
    assert run.info.end_time - run.info.start_time == 34_000
    points = client_of(store).get_metric_history(run.info.run_id, "train/loss")
    assert [p.timestamp - run.info.start_time for p in points] == [10_000, 20_000, 30_000]


def test_sync_updates_a_run_whose_table_has_grown(store: RunStore) -> None:
    small = make_table(protocols=["I"])
    record = make_record(store, table=small)
    sync(store, uri_of(store))
    (run,) = found(store)
    assert "test/grid_mae" not in run.data.metrics
    grown = make_table()
    rest = [c for c in grown.conditions if c not in set(small.conditions)]
    store.extend(record.run_id, merge(small, restrict(grown, rest)))
    assert str(sync(store, uri_of(store))) == "0 runs made, 1 updated, 0 already there"
    (run,) = found(store)
    assert run.data.tags["protocol"] == "I,II,III,grid"
    assert run.data.metrics.items() >= summary(record.metrics, "regression").items()
    assert len(curve(store, run, "train/loss")) == EPOCHS
    assert sync(store, uri_of(store)).present == 1


def test_sync_passes_over_an_unreadable_record(store: RunStore) -> None:
    bad, good = make_record(store, seed=1), make_record(store, seed=2)
    (bad.path / HISTORY).write_text("")
    report = sync(store, uri_of(store))
    assert (report.made, len(report.problems)) == (1, 1)
    assert bad.run_id in report.problems[0]
    assert [run.data.tags[RUN_ID] for run in found(store)] == [good.run_id]


def test_files_can_be_attached_to_a_plan(store: RunStore, tmp_path: Path) -> None:
    specs = specs_of("qamoe")
    track(store, specs)
    figure = tmp_path / "landscape.png"
    figure.write_bytes(b"picture")
    unknown, plan = plan_of(specs, "unknown"), plan_of(specs)
    assert attach(store, uri_of(store), [unknown], {"figures": [figure]}) is None
    assert attach(store, uri_of(store), [unknown, plan], {"figures": [figure]}) == plan
    (parent,) = found(store, "plan")
    (file,) = client_of(store).list_artifacts(parent.info.run_id, "figures")
    assert file.path == "figures/landscape.png"
    assert (store.root / "mlartifacts" / parent.info.run_id).is_dir()


@pytest.fixture
def plain_store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path)


def test_a_plan_is_described_by_mean_and_std_over_seeds(plain_store: RunStore) -> None:
    records = [make_record(plain_store, seed=seed) for seed in (1, 2)]
    records.append(make_record(plain_store, "mult", Regime(kind="missing", rate=0.3), seed=1))
    values = [summary(record.metrics, "regression")["test/clean_mae"] for record in records]
    text = describe_plan([read(record) for record in records])
    mean, spread = sum(values[:2]) / 2, abs(values[0] - values[1]) / 2**0.5
    assert f"| QA-MoE | clean | 2 | {mean:.3f} ± {spread:.3f} |" in text
    assert f"| MulT | missing-0.3 | 1 | {values[2]:.3f} |" in text
    assert "**synthetic data**" in text
    assert describe_plan([]) == ""


def test_other_rules_have_their_names_in_the_summary() -> None:
    one = summary(summarise(make_table()), "regression")
    two = summary(summarise(make_table(noise_rules=["seed_a1", "gaussian_av"])), "regression")
    assert set(one) < set(two)
    assert "test/protocol_III_gaussian_av_mae" in two
    classes = summary(summarise(make_table("classification")), "classification")
    assert {"test/clean_acc", "test/protocol_I_fixed_acc", "test/protocol_III_f1_weighted"} < set(
        classes
    )


def test_params_keep_what_matters_and_cut_what_is_long() -> None:
    spec = make_run_spec("qamoe", "clean", layers={"width": 4}, text="x" * 1000)
    params = params_of(spec)
    assert params["model.layers.width"] == "4"
    assert len(params["model.text"]) <= MAX_VALUE
    assert "sha256:" in params["model.text"]
    assert not any(name.startswith("regime.") for name in params)
    other = params_of(make_run_spec("qamoe", "clean", text="x" * 999 + "y"))
    assert other["model.text"] != params["model.text"]


def test_an_unknown_store_is_one_line(plain_store: RunStore) -> None:
    make_record(plain_store)
    with pytest.raises(BenchmarkError, match="nowhere://x failed"):
        sync(plain_store, "nowhere://x")


def test_curves_are_of_training_or_of_validation() -> None:
    row = {"train_loss": 1.0, "likelihood_loss": 2.0, "valid_mae": 3.0, "learning_rate": 0.1}
    assert curve_values({**row, "epoch": 1, "best": 1.0}) == {
        "train/loss": 1.0,
        "train/likelihood_loss": 2.0,
        "valid/mae": 3.0,
        "train/learning_rate": 0.1,
    }
