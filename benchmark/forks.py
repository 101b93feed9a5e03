"""Work in processes begun with ``fork``: each has what this one has in its memory already, so that
only the place of what is to be done is sent, and what comes of it comes back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_PARTS, _MOST = 8, 64
"""Parts of each process, and items of a part at most: none has much left to do when the others are
done, or when it is told to stop."""


def cores() -> int:
    """The cores that this process may use; 1 where it cannot fork."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


@contextmanager
def forked(
    work: Callable[[int], R], processes: int, give_way: int = 0
) -> Iterator[Callable[[int], Future[R]]]:
    """Processes that do a part of some work each time they are asked.

    Args:
        work: what is done for a place; it is inherited, and may be any function.
        processes: how many.
        give_way: what is added to their niceness.

    Yields:
        What asks for a place's part. After an error nothing more is begun.
    """
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, context, _inherit, (work, give_way)) as pool:
        try:
            yield lambda place: pool.submit(_do, place)
        finally:
            pool.shutdown(cancel_futures=True)


def on_all_cores(work: Callable[[T], R], items: Sequence[T], few: int) -> Iterator[R]:
    """What comes of each item, in their order. It is begun now; who takes it has time meanwhile.

    Args:
        work: what is done for an item; what comes of it is sent between processes.
        items: which there are.
        few: so many are done here, sooner than a process would be begun. So is all of it beside
            another thread, which may hold a lock that would be held in the new process for ever.
    """
    count = cores()
    if count < 2 or len(items) <= few or threading.active_count() > 1:
        return map(work, items)
    size = max(1, min(_MOST, len(items) // (count * _PARTS)))
    parts = [items[start : start + size] for start in range(0, len(items), size)]

    def do(place: int) -> list[R]:
        return [work(item) for item in parts[place]]

    found = _in_order(do, len(parts), count)
    next(found)
    return found


def _in_order(do: Callable[[int], list[Any]], parts: int, count: int) -> Iterator[Any]:
    """Nothing once all parts are asked for, and then what comes of them."""
    with forked(do, count) as ask:
        pending = [ask(place) for place in range(parts)]
        yield None
        for place, one in enumerate(pending):
            yield from result(one, do, place)


def result(pending: Future[R], work: Callable[[int], R], place: int) -> R:
    """What comes of a place's part; where its process was killed, this one has time for it now."""
    try:
        return pending.result()
    except BrokenProcessPool:
        return work(place)


_work: Callable[[int], Any]


def _inherit(work: Callable[[int], Any], give_way: int) -> None:
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to answer
    threading.Thread(target=die_with_parent, daemon=True).start()
    os.nice(give_way)


def _do(place: int) -> Any:
    return _work(place)


def die_with_parent() -> None:
    """End this process when its parent is gone: what is killed leaves nothing running."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
