"""Records with damaged files: named one by one, made anew where asked, and no harm to others."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.efficiency.kept import FOLDER, kept
from benchmark.errors import BenchmarkError
from benchmark.execution.execute import execute
from benchmark.plan import PlanConfig, plan_conditions, plan_runs
from benchmark.records import (
    CHECKPOINT,
    CONFIG,
    ENVIRONMENT,
    ERROR,
    HISTORY,
    INPUTS,
    METRICS,
    PREDICTIONS,
    TRAINED_FILES,
    VALIDATION,
    DamagedError,
    RunRecord,
    RunStore,
)
from benchmark.records.reader import read_json
from benchmark.seal import sealed, unsealed
from benchmark.table import to_bytes
from protocols.conditions import at_level
from tests.clock import within
from tests.records import make_record, make_table
from tests.tiny import QUICK, benchmark

FILES = (CONFIG, ENVIRONMENT, HISTORY, CHECKPOINT, INPUTS, PREDICTIONS, METRICS, VALIDATION)
OTHER_TYPE = {".yaml": b"- 1\n- 2\n", ".json": b'["a", 1]', ".csv": b"a,b\n1\n2,3,4\n"}


def other_type(path: Path) -> None:
    """A sound file of the kind that its name says, with something else in it."""
    if path.suffix == ".npz":
        np.savez(path, prediction=np.full((2, 3), np.nan), version=np.array("x"))
    else:
        path.write_bytes(OTHER_TYPE.get(path.suffix, b"\x02\0\0\0\0\0\0\0{}"))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    place = len(content) // 2
    if path.suffix == ".npz":  # not in the archive's own dates: in the first array's content
        place = content.index(b"\n", content.index(b"\x93NUMPY")) + 1
    content[place] ^= 1
    path.write_bytes(content)


def huge(path: Path) -> None:
    os.truncate(path, 20 * 2**30)  # of holes: it takes no room


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inner").write_text("x")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_a_pipe(path: Path) -> None:
    path.unlink()
    target = path.parent.parent / f".{path.name}.pipe"
    target.unlink(missing_ok=True)
    os.mkfifo(target)
    path.symlink_to(target)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "absent": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "random": lambda path: path.write_bytes(np.random.default_rng(1).bytes(700)),
    "other type": other_type,
    "flipped bit": flip_a_bit,
    "huge": huge,
    "folder": folder,
    "pipe": pipe,
    "link to a pipe": link_to_a_pipe,
}
CASES = [(name, damage) for name in FILES for damage in DAMAGES]
HARMLESS = {(INPUTS, "absent"), (VALIDATION, "absent"), (CHECKPOINT, "absent")}
"""A record may be without these."""


CHANGES = {
    "dataset": "tiny",
    "models": ("qamoe",),
    "regimes": ("clean",),
    "protocol": "clean",
    "seeds": (1, 2),
    "model": {"width": 16, "encoder_heads": 2},
    "training": {"epochs": 1},
    "evaluation": {"draws": 1},
}
VALID = (at_level("seed_a1", 0, 0.5, 7),)


@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    """Two runs of a plan with a validation table each: (specs, conditions, store)."""
    request = PlanConfig(**CHANGES)
    specs, conditions = plan_runs(request, tiny), plan_conditions(request, tiny)
    store = RunStore(tmp_path_factory.mktemp("sound"))
    for spec in specs:
        execute(spec, tiny, conditions, store, lambda event: None, validation=VALID)
    return specs, conditions, store


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def ward(tmp_path_factory) -> tuple[RunStore, dict[str, tuple[str, str]], str]:
    """A record for every damage and a sound one: (store, run id -> damage, the sound one's id)."""
    store = RunStore(tmp_path_factory.mktemp("ward"))
    damaged, table = {}, make_table(n=4)
    for seed, (name, damage) in enumerate(CASES, 1):
        record = make_record(store, seed=seed, table=table)
        path = record.path / name
        if name == INPUTS:
            path.write_text(json.dumps(sealed({"present": ["text"]})))
        if name == VALIDATION:
            path.write_bytes(to_bytes(make_table(n=4, protocols=("clean",))))
        DAMAGES[damage](path)
        damaged[record.run_id] = (name, damage)
    return store, damaged, make_record(store, seed=0, table=table).run_id


def test_every_damage_is_a_problem_of_its_record_and_file(ward) -> None:
    store, damaged, sound = ward
    with within():
        survey = store.survey(tables=True)
    found = {run_id: error.path.name for run_id, error in survey.problems.items()}
    assert found == {i: case[0] for i, case in damaged.items() if case not in HARMLESS}
    assert sound in {record.run_id for record in survey.records}
    for run_id, error in survey.problems.items():
        assert str(store.path(run_id)) in str(error)
        assert "\n" not in str(error)
        assert "benchmark run" in str(error)


def test_the_commands_name_them_and_show_the_others(ward, tmp_path) -> None:
    store, damaged, sound = ward
    listed = benchmark("list", "runs", "--runs-dir", store.root)
    assert (listed.returncode, listed.stderr) == (0, "")
    rows = {line.split()[0]: line for line in listed.stdout.splitlines() if line.strip()}
    assert "finished" in rows[sound]
    seen = {i for i, row in rows.items() if "broken: " in row}
    assert seen >= {i for i, d in damaged.items() if d not in HARMLESS}
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    synced = benchmark("sync", "--runs-dir", store.root, "--tracking-uri", uri)
    assert synced.returncode in (0, 1), synced.stderr
    assert "Traceback" not in synced.stderr
    reported = benchmark("report", "--runs-dir", store.root, "--out", tmp_path / "out")
    assert reported.returncode == 0, reported.stderr
    assert "Traceback" not in reported.stderr


@pytest.mark.parametrize(("name", "damage"), CASES)
def test_a_run_makes_what_is_damaged_anew(tiny, made, tmp_path, name, damage) -> None:
    (spec, other), conditions, sound = made
    store = RunStore(tmp_path)
    for run_id in (spec.run_id, other.run_id):
        shutil.copytree(sound.path(run_id), store.path(run_id))
    DAMAGES[damage](store.path(spec.run_id) / name)
    events = []
    execute(spec, tiny, conditions, store, events.append, validation=VALID)
    before, after = (contents(s.path(spec.run_id)) for s in (sound, store))
    assert before.keys() == after.keys()
    for file in FILES:
        if file != ENVIRONMENT:  # it has times
            assert after[file] == before[file], file
    assert contents(store.path(other.run_id)) == contents(sound.path(other.run_id))
    notes = [event.message for event in events if event.kind == "note"]
    trained = name in (*TRAINED_FILES, CHECKPOINT)
    assert [name in note for note in notes] == ([True] if trained or damage != "absent" else [])
    assert trained == any(event.kind == "epoch" for event in events)
    assert not store.partial(spec.run_id).exists()


def test_a_record_without_its_checkpoint_is_reported_and_kept(tiny, made, tmp_path) -> None:
    (spec, _), conditions, sound = made
    store = RunStore(tmp_path)
    shutil.copytree(sound.path(spec.run_id), store.path(spec.run_id))
    (store.path(spec.run_id) / CHECKPOINT).unlink()
    survey = store.survey(tables=True)
    assert [record.run_id for record in survey.records] == [spec.run_id]
    before, events = contents(store.path(spec.run_id)), []
    assert execute(spec, tiny, conditions, store, events.append) == "kept"
    assert contents(store.path(spec.run_id)) == before
    assert [event.kind for event in events] == ["kept"]
    refused = benchmark("predict", spec.run_id, "none.npz", "--runs-dir", tmp_path)
    assert refused.returncode == 2
    assert CHECKPOINT in refused.stderr


def test_the_command_says_what_it_makes_anew(data_dir, tmp_path) -> None:
    command = [
        *("run", *QUICK, "--regime", "clean", "--protocol", "clean", "--seeds", "1,2"),
        *("--epochs", "1", "--workers", "1", "--data-dir", data_dir, "--runs-dir", tmp_path),
        *("--tracking-uri", "none"),
    ]
    assert benchmark(*command).returncode == 0
    one, two = RunStore(tmp_path).records()
    (one.path / PREDICTIONS).write_bytes(b"")
    flip_a_bit(two.path / CONFIG)
    done = benchmark(*command)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "2 to do" in said
    assert f"({one.run_id}): {PREDICTIONS}: damaged, or no .npz file" in said
    assert f"({two.run_id}): {CONFIG}: " in said
    assert "it is trained again" in said
    assert "0 to do" in benchmark(*command).stdout


def test_the_record_of_another_run_is_refused_and_kept(tiny, made, tmp_path) -> None:
    (spec, other), conditions, sound = made
    store = RunStore(tmp_path)
    shutil.copytree(sound.path(other.run_id), store.path(spec.run_id))
    with pytest.raises(DamagedError, match=f"{CONFIG}: it is of run {other.run_id}"):
        execute(spec, tiny, conditions, store, lambda event: None)
    assert contents(store.path(spec.run_id)) == contents(sound.path(other.run_id))


@pytest.mark.parametrize("name", [PREDICTIONS, VALIDATION, CHECKPOINT, ENVIRONMENT])
def test_a_file_of_another_run_is_not_believed(tiny, made, tmp_path, name) -> None:
    (spec, other), _, sound = made
    store = RunStore(tmp_path)
    shutil.copytree(sound.path(spec.run_id), store.path(spec.run_id))
    shutil.copy(sound.path(other.run_id) / name, store.path(spec.run_id) / name)
    record = store.record(spec.run_id)
    with pytest.raises(DamagedError, match=name):
        _ = record.spec, record.checkpoint(), record.table, record.validation


def test_a_record_of_an_older_form_is_one_line(store) -> None:
    record = make_record(store)
    for name in (CONFIG, ENVIRONMENT, METRICS):
        path = record.path / name
        values = unsealed((yaml.safe_load if name == CONFIG else json.loads)(path.read_text()))
        path.write_text(json.dumps(values))
    (error,) = store.survey().problems.values()
    assert "older version" in str(error)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
KEYED = st.dictionaries(
    st.sampled_from(
        ["rows", "identity", "settings", "files", "run_id", "model", "scales", "table"]
    ),
    PLAIN,
)
CONTENT = st.one_of(
    st.binary(max_size=200),
    PLAIN.map(lambda value: json.dumps(value).encode()),
    KEYED.map(lambda value: json.dumps(sealed(value)).encode()),
    PLAIN.map(lambda value: yaml.safe_dump(value).encode("utf-8", "surrogatepass")),
)


@pytest.fixture(scope="module")
def patient(tmp_path_factory) -> RunRecord:
    return make_record(RunStore(tmp_path_factory.mktemp("patient")), n=4)


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(FILES), content=CONTENT)
def test_whatever_is_in_a_file_is_a_problem_or_sound(patient, name, content) -> None:
    path = patient.path / name
    before = path.read_bytes() if path.is_file() else None
    path.write_bytes(content)
    try:
        with within():
            survey = RunStore(patient.path.parent).survey(tables=True)
        assert len(survey.records) + len(survey.problems) == 1
        for record in survey.records:  # then all that it says can be had
            assert record.spec.run_id == patient.run_id
            assert {"protocol", "mae"} <= set(record.metrics)
    finally:
        path.unlink() if before is None else path.write_bytes(before)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(content=st.binary(max_size=300))
def test_whatever_is_in_error_txt_is_a_line(patient, content) -> None:
    store = RunStore(patient.path.parent)
    folder = store.partial("f" * 12)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ERROR).write_bytes(content)
    (state,) = store.unfinished().values()
    assert state.startswith("failed: ")
    assert state.isprintable()


def test_a_finished_run_is_not_called_interrupted(tiny, made, tmp_path) -> None:
    """What a kill leaves after the rename goes when the run is next touched."""
    (spec, _), conditions, sound = made
    store = RunStore(tmp_path)
    shutil.copytree(sound.path(spec.run_id), store.path(spec.run_id))
    left = store.partial(spec.run_id)
    left.mkdir(parents=True)
    (left / "resume.pt").write_bytes(b"x")
    (store.path(spec.run_id) / ".predictions.npz.4242").write_bytes(b"half")
    assert store.unfinished() == {}
    execute(spec, tiny, conditions, store, lambda event: None)
    assert not left.exists()
    assert not list(store.path(spec.run_id).glob(".*"))
    left.mkdir()
    store.close_all([spec.run_id])
    assert not left.exists()


def test_a_run_under_way_is_running_and_not_interrupted(store) -> None:
    run_id = "a" * 12
    store.partial(run_id).mkdir(parents=True)
    assert store.unfinished() == {run_id: "interrupted"}
    with store.lock(run_id):
        assert store.unfinished() == {run_id: "running"}
        store.close_all([run_id])  # not its business
        assert store.partial(run_id).exists()
    assert store.unfinished() == {run_id: "interrupted"}


def test_no_pipe_beside_the_records_keeps_a_command_waiting(store) -> None:
    made = make_record(store)
    (store.root / ".locks").mkdir(exist_ok=True)
    (store.root / FOLDER).mkdir()
    for name in (".probe", f".locks/{made.run_id}", f"{FOLDER}/x.json"):
        (store.root / name).unlink(missing_ok=True)
        os.mkfifo(store.root / name)
    store.prepare()
    assert not store.is_running(made.run_id)
    assert kept(store) == []


@pytest.mark.parametrize("name", [".locks", ".partial"])
def test_what_runs_cannot_work_in_is_said_before_they_begin(store, name) -> None:
    store.root.mkdir(exist_ok=True)
    (store.root / name).symlink_to("nowhere")
    with pytest.raises(BenchmarkError, match=f"{name} is no folder"):
        store.prepare()


def test_a_write_probe_follows_no_link(store, tmp_path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    store.root.mkdir(exist_ok=True)
    (store.root / ".probe").symlink_to(mine)
    store.prepare()
    assert mine.read_text() == "mine"


def test_a_link_that_leads_nowhere_in_a_records_place_is_replaced(tiny, made, tmp_path) -> None:
    (spec, _), conditions, sound = made
    store = RunStore(tmp_path)
    store.path(spec.run_id).symlink_to("nowhere")
    execute(spec, tiny, conditions, store, lambda event: None, validation=VALID)
    assert contents(store.path(spec.run_id)).keys() == contents(sound.path(spec.run_id)).keys()


def test_a_file_that_may_not_be_looked_at_is_not_called_missing(store, monkeypatch) -> None:
    path = make_record(store).path / METRICS
    real = Path.stat

    def stat(self: Path, **how: Any) -> os.stat_result:
        if self == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return real(self, **how)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(DamagedError, match="Permission denied"):
        read_json(path)
