"""What a tracking store costs a plan: the wall time of a small run beside one without tracking.

    python -m tests.speed.tracking [--turns 2]

One run of a second or two, so that nothing is hidden behind training. Stores that are well (SQLite,
new and there already), that refuse every connection, that take it and never answer, and whose lock
or database another process holds. Printed are the seconds of the command, the best of the turns;
what is beyond the one without tracking, MLflow's import (2 to 3 s) included; and what the command
itself says that it waited.
"""

from __future__ import annotations

import argparse
import re
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock

PLAN = [
    *("run", "--dataset", "synthetic-tiny", "--models", "lmf", "--regime", "clean", "--epochs"),
    *("3", "--protocol", "clean", "--seeds", "1", "--workers", "1"),
]


@contextmanager
def port(answers: bool) -> Iterator[int]:
    """A port of this machine that refuses, or one that takes every connection and is silent."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answers:
            server.listen(64)
        yield int(server.getsockname()[1])


@contextmanager
def address(scheme: str, answers: bool) -> Iterator[str]:
    """Of a store that is no file."""
    with port(answers) as number:
        yield f"{scheme}://somebody@127.0.0.1:{number}/store"


@contextmanager
def held(database: Path, lock: bool) -> Iterator[str]:
    """A SQLite store whose lock, or which itself, another process holds."""
    with FileLock(f"{database}.lock") if lock else _written(database):
        yield f"sqlite:///{database}"


@contextmanager
def _written(database: Path) -> Iterator[None]:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.close()


def stores(folder: Path) -> dict[str, Callable[[], AbstractContextManager[str]]]:
    """What each store is -> its address, as long as it is like that."""
    database = folder / "mlflow.db"
    uri = f"sqlite:///{database}"
    return {
        "no tracking": lambda: nullcontext("none"),
        "SQLite, new": lambda: nullcontext(f"sqlite:///{tempfile.mkdtemp(dir=folder)}/mlflow.db"),
        "SQLite, there already": lambda: nullcontext(uri),
        "SQLite, its lock held": lambda: held(database, True),
        "SQLite, written to by another": lambda: held(database, False),
        "http server that refuses": lambda: address("http", False),
        "http server that is silent": lambda: address("http", True),
        "PostgreSQL that refuses": lambda: address("postgresql+psycopg", False),
        "PostgreSQL that is silent": lambda: address("postgresql+psycopg", True),
    }


def command(runs: Path, uri: str) -> tuple[float, str]:
    """Seconds of the plan in a new runs folder, and what it says that it waited."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *PLAN, "--runs-dir", runs, "--tracking-uri", uri],
        capture_output=True,
        text=True,
        check=True,
    )
    waited = re.search(r"longest wait ([\d.]+ s)", done.stdout)
    return time.monotonic() - begun, waited[1] if waited else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=1)
    turns = parser.parse_args().turns
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command(folder / "warm", f"sqlite:///{folder / 'mlflow.db'}")  # makes the store, and caches
        print(f"{'store':<32}{'seconds':>8}{'beyond':>8}{'waited':>8}")
        least = 0.0
        for what, store in stores(folder).items():
            found = []
            for _ in range(turns):
                with store() as uri:
                    found.append(command(Path(tempfile.mkdtemp(dir=folder)), uri))
            seconds, waited = min(found)
            least = least or seconds
            print(f"{what:<32}{seconds:>8.1f}{seconds - least:>8.1f}{waited:>8}", flush=True)


if __name__ == "__main__":
    main()
