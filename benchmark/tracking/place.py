"""Where a tracking store and its artifacts are; what is said of one that fails."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benchmark.errors import BenchmarkError
from benchmark.files import replacing

LOCK_SECONDS = 5.0
"""For the lock that processes share, and for a database that another one writes to."""
ARTIFACTS = "mlartifacts"
"""The folder beside a SQLite store where its artifacts are."""
_LOCATIONS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
}


class StoreError(BenchmarkError):
    """A tracking store is locked, lost, full, unreachable or too new, or refuses something."""


def default_uri(runs_dir: Path) -> str:
    """The tracking store of a runs folder: a SQLite file in it."""
    return f"sqlite:///{(runs_dir / 'mlflow.db').resolve()}"


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store."""
    prefix = "sqlite:///"
    return Path(uri.removeprefix(prefix)).absolute() if uri.startswith(prefix) else None


def check_uri(uri: str) -> None:
    """Raise BenchmarkError for what is no address of a store, whoever would answer there."""
    try:
        parts = urlsplit(uri)
        wrong = parts.port == 0 or (parts.scheme in ("http", "https") and not parts.hostname)
    except ValueError:
        wrong = True
    if wrong:
        raise BenchmarkError(
            f"--tracking-uri {without_password(uri)} is no address: write it as in "
            "http://127.0.0.1:5000"
        )
    path = sqlite_path(uri)
    if path is not None and path.exists() and not (path.is_file() or path.is_dir()):
        raise BenchmarkError(f"--tracking-uri {uri}: {path} is no file to keep a database in")


def reason(uri: str, error: Exception) -> str:
    """What is wrong with a store, in one line and without passwords."""
    if isinstance(error, BenchmarkError):
        return str(error)
    said = str(error)
    system = re.search(r"\[Errno -?\d+\] ([^'\")\n]+)", said)  # all that matters of a long story
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = system[1] if system else (lines[0] if lines else type(error).__name__)
    return failing(uri, text[:200].rstrip(". "))


def failing(uri: str, why: str) -> str:
    """One line about a store that fails."""
    return without_password(f"the tracking store {uri} failed ({why})")


def without_password(text: str) -> str:
    """An address, or a text with one, that can be shown."""
    return re.sub(r"//([^/@:\s]*):[^/@\s]*@", r"//\1:***@", text)


def settle(path: Path) -> None:
    """Notice in seconds a database that is damaged or locked; know the artifacts that lie by it.

    MLflow keeps whole addresses: those of a runs folder that was moved or copied name the old one.

    Raises:
        OSError: where there is no such file.
        sqlite3.Error: where it is no database, or cannot be written to.
    """
    path.stat()
    here = (path.parent / ARTIFACTS).as_uri()
    with closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        for table, column in _LOCATIONS.items():
            if table in tables:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || "
                    f"substr({column}, instr({column}, '/{ARTIFACTS}') + ?) "
                    f"WHERE {column} LIKE 'file://%/{ARTIFACTS}%' AND instr({column}, ?) != 1",
                    (here, len(ARTIFACTS) + 1, here),
                )
        database.execute("COMMIT")


def local_folder(address: str) -> Path | None:
    """The folder that an artifact address names; None where it is not on this machine."""
    parts = urlsplit(address)
    return Path(unquote(parts.path)) if parts.scheme in ("file", "") else None


def link(file: Path, to: Path) -> None:
    """A file under another name, whole or not at all; copied where it cannot be the same file.

    Files of a record are replaced, never written to, so the two names cannot come apart.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    with replacing(to) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(file, temporary)
        except OSError:  # another disk, or one that knows no links
            shutil.copyfile(file, temporary)
