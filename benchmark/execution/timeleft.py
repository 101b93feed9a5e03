"""How long a plan still takes: by how its runs go on, where they were expected to take so long."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.execution.events import ENDS, Event

Part = Literal["training", "table"]

ENOUGH = 3.0
"""Seconds of work that must have been seen before anything is said."""
TRUST = 5.0
"""Seconds of a kind of work after which its own pace counts as much as that of all work."""
COLD = 10.0
"""Seconds below which a worker's first step tells of its start and not of its pace."""
LEAST = 1.0
"""Seconds that are left as long as anything is."""


@dataclass(frozen=True)
class Cost:
    """What a run is expected to take, in seconds: the same for all runs of a kind."""

    training: float
    table: float

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.training + self.table


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """Of a run that nobody has timed."""
    return Cost(
        sum(cost.training for cost in costs) / len(costs),
        sum(cost.table for cost in costs) / len(costs),
    )


@dataclass
class _UnderWay:
    """A run that has begun: since when nothing was heard of it, what is done of its parts.

    ``step`` is what was expected of the last step that it told of: (part, seconds).
    """

    cost: Cost
    heard: float
    cold: bool
    training: float = 0.0
    table: float = 0.0
    step: tuple[Part, float] = "training", 0.0


class TimeLeft:
    """Hears the events of a plan; says at any moment how long it and its runs still take.

    What is expected of a run only weighs it against others. How long it takes is what the work
    that was seen took, by kind and part as soon as there is enough of it: on a machine with other
    work that is several times of what a few batches alone took. What lies between two runs of a
    worker counts as work of theirs. Until a few seconds of work were seen nothing is said.
    What has not begun is handed to the worker that will be free first, as the executor does.
    """

    def __init__(self, costs: Mapping[str, Cost], workers: int, count: int) -> None:
        """Nothing has begun.

        Args:
            costs: run id -> what it is expected to take, in the order of the plan; of a run that
                is not named as much as of the others.
            workers: runs at a time.
            count: how many runs there are in all.
        """
        self.costs, self.count = costs, count
        self.workers = max(1, min(workers, count))
        self.begun: set[str] = set()
        self.under_way: dict[str, _UnderWay] = {}
        self.idle: deque[float] = deque()  # since when workers have no run, of those that had one
        self.spent: defaultdict[tuple[Cost, Part], float] = defaultdict(float)
        self.expected: defaultdict[tuple[Cost, Part], float] = defaultdict(float)

    def handle(self, event: Event, now: float) -> None:
        """Take in an event, at a time in seconds."""
        if event.kind == "note":
            return
        if event.kind in ENDS or event.kind == "waiting":
            self._end(event, now)
            return
        part: Part = "table" if event.kind == "evaluating" else "training"
        share = event.done / event.total if event.total else 0.0
        run = self.under_way.get(event.run_id)
        if run is None:
            self.begun.add(event.run_id)
            since = self.idle.popleft() if self.idle else None
            cost = self._cost(event.run_id)
            run = _UnderWay(cost, now if since is None else since, cold=since is None)
            self.under_way[event.run_id] = run
            setattr(run, part, share)  # where it goes on, which nobody waited for now
        if part == "table":
            run.training = 1.0
        self._advance(run, part, share, now)

    def _end(self, event: Event, now: float) -> None:
        """A run is over, or another process has it: then it comes last."""
        run = self.under_way.pop(event.run_id, None)
        if event.kind == "waiting":
            self.begun.discard(event.run_id)
        else:
            self.begun.add(event.run_id)
        if run is None:
            return
        if event.kind == "finished":  # what no event told of is done too
            self._advance(run, "table", 1.0, now)
            self.spent[run.cost, "table"] += now - run.heard  # what a record takes
        self.idle.append(now)

    def _advance(self, run: _UnderWay, part: Part, share: float, now: float) -> None:
        before = getattr(run, part)
        if share <= before:  # of a second table, or nothing new
            return
        work = (share - before) * getattr(run.cost, part)
        if not run.cold or now - run.heard >= COLD:
            self.spent[run.cost, part] += now - run.heard
            self.expected[run.cost, part] += work
        run.step, run.cold, run.heard = (part, work), False, now
        setattr(run, part, share)

    def of_run(self, run_id: str, now: float) -> float | None:
        """Seconds that a run still takes; None for one of which nothing can be said."""
        run = self.under_way.get(run_id)
        if run is None or not self._enough():
            return None
        left = self._seconds(run.cost, 1 - run.training, 1 - run.table)
        part, work = run.step
        passed = min(now - run.heard, work * self._pace(run.cost, part))  # no more is known of
        return max(LEAST, left - passed)

    def of_all(self, now: float) -> float | None:
        """Seconds until the last run ends; None while nothing can be said."""
        waiting = [cost for run_id, cost in self.costs.items() if run_id not in self.begun]
        unnamed = self.count - len(self.begun) - len(waiting)
        waiting += [self._cost("")] * max(0, unnamed)
        if not waiting and not self.under_way:
            return 0.0
        if not self._enough():
            return None
        free = [self.of_run(run_id, now) or 0.0 for run_id in self.under_way]
        free += [0.0] * (self.workers - len(free))
        heapq.heapify(free)
        seconds = {cost: self._seconds(cost, 1, 1) for cost in set(waiting)}
        for cost in waiting:
            heapq.heapreplace(free, free[0] + seconds[cost])
        return max(LEAST, *free)

    def _cost(self, run_id: str) -> Cost:
        """What a run is expected to take: where nobody said, the mean of the others."""
        known = list(self.costs.values())
        if run_id in self.costs or not known:
            return self.costs.get(run_id, Cost(1.0, 0.1))
        return mean_cost(known)

    def _seconds(self, cost: Cost, training: float, table: float) -> float:
        """What these shares of a run's parts will take, by all that was seen."""
        return cost.training * training * self._pace(cost, "training") + (
            cost.table * table * self._pace(cost, "table")
        )

    def _enough(self) -> bool:
        return sum(self.spent.values()) >= ENOUGH and any(self.expected.values())

    def _pace(self, cost: Cost, part: Part) -> float:
        """By what factor these parts of such runs take longer than expected."""
        usual = sum(self.spent.values()) / sum(self.expected.values())
        own, work = self.spent[cost, part], self.expected[cost, part]
        if not work:
            return usual
        trust = own / (own + TRUST)
        return float(usual ** (1 - trust) * (own / work) ** trust)
