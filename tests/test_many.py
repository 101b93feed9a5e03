"""Many runs: what is looked at once, what is kept of each, and what is held in memory."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from benchmark.execution import covered
from benchmark.execution.covered import looked_at
from benchmark.plan import Planned
from benchmark.records import RunRecord, RunStore, glance
from benchmark.records import record as module
from benchmark.records.glance import KEPT, glances, headlines
from benchmark.records.record import Room
from benchmark.tracking.parents import PLAN, Plan, plans
from protocols import conditions
from tests.records import make_record, make_run_spec


def planned_of(record: RunRecord) -> Planned:
    return Planned(record.spec, record.table.conditions)


def looks(monkeypatch) -> list[str]:
    """The runs whose records are looked at from now on."""
    found: list[str] = []
    real = RunRecord.look
    monkeypatch.setattr(
        RunRecord, "look", lambda r, **how: (found.append(r.run_id), real(r, **how))[1]
    )
    return found


def pending(plan: list[Planned], store: RunStore) -> list[Planned]:
    return covered.pending(plan, looked_at(plan, store), store)


def test_what_is_complete_is_looked_at_once(store, monkeypatch) -> None:
    plan = [planned_of(make_record(store, seed=seed)) for seed in (1, 2, 3)]
    lacking = replace(make_run_spec(seed=4))
    plan.append(Planned(lacking, plan[0].conditions))
    looked = looks(monkeypatch)
    assert pending(plan, store) == plan[3:]
    assert len(looked) == 3
    assert pending(plan, store) == plan[3:]
    assert len(looked) == 3


def test_it_is_looked_at_again_once_anything_has_changed(store, monkeypatch) -> None:
    plan = [planned_of(make_record(store, seed=seed)) for seed in (1, 2)]
    assert not pending(plan, store)
    table = store.path(plan[0].spec.run_id) / "predictions.npz"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    assert pending(plan, store) == plan[:1]  # its files
    more = plan[1].conditions[-1]._replace(draw=7)
    asked = replace(plan[1], conditions=(*plan[1].conditions, more))
    assert pending([asked], store) == [asked]  # the question
    assert not pending(plan[1:], store)
    monkeypatch.setitem(conditions.RULE_VERSIONS, "zeroing", 99)
    assert pending(plan[1:], store) == plan[1:]  # the definitions
    monkeypatch.undo()
    assert not pending(plan[1:], store)
    looked = looks(monkeypatch)
    monkeypatch.setattr(glance, "looked_by", lambda: "other code")
    assert not pending(plan[1:], store)
    assert looked == [plan[1].spec.run_id]


@pytest.mark.parametrize("content", [b"", b"{", b'{"code": "x", "runs": {}}', b"[]"])
def test_what_was_kept_may_be_damaged(store, content) -> None:
    plan = [planned_of(make_record(store))]
    (store.root / KEPT).write_bytes(content)
    assert not pending(plan, store)


def test_a_list_and_a_plan_share_what_was_seen(store, monkeypatch) -> None:
    plan = [planned_of(make_record(store, seed=seed)) for seed in (1, 2)]
    other = make_record(store, seed=3)
    assert not pending(plan, store)
    looked = looks(monkeypatch)
    assert len(glances(store)[0]) == 3
    assert looked == [other.run_id]
    assert not pending(plan, store)
    assert not pending([planned_of(other)], store)  # which nobody has asked for anything yet
    assert looked == [other.run_id] * 2
    assert not pending([*plan, planned_of(other)], store)
    assert looked == [other.run_id] * 2


def test_a_summary_says_the_means_of_the_answers(store) -> None:
    """By pandas, of the record's own table of answers."""
    made = make_record(store)
    (found,) = looked_at([planned_of(made)], store)
    shown = {h.title: found.value(h) for h in headlines([found])}
    rows = made.metrics[made.metrics["protocol"].isin(["clean", "III", "grid"])]
    mean = rows.groupby("protocol")["mae"].mean()
    for title, protocol in (
        ("Clean test", "clean"),
        ("Protocol III", "III"),
        ("Grid mean", "grid"),
    ):
        assert shown[title] == pytest.approx(mean[protocol], rel=1e-12)


def test_records_hold_no_more_tables_than_there_is_room_for(store, monkeypatch) -> None:
    made = [make_record(store, seed=seed).path for seed in (1, 2, 3, 4)]
    size = RunRecord(made[0]).table.nbytes
    gc.collect()
    room, reads = Room(2 * size), []
    monkeypatch.setattr(module, "TABLE_ROOM", room)
    real = module.read_table
    monkeypatch.setattr(module, "read_table", lambda path: (reads.append(path), real(path))[1])
    records = [RunRecord(path) for path in made]
    tables = [record.table for record in records]
    assert room.left == 0
    assert [record.table is table for record, table in zip(records, tables, strict=True)] == [
        *(True, True, False),
        False,  # asking for the third has taken its place
    ]
    assert records[3].table is records[3].table
    assert [reads.count(path / "predictions.npz") for path in made] == [1, 1, 2, 2]
    del records, tables
    gc.collect()
    assert room.left == 2 * size


def test_a_search_keeps_each_run_it_begins_in_a_line(store: RunStore) -> None:
    """Its file is not written again; a line that a kill cut short costs no other."""
    kept = Plan("study", "t", "data", "", 1.0, (), {}, kind="search").save(store)
    (path,) = (store.root / ".plans").glob("*.json")
    before, ids = path.stat().st_mtime_ns, [f"{n:012x}" for n in range(4)]
    for run_id in ids[:2]:
        kept.add(store, run_id, f"trial {run_id}")
    with path.with_suffix(".added").open("a") as stream:
        stream.write(f'\n["{ids[2]}", "cut sho')
    kept.add(store, ids[3], "the last")
    assert path.stat().st_mtime_ns == before
    (read,) = plans(store)
    assert read.run_ids == (ids[0], ids[1], ids[3])
    assert read.titles[ids[3]] == "the last"
    read.save(store)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert plans(store) == [read]
    assert kept.kind != PLAN
