"""Locks that processes on one study share: files, or those of the study's PostgreSQL server."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock, Timeout

from benchmark.search.optuna_store import reaching

if TYPE_CHECKING:
    from sqlalchemy import Connection

SILENCE = "-c tcp_keepalives_idle=60 -c tcp_keepalives_interval=20 -c tcp_keepalives_count=3"
"""The server takes a host that does not answer for two minutes to be gone, and frees its locks."""


class Lock(Protocol):
    """Held by one process; free when that dies."""

    def acquire(self, timeout: float = -1) -> Any:
        """Wait for it. Raises filelock.Timeout with ``timeout=0`` where another holds it."""

    def release(self) -> None:
        """Give it up."""

    def __enter__(self) -> Any: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def is_server(storage: str | None) -> bool:
    """Whether a study's storage has locks of its own, which hold for processes on any host."""
    return storage is not None and storage.startswith("postgresql")


def lock_of(storage: str | None, folder: Path, name: str) -> Lock:
    """The lock of a name.

    Args:
        storage: the study's storage URL.
        folder: where lock files are.
        name: the lock's name.
    """
    return (
        DatabaseLock(storage, name) if storage and is_server(storage) else FileLock(folder / name)
    )


class DatabaseLock:
    """An advisory lock of a PostgreSQL server, for as long as its connection lives."""

    def __init__(self, url: str, name: str) -> None:
        """Not acquired yet."""
        self.url, self.name = url, name
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        self._key = int.from_bytes(digest, "little", signed=True)
        self._connection: Connection | None = None

    def acquire(self, timeout: float = -1) -> DatabaseLock:
        """See :class:`Lock`."""
        from sqlalchemy import NullPool, create_engine, text

        arguments = {"options": SILENCE}
        with reaching(self.url):
            engine = create_engine(
                self.url, poolclass=NullPool, connect_args=arguments, isolation_level="AUTOCOMMIT"
            )
            connection = engine.connect()
        question = "pg_advisory_lock" if timeout < 0 else "pg_try_advisory_lock"
        got = connection.execute(text(f"select {question}(:key)"), {"key": self._key}).scalar()
        if got is False:
            connection.close()
            raise Timeout(self.name)
        self._connection = connection
        return self

    def release(self) -> None:
        """See :class:`Lock`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> DatabaseLock:
        return self if self._connection else self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
