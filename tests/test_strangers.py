"""Code of others: what it raises is named and harms nothing, and Ctrl-C stays the user's."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable

import pytest

from benchmark.errors import BenchmarkError
from benchmark.strangers import strangers


def raising(error: BaseException) -> Callable[[], None]:
    def call() -> None:
        raise error

    return call


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(5)  # the handler raises meanwhile


def swallow_ctrl_c() -> None:
    with contextlib.suppress(BaseException):  # what a careless package does
        press_ctrl_c()


def exit_on_ctrl_c() -> None:
    try:
        press_ctrl_c()
    except KeyboardInterrupt:
        raise SystemExit(0) from None


def called(code: Callable[[], None]) -> None:
    with strangers(lambda why: BenchmarkError(f"theirs: {why}")):
        code()


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(0),
        RuntimeError("x" * 100_000),
        type("Odd", (BaseException,), {})("odd"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("threaded", [False, True])
def test_whatever_is_raised_is_an_error_with_its_place(
    error: BaseException, threaded: bool
) -> None:
    found: list[str] = []

    def catch() -> None:
        with pytest.raises(BenchmarkError) as caught:
            called(raising(error))
        found.append(str(caught.value))

    worker = threading.Thread(target=catch)
    worker.run() if not threaded else (worker.start(), worker.join())
    assert found[0].startswith(f"theirs: {type(error).__name__}")
    assert "(test_strangers.py:" in found[0]
    assert len(found[0]) < 500


@pytest.mark.parametrize("code", [press_ctrl_c, swallow_ctrl_c, exit_on_ctrl_c])
def test_a_ctrl_c_of_the_user_stays_one(code: Callable[[], None]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        called(lambda: called(code))  # one within another, as a plug-in's model in an evaluation
    assert signal.getsignal(signal.SIGINT) is before


def test_errors_of_ours_pass() -> None:
    with pytest.raises(BenchmarkError, match=r"^ours$"):
        called(raising(BenchmarkError("ours")))
