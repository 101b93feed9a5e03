"""Talk to a tracking store in a thread: whatever the store does, nobody waits long for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from benchmark.tracking.place import StoreError, failing

PATIENCE = 5.0
"""Seconds that a store may leave us without an answer, in all, once its answer is waited for."""

LONG_PATIENCE = 30.0
"""Where bringing files to or from the store is all that was asked for."""

T = TypeVar("T")


class Watch:
    """How long a store has left us without an answer. Every contact with it is a :meth:`call`."""

    def __init__(self) -> None:
        self._lost = 0.0
        self._since: float | None = None
        self.given_up = False

    @contextmanager
    def call(self) -> Iterator[None]:
        """One contact with the store; it has not answered where it raises."""
        if self.given_up:
            raise StoreError("the tracking store was given up")
        self._since = begun = time.monotonic()
        try:
            yield
        except BaseException:
            self._lost += time.monotonic() - begun
            raise
        finally:
            self._since = None

    def forget(self) -> None:
        """Count from now on."""
        self._lost = 0.0
        if self._since is not None:
            self._since = time.monotonic()

    def silence(self) -> float:
        """Seconds in contacts that failed, and in the one that is under way."""
        since = self._since
        return self._lost + (time.monotonic() - since if since is not None else 0.0)


Job = Callable[[Watch], object]


class Background:
    """Does jobs one after another in a thread of its own, which a process that ends takes along."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        """Start.

        Args:
            failed: told, in that thread, what a job raised; the next jobs are done all the same.
        """
        self.watch = Watch()
        self._failed = failed
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def do(self, job: Job) -> None:
        """Do this after all that was asked for before."""
        self._jobs.put(job)

    def finish(self, patience: float = PATIENCE) -> bool:
        """Wait until all is done; False where the store left us without an answer for so long."""
        self._jobs.put(None)
        self.watch.forget()
        while self._thread.is_alive():
            if self.watch.silence() >= patience:
                self.watch.given_up = True
                return False
            self._thread.join(0.05)
        return True

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self.watch.given_up:
            try:
                job(self.watch)
            except Exception as error:  # noqa: BLE001 - nothing about tracking ends a plan
                if not self.watch.given_up:
                    self._failed(error)


def patiently(uri: str, job: Callable[[Watch], T], patience: float = PATIENCE) -> T:
    """The result of a job, or what it raised. Raises StoreError where the store is silent."""
    found: list[T] = []
    errors: list[Exception] = []
    background = Background(errors.append)
    background.do(lambda watch: found.append(job(watch)))
    if not background.finish(patience):
        raise StoreError(failing(uri, no_answer(patience)))
    if errors:
        raise errors[0]
    return found[0]


def no_answer(patience: float = PATIENCE) -> str:
    """What is said of a store that hangs."""
    return f"no answer for {patience:.0f} s"
