"""A report of an experiment, of a plan, and of the runs in a tracking store."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.data.inputs import InputForm
from benchmark.errors import BenchmarkError
from benchmark.interface import DataSpec
from benchmark.records import CHECKPOINT, INPUTS, METRICS, RECORD_FILES, RunStore
from benchmark.tracking.fetch import fetch, remote_runs
from benchmark.tracking.mirror import MODEL_ID
from benchmark.tracking.parents import Plan
from benchmark.tracking.sync import sync
from protocols.modalities import MODALITIES
from reports.choice import from_mlflow, links_of, of_experiment
from reports.results import load
from tests.records import make_record, make_run_spec
from tests.tracked_store import prepared_store, specs_of, track, uri_of


@pytest.fixture
def store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return prepared_store(tmp_path / "runs", tmp_path_factory)


def test_records_come_back_from_a_tracking_store_byte_for_byte(
    store: RunStore, tmp_path: Path
) -> None:
    specs = specs_of("lmf")
    track(store, specs)
    other, said = RunStore(tmp_path / "other"), []
    only, ask = from_mlflow(uri_of(store), "synthetic", other, said.append)
    assert dict(only) == {spec.run_id: "" for spec in specs}
    for spec in specs:
        for name in (*RECORD_FILES, CHECKPOINT):
            ours = (store.path(spec.run_id) / name).read_bytes()
            assert (other.path(spec.run_id) / name).read_bytes() == ours
        assert "/#/experiments/" in ask()[spec.run_id]
    assert "2 records to fetch" in said[0]
    assert not list((other.root / ".partial").iterdir())
    from_mlflow(uri_of(store), None, other, said.append)  # nothing is fetched twice
    assert "0 records to fetch" in said[1]
    with pytest.raises(BenchmarkError, match=r"unknown experiment 'syntetic'.*synthetic"):
        from_mlflow(uri_of(store), "syntetic", other, said.append)
    assert links_of(store, None)() == ask()
    plan_only, _ = from_mlflow(uri_of(store), "two models", other, said.append)
    assert dict(plan_only) == dict(only)


def test_a_checkpoint_that_is_kept_with_its_model_comes_back(
    store: RunStore, tmp_path: Path
) -> None:
    record = make_record(store, "lmf")
    sizes = dict.fromkeys(MODALITIES, 3)
    form = InputForm(DataSpec(sizes, sizes, MODALITIES), {})
    (record.path / INPUTS).write_text(form.to_json())
    sync(store, uri_of(store))
    (remote,) = remote_runs(uri_of(store))
    assert MODEL_ID in remote.run.tags
    assert not list((store.root / "mlartifacts").glob(f"*/artifacts/record/{CHECKPOINT}"))
    other = RunStore(tmp_path / "other")
    assert fetch(uri_of(store), [remote], other, lambda _: None) == {}
    for name in (*RECORD_FILES, CHECKPOINT, INPUTS):
        fetched = (other.path(record.run_id) / name).read_bytes()
        assert fetched == (record.path / name).read_bytes()


def test_a_record_that_the_store_has_not_whole_is_told(store: RunStore, tmp_path: Path) -> None:
    spec, broken = specs_of("lmf")
    track(store, [spec, broken])
    (file,) = [
        path
        for path in store.root.rglob(f"mlartifacts/**/{METRICS}")
        if broken.run_id in path.read_text() or path.parent.name == "record"
    ][:1]
    file.unlink()
    other = RunStore(tmp_path / "other")
    problems = fetch(uri_of(store), remote_runs(uri_of(store)), other, lambda _: None)
    assert list(problems.values()) == ["in the tracking store its record lacks metrics.json"]
    assert len(other.records()) == 1


def test_what_is_fetched_is_checked_and_loses_nothing(store: RunStore, tmp_path: Path) -> None:
    specs = specs_of("lmf")
    track(store, specs)
    (store.root / "mlartifacts").rename(store.root / "aside")  # links to the records
    shutil.copytree(store.root / "aside", store.root / "mlartifacts")
    for file in store.root.glob(f"mlartifacts/**/{CHECKPOINT}"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        (file.parent / "stray.txt").write_text("nobody asked for it")
    other = RunStore(tmp_path / "other")
    state = other.partial(specs[0].run_id) / "resume.pt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"of an interrupted run")
    with other.lock(specs[1].run_id):
        problems = fetch(uri_of(store), remote_runs(uri_of(store)), other, lambda _: None)
    assert CHECKPOINT in problems[specs[0].run_id]
    assert "another hash" in problems[specs[0].run_id]
    assert problems[specs[1].run_id] == "another process works on this run"
    assert not other.trained_records()
    assert [path.name for path in state.parent.iterdir()] == ["resume.pt"]
    assert not list(other.root.rglob("stray.txt"))


def test_no_store_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"nowhere\.db failed"):
        from_mlflow(f"sqlite:///{tmp_path}/nowhere.db", None, RunStore(tmp_path), print)


def test_an_experiment_is_its_plans_runs_and_says_what_is_missing(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.prepare()
    specs = [make_run_spec("lmf", regime) for regime in ("clean", "spectrum")]
    for experiment, spec in zip(("mine", "theirs"), specs, strict=True):
        Plan.of(experiment, f"plan {experiment}", experiment, "", [spec]).save(store)
    deleted = make_run_spec("lmf", seed=9)
    title = "Table 6: ablations of QA-MoE"  # of the named plan paper/table6
    Plan.of("both", title, "mine", "", [specs[0], deleted]).save(store)
    for regime in ("clean", "spectrum"):
        make_record(store, "lmf", regime)
    records = {r.spec.regime.name: r.run_id for r in store.records()}
    only = of_experiment(store, "mine")
    assert set(only) == {specs[0].run_id, deleted.run_id}
    assert set(of_experiment(store, "plan theirs")) == {specs[1].run_id}
    assert set(of_experiment(store, "paper/table6")) == set(only)
    other = replace(deleted, dataset="mosi")
    Plan.of("other", "plan theirs", "mosi", "", [other]).save(store)
    assert len(of_experiment(store, "plan theirs")) == 2
    assert set(of_experiment(store, "plan theirs", "mosi")) == {deleted.run_id}
    assert len(of_experiment(store, "plan theirs", "renamed since")) == 2
    (results,) = load(store, only=only)
    assert [record.run_id for record in results.records] == [records["clean"]]
    assert dict(results.problems) == {deleted.run_id: "no record: deleted, or not run yet"}
    with pytest.raises(BenchmarkError, match=r"unknown experiment 'mein'.*mine"):
        of_experiment(store, "mein")
