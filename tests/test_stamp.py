"""A store that nothing has touched since it was made equal to the records is not opened again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.records import RunStore
from benchmark.tracking.parents import Plan
from benchmark.tracking.place import ARTIFACTS, default_uri
from benchmark.tracking.stamp import KEPT, is_current, remember
from tests.records import make_record


@pytest.fixture
def plan(store: RunStore) -> Plan:
    specs = [make_record(store, seed=seed).spec for seed in (1, 2)]
    (store.root / "mlflow.db").write_bytes(b"a database")
    (store.root / ARTIFACTS / "1").mkdir(parents=True)
    (store.root / ARTIFACTS / "1" / "table.md").write_text("a table")
    return Plan.of("0123456789ab", "a title", "tiny", "", specs)


def test_what_nobody_touched_is_current_once_it_was_remembered(store, plan) -> None:
    uri = default_uri(store.root)
    assert not is_current(store, uri, plan)
    remember(store, uri, plan)
    assert is_current(store, uri, plan)
    other = Plan.of("ba9876543210", "another", "tiny", "", [])
    assert not is_current(store, uri, other)
    remember(store, uri, other)
    assert is_current(store, uri, plan)


def change_database(root: Path) -> None:
    (root / "mlflow.db").write_bytes(b"another one")


def lose_database(root: Path) -> None:
    (root / "mlflow.db").unlink()


def lose_artifact(root: Path) -> None:
    (root / ARTIFACTS / "1" / "table.md").unlink()


def edit_record(root: Path) -> None:
    path = next(root.glob("[0-9a-f]*/metrics.json"))
    path.write_bytes(path.read_bytes())


def damage_stamp(root: Path) -> None:
    (root / KEPT).write_text("{}")


@pytest.mark.parametrize(
    "change", [change_database, lose_database, lose_artifact, edit_record, damage_stamp]
)
def test_any_change_is_seen(store, plan, change) -> None:
    uri = default_uri(store.root)
    remember(store, uri, plan)
    change(store.root)
    assert not is_current(store, uri, plan)


def test_a_server_is_always_asked(store, plan) -> None:
    remember(store, "http://127.0.0.1:5000", plan)
    assert not is_current(store, "http://127.0.0.1:5000", plan)
