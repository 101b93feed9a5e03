"""What a run says while it is under way: to the progress display and to the tracker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

EventKind = Literal[
    "started",
    "step",
    "epoch",
    "evaluating",
    "waiting",
    "note",
    "finished",
    "kept",
    "stopped",
    "failed",
]
ENDS: tuple[EventKind, ...] = ("finished", "kept", "stopped", "failed")
"""After one of these nothing is to come of a run."""


@dataclass(frozen=True)
class Event:
    """One message of a run.

    Attributes:
        run_id: the run.
        kind: "started" (training begins or resumes at ``done`` of ``total`` epochs), "step"
            (``done`` of ``total`` epochs, fractional, with the current loss), "epoch" (``done``
            epochs are complete; ``values`` are their curves), "evaluating" (``done`` of ``total``
            rows of the prediction table), "waiting" (another process has this run), "note"
            (``message`` says what was found unsound and is made anew), "finished", "kept" (all
            was there), "stopped" (who listened stopped it), "failed" (``message`` says why).
        done, total: see above.
        values: metric name -> value.
        message: text for people.
    """

    run_id: str
    kind: EventKind
    done: float = 0.0
    total: float = 0.0
    values: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


Listener = Callable[[Event], None]
