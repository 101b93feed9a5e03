"""What a person sees while a plan is under way: bars on a terminal, a line per run elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from benchmark.execution.estimate import in_words
from benchmark.execution.events import ENDS, Event
from benchmark.execution.timeleft import Cost, TimeLeft

WIDE = 100
"""Characters of a window that has room for losses and for the time that has passed."""


class Display:
    """A context manager that shows the events of a plan."""

    def __init__(
        self,
        titles: Mapping[str, str],
        console: Console,
        total: int,
        workers: int,
        costs: Mapping[str, Cost],
    ) -> None:
        """Show nothing yet.

        Args:
            titles: run id -> name; others may be added.
            console: where to show them.
            total: how many runs there will be.
            workers: how many at a time.
            costs: run id -> what it is expected to take, where that is known.
        """
        self.titles, self.count = dict(titles), total
        self.console = console
        self.started = time.monotonic()
        self.finished = 0
        self.tasks: dict[str, TaskID] = {}
        self.left = TimeLeft(costs, workers, total)
        wide = console.width >= WIDE
        passed = [TextColumn("{task.fields[note]}"), TimeElapsedColumn()]
        self.bars = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
            BarColumn(40 if wide else 8),
            MofNCompleteColumn(),
            *(passed if wide else []),
            _Left(self.left),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.total = self.bars.add_task("all runs", total=self.count, note="", run_id="")

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def add(self, run_id: str, title: str) -> None:
        """One more run, shown under a title."""
        self.titles[run_id] = title

    def handle(self, event: Event) -> None:
        """Show an event."""
        self.left.handle(event, time.monotonic())
        if event.kind in ENDS:
            self._end(event)
            return
        if event.kind == "note":
            text = f"{self.titles[event.run_id]}  ({event.run_id}): {event.message}"
            self.bars.console.print(text, markup=False, style="yellow", soft_wrap=True)
            return
        task = self._task(event.run_id)
        if event.kind == "waiting":
            self.bars.update(task, note=event.message)
        elif event.kind == "evaluating":
            self.bars.update(task, total=event.total, completed=event.done, note="prediction table")
        else:
            self.bars.update(
                task, total=event.total, completed=round(event.done, 1), note=_note(event)
            )

    def _task(self, run_id: str) -> TaskID:
        if run_id not in self.tasks:
            self.tasks[run_id] = self.bars.add_task(
                self.titles[run_id], total=None, note="", run_id=run_id
            )
        return self.tasks[run_id]

    def _end(self, event: Event) -> None:
        run_id, title = event.run_id, self.titles[event.run_id]
        if run_id in self.tasks:
            self.bars.remove_task(self.tasks.pop(run_id))
        self.bars.advance(self.total)
        self.finished += 1
        place = f"[{self.finished}/{self.count}, {time.monotonic() - self.started:.0f} s]"
        if event.kind == "failed":
            self.bars.console.print(
                f"{place} FAILED  {title}  ({run_id}): {event.message}",
                markup=False,
                style="red",
            )
        else:
            word = "done" if event.kind == "finished" else event.kind
            self.bars.console.print(f"{place} {word:7} {title}  ({run_id})", markup=False)


def _note(event: Event) -> str:
    loss = event.values.get("train_loss", math.nan)
    shown = [] if math.isnan(loss) else [f"loss {loss:.3f}"]
    shown += [
        f"{name.removeprefix('valid_')} {event.values[name]:.3f} (valid)"
        for name in ("valid_mae", "valid_acc")
        if name in event.values
    ]
    return " · ".join(shown)


class _Left(ProgressColumn):
    """How long a run still takes; all of them in the line that is no run's."""

    def __init__(self, left: TimeLeft) -> None:
        super().__init__()
        self.left = left

    def render(self, task: Task) -> Text:
        run_id, now = task.fields["run_id"], time.monotonic()
        seconds = self.left.of_run(run_id, now) if run_id else self.left.of_all(now)
        if seconds is None:
            return Text("" if run_id else "estimating")
        return Text(f"{in_words(seconds)} left" if seconds else "")
