"""Work in forked processes: the same as in one, whatever happens to them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from benchmark import forks
from benchmark.forks import on_all_cores
from benchmark.records import DamagedError, glance
from benchmark.records.glance import KEPT, glances
from benchmark.records.reader import ForeignError
from tests.records import make_record


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no thread but those of the test: others' tests may have left some."""
    count, before = threading.active_count, threading.active_count()
    monkeypatch.setattr(threading, "active_count", lambda: count() - before + 1)
    monkeypatch.setattr(forks, "cores", lambda: 2)


def test_results_come_in_the_order_of_the_items_and_from_other_processes() -> None:
    found = list(on_all_cores(lambda n: (n * n, os.getpid()), range(100), 2))
    assert [square for square, _ in found] == [n * n for n in range(100)]
    assert os.getpid() not in {process for _, process in found}


def test_few_items_and_what_is_done_beside_a_thread_stay_here() -> None:
    assert set(on_all_cores(lambda _: os.getpid(), range(3), 3)) == {os.getpid()}
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        assert set(on_all_cores(lambda _: os.getpid(), range(30), 3)) == {os.getpid()}
    finally:
        done.set()
        thread.join()


def test_an_error_is_raised_here() -> None:
    def work(n: int) -> int:
        if n == 17:
            raise DamagedError(Path("x"), "odd", "mend it")
        return n

    with pytest.raises(DamagedError, match=r"x: odd. mend it") as error:
        list(on_all_cores(work, range(40), 2))
    assert error.value.brief == "x: odd"


def test_what_a_killed_process_had_to_do_is_done_here() -> None:
    here = os.getpid()

    def work(n: int) -> int:
        if n == 5 and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return -n

    assert list(on_all_cores(work, range(40), 2)) == [-n for n in range(40)]


def test_a_list_of_several_processes_is_that_of_one(store, monkeypatch) -> None:
    made = [make_record(store, seed=seed) for seed in range(1, 9)]
    content = bytearray((made[0].path / "metrics.json").read_bytes())
    content[len(content) // 2] ^= 1
    (made[0].path / "metrics.json").write_bytes(content)
    (made[1].path / "history.csv").unlink()
    made[2].path.rename(store.path("0" * 12))
    alone, problems = glances(store)
    kept = (store.root / KEPT).read_bytes()
    (store.root / KEPT).unlink()
    monkeypatch.setattr(glance, "_FEW", 0)
    several, same = glances(store)
    assert several == alone
    assert len(several) == 5
    assert (store.root / KEPT).read_bytes() == kept
    assert {i: (type(e), str(e)) for i, e in same.items()} == {
        i: (type(e), str(e)) for i, e in problems.items()
    }
    assert isinstance(same["0" * 12], ForeignError)
