"""How long a plan still takes: from estimates of its runs, mended by how they really go on."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmark.execution.events import Event

Part = Literal["training", "table"]

TRUST = 5.0
"""Seconds of work after which what was seen counts as much as what was expected."""


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
    """A run that has begun: when it was last heard of, and the share of its parts that is done."""

    cost: Cost
    heard: float
    training: float = 0.0
    table: float = 0.0


class TimeLeft:
    """Hears the events of a plan; says at any moment how long it and its runs still take.

    The time that the runs of a kind took for what they have done, by part, corrects what is
    expected of the rest of them, and a little of what is expected of the others. What has not begun
    is handed to the worker that will be free first, as the executor does.
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
        self.spent: defaultdict[tuple[Cost, Part], float] = defaultdict(float)
        self.expected: defaultdict[tuple[Cost, Part], float] = defaultdict(float)

    def handle(self, event: Event, now: float) -> None:
        """Take in an event, at a time in seconds."""
        if event.kind == "note":
            return
        if event.kind in ("finished", "failed", "waiting"):
            run = self.under_way.pop(event.run_id, None)
            if event.kind == "waiting":  # another process has it: it comes last
                self.begun.discard(event.run_id)
                return
            if run and event.kind == "finished":  # what no event told of is done too
                self._advance(run, "table", 1.0, now)
            self.begun.add(event.run_id)
            return
        part: Part = "table" if event.kind == "evaluating" else "training"
        share = event.done / event.total if event.total else 0.0
        run = self.under_way.get(event.run_id)
        if run is None:
            self.begun.add(event.run_id)
            run = self.under_way[event.run_id] = _UnderWay(self._cost(event.run_id), now)
            setattr(run, part, share)  # where it goes on, which nobody waited for now
        if part == "table":
            run.training = 1.0
        self._advance(run, part, share, now)

    def _advance(self, run: _UnderWay, part: Part, share: float, now: float) -> None:
        before = getattr(run, part)
        if share <= before:  # of a second table, or nothing new
            return
        self.spent[run.cost, part] += now - run.heard
        self.expected[run.cost, part] += (share - before) * getattr(run.cost, part)
        setattr(run, part, share)
        run.heard = now

    def of_run(self, run_id: str, now: float) -> float | None:
        """Seconds that a run still takes; None for one that is not under way."""
        run = self.under_way.get(run_id)
        if run is None:
            return None
        left = self._seconds(run.cost, 1 - run.training, 1 - run.table)
        return max(0.0, left - (now - run.heard))

    def of_all(self, now: float) -> float | None:
        """Seconds until the last run ends; None while nothing is known of any."""
        if not self.costs and not any(self.expected.values()):
            return None
        free = [self.of_run(run_id, now) or 0.0 for run_id in self.under_way]
        free += [0.0] * (self.workers - len(free))
        heapq.heapify(free)
        waiting = [cost for run_id, cost in self.costs.items() if run_id not in self.begun]
        unnamed = self.count - len(self.begun) - len(waiting)
        waiting += [self._cost("")] * max(0, unnamed)
        seconds = {cost: self._seconds(cost, 1, 1) for cost in set(waiting)}
        for cost in waiting:
            heapq.heapreplace(free, free[0] + seconds[cost])
        return max(free)

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

    def _pace(self, cost: Cost, part: Part) -> float:
        """By what factor these parts of such runs take longer than expected."""
        trust = TRUST if self.costs else 0.0  # without estimates only what was seen counts
        spent, expected = sum(self.spent.values()), sum(self.expected.values())
        usual = (trust + spent) / (trust + expected) if trust + expected else 1.0
        own, work = self.spent[cost, part], self.expected[cost, part]
        return (trust * usual + own) / (trust + work) if trust + work else usual
