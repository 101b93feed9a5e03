"""Bounded time, on a machine that may be busy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 20.0
"""Far from what is bounded, with the imports of a first call on a slow machine, and from a hang."""


@contextmanager
def within(seconds: float = SECONDS) -> Iterator[None]:
    """Fail where the work takes more of the processor's time: waiting for others is not its."""
    begun = time.process_time()
    yield
    assert time.process_time() - begun < seconds
