"""A list of runs looks at a record once, and again as soon as anything of it has changed."""

from __future__ import annotations

import os

import pytest

from benchmark.records import DamagedError, RunRecord
from benchmark.records.glance import KEPT, glances
from tests.records import make_record


def fail(self: RunRecord) -> None:
    raise AssertionError("looked at again")


def test_what_has_not_changed_is_not_looked_at_again(store, monkeypatch) -> None:
    made = make_record(store)
    first, problems = glances(store)
    assert not problems
    assert [one.spec for one in first] == [made.spec]
    rows = made.metrics
    assert first[0].clean == rows[rows["protocol"] == "clean"]["mae"].item()
    monkeypatch.setattr(RunRecord, "look", fail)
    assert glances(store)[0] == first


def test_a_change_that_keeps_size_and_time_is_seen(store) -> None:
    made = make_record(store)
    glances(store)
    path = made.path / "metrics.json"
    before, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(b'"clean"', b'"cleam"', 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found, problems = glances(store)
    assert not found
    assert "metrics.json" in str(problems[made.run_id])
    path.write_bytes(content)
    assert [one.spec.run_id for one in glances(store)[0]] == [made.run_id]


def test_a_file_that_goes_and_a_record_that_comes_are_seen(store) -> None:
    made = make_record(store)
    glances(store)
    other = make_record(store, seed=2)
    (made.path / "history.csv").unlink()
    found, problems = glances(store)
    assert [one.spec.run_id for one in found] == [other.run_id]
    assert isinstance(problems[made.run_id], DamagedError)


@pytest.mark.parametrize("content", [b"", b"{", b'{"code": "x", "runs": {}}', b"[]"])
def test_what_was_kept_is_made_anew_where_it_cannot_be_believed(store, content) -> None:
    made = make_record(store)
    expected = glances(store)[0]
    (store.root / KEPT).write_bytes(content)
    assert glances(store)[0] == expected
    assert made.run_id in (store.root / KEPT).read_text()


@pytest.mark.parametrize("of", [0.3, 0.6, 0.9])
def test_a_flipped_bit_of_a_table_is_seen(store, of) -> None:
    made = make_record(store)
    path = made.path / "predictions.npz"
    content = bytearray(path.read_bytes())
    content[int(of * len(content))] ^= 1
    path.write_bytes(content)
    found, problems = glances(store)
    assert not found
    assert "predictions.npz" in str(problems[made.run_id])


def test_a_link_that_leads_nowhere_hides_no_change(store) -> None:
    made = make_record(store)
    (made.path / "notes").symlink_to("nowhere")
    assert len(glances(store)[0]) == 1
    (made.path / "history.csv").write_bytes(b"x")
    assert made.run_id in glances(store)[1]
