"""What a kill, a move or a second plan leaves in MLflow is made equal to the records again."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from benchmark.data.inputs import InputForm
from benchmark.errors import BenchmarkError
from benchmark.execution.covered import looked_at
from benchmark.execution.executor import Execution
from benchmark.execution.session import Session
from benchmark.files import replace_file
from benchmark.interface import DataSpec
from benchmark.plan import PlanConfig
from benchmark.records import CHECKPOINT, ERROR, INPUTS, METRICS, RunRecord, RunStore
from benchmark.spec import RunSpec
from benchmark.tracking.mirror import MODEL_ID, PARENT
from benchmark.tracking.place import check_uri
from benchmark.tracking.sync import sync
from benchmark.tracking.tracked import RUN_ID
from protocols.modalities import MODALITIES
from tests.records import make_record, make_run_spec
from tests.tracked_store import (
    client_of,
    finish,
    found,
    open_tracker,
    plan_of,
    prepared_store,
    settled,
    specs_of,
    train,
    uri_of,
)

PRESENT = "0 updated, 1 already there"


@pytest.fixture
def store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return prepared_store(tmp_path / "runs", tmp_path_factory)


def with_inputs(record: RunRecord) -> RunRecord:
    """With what a logged model is made from."""
    sizes = dict.fromkeys(MODALITIES, 3)
    (record.path / INPUTS).write_text(InputForm(DataSpec(sizes, sizes, MODALITIES), {}).to_json())
    return record


def statuses(store: RunStore) -> dict[str, str]:
    children = {run.data.tags[RUN_ID]: run.info.status for run in found(store)}
    return children | {run.data.tags["plan_id"]: run.info.status for run in found(store, "plan")}


def left_by_a_kill(store: RunStore) -> tuple[RunSpec, RunSpec]:
    """A plan whose process was killed: a run with a record, one without, nothing ended."""
    done, begun = specs_of("qamoe")
    tracker = open_tracker(store, [done, begun])
    train(tracker, done)
    train(tracker, begun, last=1)
    settled(tracker)
    make_record(store, done.model, done.regime, done.seed)
    tracker._background = None
    assert statuses(store) == dict.fromkeys((done.run_id, begun.run_id, "plan-1"), "RUNNING")
    return done, begun


def test_sync_ends_what_a_kill_left_under_way(store: RunStore) -> None:
    done, begun = left_by_a_kill(store)
    report = sync(store, uri_of(store))
    assert str(report).endswith("1 updated, 0 already there, 2 left under way and ended")
    ended = {done.run_id: "FINISHED", begun.run_id: "KILLED", "plan-1": "KILLED"}
    assert statuses(store) == ended
    assert str(sync(store, uri_of(store))).endswith(PRESENT)


def test_sync_leaves_a_run_that_somebody_works_on(store: RunStore) -> None:
    done, begun = left_by_a_kill(store)
    with store.lock(begun.run_id):
        sync(store, uri_of(store))
    assert statuses(store)[begun.run_id] == statuses(store)["plan-1"] == "RUNNING"
    assert statuses(store)[done.run_id] == "FINISHED"
    folder = store.partial(begun.run_id)
    folder.mkdir(parents=True)
    (folder / ERROR).write_text("Traceback\nDivergedError: the loss is nan\n")
    sync(store, uri_of(store))
    assert statuses(store)[begun.run_id] == statuses(store)["plan-1"] == "FAILED"
    (failed,) = (run for run in found(store) if run.info.status == "FAILED")
    assert failed.data.tags["error"] == "DivergedError: the loss is nan"


def test_a_run_with_nothing_to_do_repairs_and_says_how_long_it_waited(
    store: RunStore, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    request = PlanConfig(
        dataset="tiny",
        models=("qamoe",),
        regimes=("clean",),
        protocol="I",
        model={"width": 16, "encoder_heads": 2},
        training={"epochs": 1},
    )
    session = Session(request, Execution("tiny", data_dir, store.root, "cpu", 1))

    def dead(*_: object, **__: object) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", dead)
        assert session.carry_out(None, "synthetic")
    assert set(statuses(store).values()) == {"RUNNING"}
    assert "tracking is behind" in capsys.readouterr().out
    assert session.pending(looked_at(session.plan, store)) == []
    assert session.carry_out(None, "synthetic")
    assert set(statuses(store).values()) == {"FINISHED"}
    assert "longest wait" in capsys.readouterr().out


def test_a_run_of_two_plans_is_tied_to_both_also_when_rebuilt(
    store: RunStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = make_run_spec("qamoe", "spectrum", 1)
    finish_plan(store, spec, "plan-1", "synthetic")
    finish_plan(store, spec, "plan-2", "synthetic")
    finish_plan(store, spec, "plan-1", "elsewhere")
    for rebuilt in (False, True):
        if rebuilt:
            prepared_store(store.root, tmp_path_factory)
        assert sync(store, uri_of(store)).made == (2 if rebuilt else 0)
        parents = {run.data.tags["plan_id"]: run.info.run_id for run in found(store, "plan")}
        (child,) = found(store)
        assert child.data.tags[PARENT] == parents["plan-1"]
        for plan_id in ("plan-1", "plan-2"):
            assert child.data.tags[f"plan.{plan_id}"] == parents[plan_id]
        (other,) = found(store, experiment="elsewhere")
        (parent,) = found(store, "plan", experiment="elsewhere")
        assert other.data.tags[PARENT] == parent.info.run_id


def finish_plan(store: RunStore, spec: RunSpec, plan_id: str, experiment: str) -> None:
    from benchmark.tracking.live import Tracker

    tracker = Tracker(uri_of(store), experiment, store)
    tracker.open(replace(plan_of([spec], plan_id), experiment=experiment))
    if not store.has(spec.run_id):
        train(tracker, spec)
        finish(tracker, store, spec)
    tracker.close()


def test_a_moved_runs_folder_has_its_artifacts_beside_it(store: RunStore, tmp_path: Path) -> None:
    record = with_inputs(make_record(store))
    sync(store, uri_of(store))
    moved = RunStore(tmp_path / "moved 100%")
    store.root.rename(moved.root)
    lost = next(moved.root.glob(f"mlartifacts/**/{METRICS}"))
    lost.unlink()
    assert str(sync(moved, uri_of(moved))) == "0 runs made, 1 updated, 0 already there"
    (run,) = found(moved)
    assert "moved" in run.info.artifact_uri
    assert lost.is_file()
    model = client_of(moved).get_logged_model(run.data.tags[MODEL_ID])
    assert "moved" in model.artifact_location
    for file in moved.record(record.run_id).files():
        copies = list(moved.root.glob(f"mlartifacts/**/{file.name}"))
        # links to the same file: it takes no room again
        assert {copy.stat().st_ino for copy in copies} == {file.stat().st_ino}
    assert str(sync(moved, uri_of(moved))).endswith(PRESENT)
    copied = RunStore(tmp_path / "copied")
    shutil.copytree(moved.root, copied.root)
    assert str(sync(copied, uri_of(copied))).endswith(PRESENT)
    assert "copied" in found(copied)[0].info.artifact_uri


@pytest.mark.parametrize("damage", ["half a file", "no file", "half a checkpoint"])
def test_sync_looks_at_the_artifacts(store: RunStore, damage: str) -> None:
    record = with_inputs(make_record(store))
    sync(store, uri_of(store))
    name = CHECKPOINT if "checkpoint" in damage else METRICS
    (file,) = store.root.glob(f"mlartifacts/**/{name}")
    content = file.read_bytes()
    file.unlink()
    if damage != "no file":
        file.write_bytes(content[: len(content) // 2])
    assert sync(store, uri_of(store)).updated == 1
    assert file.read_bytes() == content == (record.path / name).read_bytes()


def test_a_logged_model_has_the_name_parameters_and_data_set_of_its_run(store: RunStore) -> None:
    odd = {"kind%": "a/b: 'c'"}
    with_inputs(make_record(store, dropout_vision=0.15, **odd))
    assert str(sync(store, uri_of(store))) == "1 runs made, 0 updated, 0 already there"
    (run,) = found(store)
    assert run.data.params["model.dropout_vision"] == "0.15"
    assert run.data.params["model.kind_"] == "a/b: 'c'"
    model = client_of(store).get_logged_model(run.data.tags[MODEL_ID])
    assert "dropout_vision=0_15" in model.name
    assert model.params == run.data.params
    assert str(model.status) == "READY"
    shown = {metric.key: metric for metric in model.metrics}
    assert shown["test/clean_mae"].value == run.data.metrics["test/clean_mae"]
    assert shown["test/clean_mae"].dataset_name == "synthetic"
    assert str(sync(store, uri_of(store))).endswith(PRESENT)


def test_a_plan_uploads_nothing_from_outside_the_runs_folder(
    store: RunStore, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a password")
    record = make_record(store)
    (store.root / "searches").mkdir()
    (store.root / "searches" / "best.yaml").write_text("model: qamoe")
    (store.root / "searches" / "link").symlink_to(secret)
    plan = replace(plan_of([record.spec]), kind="search", finished=True)
    replace(plan, files=("searches/link", "searches/best.yaml")).save(store)
    for name in (str(secret), "../secret"):
        replace(plan, plan_id=f"plan-{len(name)}", files=(name, "searches/best.yaml")).save(store)
    report = sync(store, uri_of(store))
    assert sum("is not in the runs folder" in problem for problem in report.problems) == 2
    assert [p.name for p in store.root.glob("mlartifacts/*/artifacts/search/*")] == ["best.yaml"]


@pytest.mark.parametrize(
    "uri", ["http://host:abc", "http://host:99999", "https://", "http://:5000"]
)
def test_an_address_that_is_none_is_said_at_once(uri: str) -> None:
    with pytest.raises(BenchmarkError, match=r"--tracking-uri .* is no address"):
        check_uri(uri)


def test_a_pipe_is_no_database(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(BenchmarkError, match="pipe is no file to keep a database in"):
        check_uri(f"sqlite:///{pipe}")


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    device = tmp_path / "device"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(FileExistsError, match="is a device"):
        replace_file(device, b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["device"]
    assert device.is_char_device()
