"""What a run imports in its worker. Here is nothing else: the worker imports this file."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from benchmark.execution.attempt import attempt
from benchmark.execution.executor import Execution, load_placed
from benchmark.plan import Planned
from benchmark.records import RunStore


def of_a_run(channel: Connection, how: Execution, planned: Planned) -> None:
    """Do the run, and tell how it ended and which modules were not there before."""
    before = set(sys.modules)
    store = RunStore(how.runs_dir)
    outcome = attempt(planned, lambda: load_placed(how), store, lambda event: None, False)
    channel.send((outcome, sorted(set(sys.modules) - before)))
