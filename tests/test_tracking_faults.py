"""Tracking that fails, is slow or is shared: training goes on, and nothing is lost or doubled."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow.tracking import MlflowClient

from benchmark.errors import BenchmarkError
from benchmark.execution.events import Event
from benchmark.records import RunStore
from benchmark.tracking import place
from benchmark.tracking.background import PATIENCE
from benchmark.tracking.live import Tracker
from benchmark.tracking.mlflow_store import load
from benchmark.tracking.place import default_uri
from benchmark.tracking.server import serve_ui
from benchmark.tracking.sync import sync
from benchmark.tracking.tracked import RUN_ID
from tests.forks import be
from tests.tiny import Command, free_port
from tests.tracked_store import (
    curve,
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


@pytest.fixture
def store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return prepared_store(tmp_path / "runs", tmp_path_factory)


@pytest.fixture
def closed_port() -> int:
    return free_port()


@pytest.mark.parametrize("scheme", ["http", "postgresql+psycopg"])
def test_a_dead_server_stops_nothing(store: RunStore, closed_port: int, scheme: str) -> None:
    said: list[str] = []
    uri = f"{scheme}://somebody:secret@127.0.0.1:{closed_port}"
    specs = specs_of("qamoe")
    begun = time.monotonic()
    tracker = Tracker(uri, "synthetic", store, said.append)
    tracker.open(plan_of(specs))
    for spec in specs:
        train(tracker, spec)
        finish(tracker, store, spec)
    tracker.close()
    assert time.monotonic() - begun < 10
    assert tracker.behind
    (line,) = said
    assert "tracking is behind" in line
    assert "benchmark sync" in line
    assert "\n" not in line
    assert "Connection refused" in line
    assert "secret" not in line
    with pytest.raises(BenchmarkError, match=str(closed_port)):
        sync(store, uri)
    assert str(sync(store, uri_of(store))) == "2 runs made, 0 updated, 0 already there"
    assert len(found(store, "plan")) == 1


@pytest.fixture
def silent_server() -> Iterator[str]:
    """A server that takes every connection and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("what", ["server", "lock"])
def test_a_store_that_hangs_costs_a_plan_five_seconds_in_all(
    store: RunStore, silent_server: str, what: str
) -> None:
    uri = silent_server if what == "server" else uri_of(store)
    holder = FileLock(store.root / "mlflow.db.lock")
    if what == "lock":
        holder.acquire()
    load()
    said: list[str] = []
    specs = specs_of("qamoe")
    tracker = Tracker(uri, "synthetic", store, said.append, said.append)
    begun = time.monotonic()
    tracker.open(plan_of(specs))
    for spec in specs:
        train(tracker, spec)
        tracker.handle(spec, Event(spec.run_id, "failed", message="out of memory"))
    assert time.monotonic() - begun < PATIENCE / 2  # a plan waits for nothing
    tracker.close()
    assert time.monotonic() - begun < 1.5 * PATIENCE  # and at its end once for all runs
    warning, figure = said
    assert "tracking is behind" in warning
    assert ("no answer" if what == "server" else "mlflow.db.lock") in warning
    assert re.search(r"longest wait [4-7]\.\d s", figure)
    holder.release()


def test_what_a_locked_database_missed_is_filled_in(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "LOCK_SECONDS", 0.1)
    said: list[str] = []
    done, failed = specs_of("qamoe")
    holder = sqlite3.connect(store.root / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    tracker = open_tracker(store, [done, failed], warn=said.append, say=said.append)
    train(tracker, done)
    finish(tracker, store, done)
    tracker.handle(failed, Event(failed.run_id, "failed", message="out of memory"))
    settled(tracker)
    assert tracker.behind
    holder.close()
    tracker.close()
    assert not tracker.behind
    assert said[0].startswith("tracking is behind: ")
    assert said[1].endswith("; it has caught up")
    status = {run.data.tags[RUN_ID]: run.info.status for run in found(store)}
    assert status == {done.run_id: "FINISHED", failed.run_id: "FAILED"}


def test_a_failure_in_the_middle_leaves_no_gap(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (spec, _) = specs_of("qamoe")
    tracker = open_tracker(store, [spec])
    train(tracker, spec, last=1)
    settled(tracker)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", full)
        train(tracker, spec, first=2, last=2)
        settled(tracker)
    train(tracker, spec, first=3, last=3)
    finish(tracker, store, spec)
    tracker.close()
    (run,) = found(store)
    assert [step for step, _ in curve(store, run, "train/loss")] == [1, 2, 3]
    assert run.info.status == "FINISHED"


def test_a_database_deleted_under_a_plan_is_made_again(store: RunStore) -> None:
    first, second = specs_of("qamoe")
    said: list[str] = []
    tracker = open_tracker(store, [first, second], warn=said.append)
    train(tracker, first)
    finish(tracker, store, first)
    settled(tracker)
    (store.root / "mlflow.db").unlink()
    train(tracker, second)
    finish(tracker, store, second)
    tracker.close()
    assert len(said) == 1
    assert {run.info.status for run in found(store)} == {"FINISHED"}
    assert len(found(store)) == 2


@pytest.mark.parametrize("damage", ["text", "folder", "path"])
def test_a_damaged_database_is_one_clear_line(tmp_path: Path, damage: str) -> None:
    root = tmp_path / ("what?" if damage == "path" else "runs")
    root.mkdir()
    if damage == "text":
        (root / "mlflow.db").write_text("this is no database" * 100)
    elif damage == "folder":
        (root / "mlflow.db").mkdir()
    said: list[str] = []
    store = RunStore(root)
    specs = specs_of("qamoe")
    tracker = open_tracker(store, specs, warn=said.append)
    train(tracker, specs[0])
    finish(tracker, store, specs[0])
    tracker.close()
    assert len(said) == 1
    with pytest.raises(BenchmarkError, match=r"mlflow\.db"):
        sync(store, uri_of(store))


def track(root: Path, finishes: bool) -> None:
    """Two runs, from the moment when ``go`` is there."""
    store, specs = RunStore(root), specs_of("qamoe")
    while not (root / "go").exists():
        time.sleep(0.001)
    tracker = open_tracker(store, specs, warn=pytest.fail)
    for spec in specs:
        train(tracker, spec)
        if finishes:
            finish(tracker, store, spec)
    tracker.close()


def test_two_processes_that_meet_a_fresh_database_make_no_duplicates(tmp_path: Path) -> None:
    both = []
    for finishes in (True, False):
        both.append(os.fork())
        if not both[-1]:
            be(lambda finishes=finishes: track(tmp_path, finishes))
    (tmp_path / "go").touch()
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in both] == [0, 0]
    store = RunStore(tmp_path)
    assert len(found(store, "plan")) == 1
    assert sorted(run.data.tags[RUN_ID] for run in found(store)) == sorted(
        spec.run_id for spec in specs_of("qamoe")
    )


def test_the_ui_says_what_is_wrong(store: RunStore, tmp_path: Path, closed_port: int) -> None:
    with pytest.raises(BenchmarkError, match="no tracking database"):
        serve_ui(default_uri(tmp_path / "nothing"), port=closed_port)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", closed_port))
        taken.listen()
        with pytest.raises(BenchmarkError, match=f"{closed_port}: Address already"):
            serve_ui(uri_of(store), port=closed_port)
    with pytest.raises(BenchmarkError, match="cannot serve on nowhere"):
        serve_ui(uri_of(store), host="nowhere.invalid", port=closed_port)
    with pytest.raises(BenchmarkError, match="the tracking store ftp://server failed"):
        serve_ui("ftp://server", port=closed_port)
    said: list[str] = []
    serve_ui("http://server:5000", say=said.append)
    assert said == ["the tracking server has its own UI: http://server:5000"]


def test_the_ui_is_a_server_to_track_on_and_leaves_nothing_behind(
    store: RunStore, tmp_path: Path, closed_port: int
) -> None:
    first, second = specs_of("qamoe")
    tracker = open_tracker(store, [first])
    finish(tracker, store, first)
    tracker.close()
    ui = Command("ui", "--runs-dir", store.root, "--port", closed_port)
    try:
        ui.until(lambda: ui.said().endswith("\n"))
        line = ui.said()
        server = f"http://127.0.0.1:{closed_port}"
        assert f"{server}/#/experiments/" in line
        assert "protocol_III_mae" in line
        elsewhere = RunStore(tmp_path / "elsewhere")
        said: list[str] = []
        remote = Tracker(server, "remote", elsewhere, said.append)
        remote.open(replace(plan_of([first, second], "plan-2"), experiment="remote"))
        train(remote, first)
        finish(remote, elsewhere, first)
        settled(remote)
        assert not remote.behind
        (run,) = found(store, experiment="remote")
        assert run.info.status == "FINISHED"
        train(remote, second, last=1)
        settled(remote)
        os.kill(ui.pid, signal.SIGINT)
        ended = ui.wait()
        assert ended.returncode == 0
        assert ended.stdout.removeprefix(line).strip() == "stopped"
    finally:
        ui.kill()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", closed_port)) != 0
    train(remote, second, first=2)
    finish(remote, elsewhere, second)
    remote.close()
    assert remote.behind
    assert len(said) == 1


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_dead_terminal_leaves_no_server(
    store: RunStore, closed_port: int, number: signal.Signals
) -> None:
    ui = Command("ui", "--runs-dir", store.root, "--port", closed_port)
    ui.until(lambda: "MLflow UI" in ui.said())
    os.kill(ui.pid, number)
    assert ui.wait().returncode == -number
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and answers(closed_port):
        time.sleep(0.1)
    assert not answers(closed_port)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
