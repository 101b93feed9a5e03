"""A plan whose file cannot be read: its runs are not taken for those of another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.records import RunStore
from benchmark.tracking.live import Tracker
from benchmark.tracking.mirror import PARENT
from benchmark.tracking.sync import sync
from tests.records import make_record
from tests.tracked_store import finish, found, plan_of, prepared_store, specs_of, train, uri_of


@pytest.fixture
def store(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    return prepared_store(tmp_path / "runs", tmp_path_factory)


def spoil(store: RunStore) -> tuple[Path, bytes]:
    (path,) = (store.root / ".plans").iterdir()
    content = path.read_bytes()
    path.write_bytes(b"")
    return path, content


def test_a_tracker_knows_its_plan_without_the_file(store: RunStore) -> None:
    spec, _ = specs_of("qamoe")
    tracker = Tracker(uri_of(store), "synthetic", store)
    plan_of([spec]).save(store)
    tracker.open(plan_of([spec]))
    spoil(store)
    train(tracker, spec)
    finish(tracker, store, spec)
    tracker.close()
    (run,), (parent,) = found(store), found(store, "plan")
    assert run.data.tags[PARENT] == parent.info.run_id


def test_the_runs_of_a_broken_plan_wait_for_it(store: RunStore) -> None:
    """In no experiment but their own: that of another could not be taken back."""
    record = make_record(store)
    replace(plan_of([record.spec]), experiment="mine").save(store)
    path, content = spoil(store)
    report = sync(store, uri_of(store))
    assert (report.made, len(report.problems)) == (0, 2)
    assert str(path) in report.problems[0]
    assert record.run_id in report.problems[1]
    path.write_bytes(content)
    assert sync(store, uri_of(store)).made == 1
    assert len(found(store, experiment="mine")) == 1
