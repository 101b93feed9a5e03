"""How long a plan still takes: against plans whose every second is known."""

from __future__ import annotations

import heapq

import pytest

from benchmark.execution.events import Event
from benchmark.execution.timeleft import Cost, TimeLeft


def played(costs: dict[str, Cost], workers: int, pace: float) -> list[tuple[float, Event]]:
    """The events of a plan of which every run takes ``pace`` times its cost, and when it ends."""
    free = [0.0] * workers
    events = []
    for run_id, cost in costs.items():
        start = heapq.heappop(free)
        events.append((start, Event(run_id, "started", 0, 10)))
        for epoch in range(1, 11):
            at = start + pace * cost.training * epoch / 10
            events.append((at, Event(run_id, "epoch", epoch, 10)))
        for row in range(1, 5):
            at = start + pace * (cost.training + cost.table * row / 4)
            events.append((at, Event(run_id, "evaluating", row, 4)))
        end = start + pace * cost.seconds
        events.append((end, Event(run_id, "finished")))
        heapq.heappush(free, end)
    return sorted(events, key=lambda event: event[0])


PLAN = {f"long{k}": Cost(200.0, 100.0) for k in range(3)} | {
    f"short{k}": Cost(20.0, 5.0) for k in range(4)
}


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_with_a_right_estimate_it_is_right_all_along(workers) -> None:
    events = played(PLAN, workers, 1.0)
    left, end = TimeLeft(PLAN, workers, len(PLAN)), events[-1][0]
    assert left.of_all(0.0) == pytest.approx(end)
    for now, event in events:
        left.handle(event, now)
        simultaneous = [e for at, e in events if at == now]
        if event == simultaneous[-1] and event.kind in ("epoch", "evaluating"):
            assert left.of_all(now) == pytest.approx(end - now, abs=1e-6)


def test_a_wrong_estimate_is_mended_by_what_is_seen() -> None:
    events = played(PLAN, 2, 3.0)
    left, end = TimeLeft(PLAN, 2, len(PLAN)), events[-1][0]
    assert left.of_all(0.0) == pytest.approx(end / 3)
    for now, event in [e for e in events if e[0] <= end / 4]:
        left.handle(event, now)
    assert left.of_all(end / 4) == pytest.approx(0.75 * end, rel=0.05)


def test_without_an_estimate_it_is_silent_first_and_then_close() -> None:
    costs = {f"r{k}": Cost(90.0, 9.0) for k in range(4)}
    events = played(costs, 2, 1.0)
    left, end = TimeLeft({}, 2, 4), events[-1][0]
    assert left.of_all(0.0) is None
    for now, event in [e for e in events if e[0] <= 30]:
        left.handle(event, now)
    assert left.of_all(30.0) == pytest.approx(end - 30, rel=0.05)


def test_a_run_that_goes_on_is_not_credited_with_what_was_done_before() -> None:
    cost = {"r": Cost(100.0, 10.0)}
    left = TimeLeft(cost, 1, 1)
    left.handle(Event("r", "started", 8, 10), 0.0)
    assert left.of_all(0.0) == pytest.approx(30.0)
    left.handle(Event("r", "epoch", 9, 10), 10.0)
    assert left.of_run("r", 12.0) == pytest.approx(18.0)
    left.handle(Event("r", "evaluating", 0, 4), 20.0)
    left.handle(Event("r", "finished"), 30.0)
    assert left.of_all(30.0) == 0.0
    assert left.of_run("r", 30.0) is None


def test_what_another_process_has_is_still_to_come() -> None:
    left = TimeLeft({"a": Cost(10.0, 0.0), "b": Cost(10.0, 0.0)}, 1, 2)
    left.handle(Event("a", "waiting"), 0.0)
    assert left.of_all(0.0) == pytest.approx(20.0)
