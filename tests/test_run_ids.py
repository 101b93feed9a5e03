"""A run is named by its id, or by as much of it as no other run shares."""

from __future__ import annotations

import pytest

from benchmark.errors import BenchmarkError
from benchmark.files import is_locked
from benchmark.records import RunStore


def folders(store: RunStore, *run_ids: str) -> None:
    for run_id in run_ids:
        store.path(run_id).mkdir()


def test_a_beginning_names_the_only_run_that_has_it(store) -> None:
    folders(store, "0123456789ab", "01ffffffffff", "abcdefabcdef")
    assert store.find("a") == "abcdefabcdef"
    assert store.find("012") == "0123456789ab"
    assert store.find("ffffffffffff") == "ffffffffffff"  # whole: what it lacks its reader says


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("01", "2 runs begin with '01': 0123456789ab, 01ffffffffff"),
        ("9", "no run begins with '9'"),
        ("", "is no run id"),
        ("../0123", "is no run id"),
        ("0123456789abc", "is no run id"),
    ],
)
def test_what_names_no_run_or_several_is_said(store, given, said) -> None:
    folders(store, "0123456789ab", "01ffffffffff")
    with pytest.raises(BenchmarkError) as error:
        store.find(given)
    assert said in str(error.value)


def test_a_lock_that_may_only_be_read_is_seen_and_looking_takes_nothing(store) -> None:
    run_id = "a" * 12
    lock = store.lock(run_id)
    with lock:
        path = store.root / ".locks" / run_id
        path.chmod(0o444)
        store.partial(run_id).mkdir(parents=True)
        assert store.unfinished() == {run_id: "running"}
    path.chmod(0o644)
    assert not is_locked(path)
    with lock.acquire(timeout=0):
        assert is_locked(path)
    assert not is_locked(path.with_name("none"))
