"""Processes beside this one: begun by a server that has imported what they need.

They are then cheap to start and to replace.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from benchmark.forks import die_with_parent

_FORKS = sys.platform == "linux"
_CONTEXT = get_context("forkserver") if _FORKS else get_context("spawn")
_IMPORTED = (
    "benchmark.execution.pool",
    "pandas",
    "pyarrow.dataset",
    "torch.fx.experimental.symbolic_shapes",
)
"""What runs need; the last by torch, at the first attention. Each took a worker half a second."""


def prepare() -> None:
    """Start the server, where there is one: it imports while this process does something else."""
    if _FORKS:
        _CONTEXT.set_forkserver_preload(list(_IMPORTED))
        with _without_interrupts():
            forkserver.ensure_running()


def start_process(
    target: Callable[..., None], *arguments: object
) -> tuple[Connection, BaseProcess]:
    """Call ``target(channel, *arguments)`` in a process that never sees Ctrl-C, and ends with us.

    Returns:
        The other end of the channel, which ends when the process does; and the process.
    """
    prepare()
    ours, theirs = _CONTEXT.Pipe()
    process = _CONTEXT.Process(target=_begin, args=(target, theirs, *arguments), daemon=True)
    with _without_interrupts():
        process.start()
    theirs.close()
    return ours, process


def _begin(target: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=die_with_parent, daemon=True).start()
    target(*arguments)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """What is started meanwhile never sees Ctrl-C: the parent decides what an interrupt means."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
