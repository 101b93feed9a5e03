"""Calls of code that others wrote: whatever it raises ends that call, and never the command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from benchmark.errors import BenchmarkError
from benchmark.hygiene import one_line


@contextmanager
def strangers(failed: Callable[[str], BenchmarkError]) -> Iterator[None]:
    """What the code within raises becomes an error of ours: ``SystemExit``, ``KeyboardInterrupt``
    and what is derived from neither too.

    A Ctrl-C of the user's that arrives meanwhile stays one, also where that code swallows it.

    Args:
        failed: gives the error for what was raised, in words ("KeyError: 'x' (mine.py:3)").

    Raises:
        BenchmarkError: that error, or one of ours from within.
        KeyboardInterrupt: of the user's.
    """
    before, arrived = signal.getsignal(signal.SIGINT), False

    def listen(number: int, frame: FrameType | None) -> None:
        nonlocal arrived
        arrived = True
        assert callable(before)
        before(number, frame)

    # Python calls handlers in its main thread alone; where Ctrl-C is ignored none is called.
    listens = callable(before) and threading.current_thread() is threading.main_thread()
    if listens:
        signal.signal(signal.SIGINT, listen)
    try:
        yield
    except BenchmarkError:
        raise
    except BaseException as error:  # a stranger's code may raise anything
        if not arrived:
            raise failed(described(error)) from error
    finally:
        if listens and signal.getsignal(signal.SIGINT) is listen:
            signal.signal(signal.SIGINT, before)
    if arrived:
        raise KeyboardInterrupt


def described(error: BaseException) -> str:
    """What was raised, and in which line."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    file = last.tb_frame.f_code.co_filename if last else "<"
    place = "" if last is None or file.startswith("<") else f" ({Path(file).name}:{last.tb_lineno})"
    text = one_line(error, 300)
    return f"{type(error).__name__}{': ' if text else ''}{text}{place}"
