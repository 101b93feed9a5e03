"""How long a plan still takes: against plans whose every second is known."""

from __future__ import annotations

import heapq
import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmark.execution.events import ENDS, Event, EventKind
from benchmark.execution.progress import Display
from benchmark.execution.timeleft import ENOUGH, Cost, TimeLeft

Told = list[tuple[float, Event]]


def played(
    costs: dict[str, Cost],
    workers: int,
    pace: float = 1.0,
    start: float = 0.0,
    between: float = 0.0,
    first: float = 0.0,
) -> Told:
    """The events of a plan, and when each is told.

    Args:
        costs: what each run is expected to take.
        workers: runs at a time.
        pace: how many times longer it takes.
        start: seconds until a worker is there.
        between: seconds that a worker needs beside each run, to keep it and to begin the next.
        first: seconds that the first step of a worker takes beside its work.
    """
    free = [(start, first)] * workers
    events: Told = []
    for run_id, cost in costs.items():
        begun, cold = heapq.heappop(free)
        events.append((begun, Event(run_id, "started", 0, 10)))
        begun += cold
        for epoch in range(1, 11):
            at = begun + pace * cost.training * epoch / 10
            events.append((at, Event(run_id, "epoch", epoch, 10)))
        for row in range(1, 5):
            at = begun + pace * (cost.training + cost.table * row / 4)
            events.append((at, Event(run_id, "evaluating", row, 4)))
        end = begun + pace * cost.seconds + between / 2
        events.append((end, Event(run_id, "finished")))
        heapq.heappush(free, (end + between / 2, 0.0))
    return sorted(events, key=lambda event: event[0])


def said(left: TimeLeft, events: Told, every: float) -> Iterator[tuple[float, float | None]]:
    """The seconds that are left in truth, and what is said, at every tick until the end."""
    end, tick, told = events[-1][0], 0, 0
    while (now := tick * every) < end:
        while events[told][0] <= now:
            left.handle(events[told][1], events[told][0])
            told += 1
        yield end - now, left.of_all(now)
        tick += 1


PLAN = {f"long{k}": Cost(200.0, 100.0) for k in range(3)} | {
    f"short{k}": Cost(20.0, 5.0) for k in range(4)
}
SEARCH = {f"trial{k}": Cost(60.0, 6.0) for k in range(8)}
SMALL = {f"small{k}": Cost(1.5, 0.3) for k in range(12)}


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("pace", [0.5, 1.0, 6.0])
@pytest.mark.parametrize("start", [0.0, 15.0])
@pytest.mark.parametrize(
    ("plan", "timed"), [(PLAN, True), (SEARCH, True), (SEARCH, False), (SMALL, True)]
)
def test_from_the_moment_it_is_said_it_is_within_a_factor_of_two(
    plan, timed, workers, pace, start
) -> None:
    events = played(plan, workers, pace, start, between=1.0, first=5.0)
    end = events[-1][0]
    left = TimeLeft(plan if timed else {}, workers, len(plan))
    shown = [(true, seconds) for true, seconds in said(left, events, end / 200) if seconds]
    assert shown[0][0] > 0.6 * (end - start - 5.0)  # not only when most of it is over
    late = 2.0  # seconds: nobody minds them
    for true, seconds in shown:
        assert true / 2 - late < seconds < 2 * true + late


def test_two_workers_on_a_loaded_machine_are_not_said_to_be_nearly_done() -> None:
    """Timed alone a run takes 2.5 s; beside another, and other work, 15 s."""
    plan = {f"r{k}": Cost(2.0, 0.5) for k in range(8)}
    events = played(plan, 2, pace=6.0, start=4.0, first=2.0, between=0.5)
    first = next(s for s in said(TimeLeft(plan, 2, 8), events, 0.5) if s[1] is not None)
    assert first[1] == pytest.approx(first[0], rel=0.25)
    assert first[0] > 0.75 * events[-1][0]


def test_before_any_work_was_seen_nothing_is_said() -> None:
    left = TimeLeft(PLAN, 2, len(PLAN))
    assert left.of_all(0.0) is None
    left.handle(Event("long0", "started", 0, 10), 1.0)
    assert left.of_all(100.0) is None
    assert left.of_run("long0", 100.0) is None


@given(st.floats(0.01, 100.0))
def test_how_long_it_takes_is_what_the_runs_show_and_not_what_was_expected(factor) -> None:
    events = played(PLAN, 2)
    timed = {run_id: Cost(factor * c.training, factor * c.table) for run_id, c in PLAN.items()}
    known, scaled = (TimeLeft(costs, 2, len(PLAN)) for costs in (PLAN, timed))
    for now, event in events[:40]:
        known.handle(event, now)
        scaled.handle(event, now)
    assert scaled.of_all(now) == pytest.approx(known.of_all(now))
    assert known.of_all(now) == pytest.approx(events[-1][0] - now, rel=0.1)


KINDS: list[EventKind] = ["started", "step", "epoch", "evaluating", "waiting", "note", *ENDS]


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(KINDS), st.integers(0, 4)), max_size=40
    ),
    st.floats(0.0, 50.0),
    st.sampled_from([0.0, 3.0]),
)
def test_it_is_never_nothing_while_runs_remain(story, quiet, table) -> None:
    left = TimeLeft({run_id: Cost(table, 3.0) for run_id in "abc"}, 2, 4)
    over: set[str] = set()
    for now, (run_id, kind, done) in enumerate(story):
        if run_id in over:
            continue
        left.handle(Event(run_id, kind, done, 4), float(now))
        over |= {run_id} if kind in ENDS else set()
        seconds = left.of_all(now + quiet)
        assert seconds == 0.0 if len(over) == 4 else seconds is None or seconds >= 1.0


def test_a_run_that_stands_still_does_not_come_nearer_its_end() -> None:
    left = TimeLeft({"r": Cost(100.0, 10.0)}, 1, 1)
    for epoch in range(4):
        left.handle(Event("r", "epoch", epoch, 10), 20.0 * epoch)
    expected = left.of_all(60.0)
    assert left.of_all(75.0) == pytest.approx(expected - 15.0)
    assert left.of_all(1000.0) == left.of_all(80.0) == pytest.approx(expected - 20.0)


def test_a_run_that_goes_on_is_not_credited_with_what_was_done_before() -> None:
    left = TimeLeft({"r": Cost(100.0, 10.0)}, 1, 1)
    left.handle(Event("r", "started", 8, 10), 0.0)
    left.handle(Event("r", "epoch", 9, 10), 10.0)
    assert left.of_all(10.0) == pytest.approx(20.0)
    assert left.of_run("r", 12.0) == pytest.approx(18.0)
    left.handle(Event("r", "evaluating", 0, 4), 20.0)
    left.handle(Event("r", "finished"), 30.0)
    assert left.of_all(30.0) == 0.0
    assert left.of_run("r", 30.0) is None


def test_what_another_process_has_is_still_to_come() -> None:
    left = TimeLeft({"a": Cost(10.0, 0.0), "b": Cost(10.0, 0.0)}, 1, 2)
    left.handle(Event("a", "waiting"), 0.0)
    for epoch in range(5):
        left.handle(Event("b", "epoch", epoch, 4), ENOUGH * epoch)
    left.handle(Event("b", "finished"), 4 * ENOUGH)
    assert left.of_all(4 * ENOUGH) == pytest.approx(4 * ENOUGH)
    left.handle(Event("a", "kept"), 5 * ENOUGH)
    assert left.of_all(5 * ENOUGH) == 0.0


@pytest.mark.parametrize("kind", ENDS)
def test_a_run_that_is_over_has_no_bar_and_counts(kind) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60)
    display = Display({"a": "A", "b": "B"}, console, 2, 1, {})
    display.handle(Event("a", "started", 0, 3))
    assert [task.description for task in display.bars.tasks] == ["all runs", "A"]
    assert "estimating" in rendered(display)
    display.handle(Event("a", kind, message="why"))
    assert [task.description for task in display.bars.tasks] == ["all runs"]
    assert display.bars.tasks[0].completed == 1
    display.handle(Event("b", kind))
    assert "left" not in rendered(display)


def rendered(display: Display) -> str:
    console = Console(file=io.StringIO(), width=60)
    console.print(display.bars)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()
