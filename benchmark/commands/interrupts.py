"""Ctrl-C: once in order, twice at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer

SHOW_CURSOR = b"\x1b[?25h"
"""A display that is not left in order would keep a terminal's cursor hidden."""


@contextmanager
def interruptible() -> Iterator[None]:
    """The first Ctrl-C stops what is under way in order; a second one ends the process at once.

    The second is the system's own, so that nothing which waits, Ray or a store, can hold it up:
    every file is safe against a kill at any moment.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored
    if ours:
        signal.signal(signal.SIGINT, _first)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on from the last complete epochs", err=True)
        raise typer.Exit(130) from None
    finally:
        if signal.getsignal(signal.SIGINT) is _first:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _first(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    shown = SHOW_CURSOR if sys.stdout.isatty() else b""
    os.write(2, shown + b"stopping in order; Ctrl-C again stops at once\n")
    raise KeyboardInterrupt
