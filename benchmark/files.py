"""Files and names that others made: what is read stays bounded, what is written stays inside."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from benchmark.errors import BenchmarkError

MAX_NAME = 128
JSON_BYTES = 64 * 2**20
"""Of any JSON file of ours: one of a large record or data set has some hundred kilobytes."""
HALF_WRITTEN = re.compile(r"\..+\.[0-9]+")
"""What :func:`replacing` leaves of a file when its process is killed."""
ABANDONED_SECONDS = 60.0
"""After which that is nobody's any more, nor a folder of :func:`scratch` that nobody holds."""


def check_regular(path: Path) -> int:
    """The size of a plain file; anything else is refused, as a pipe can keep a reader for ever.

    Raises:
        BenchmarkError: also where it does not exist or cannot be looked at.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise BenchmarkError(f"cannot read {path}: {_reason(error)}") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
        raise BenchmarkError(f"cannot read {path}: it is {kind}, not a file")
    return found.st_size


def read_at_most(path: Path, limit: int) -> bytes:
    """The first bytes of a plain file. Raises BenchmarkError where it is none, and OSError."""
    size = check_regular(path)
    with path.open("rb") as stream:  # it has memory for what it is asked for, not for what comes
        content = stream.read(min(size + 1, limit))
        return content + (stream.read(limit - len(content)) if len(content) > size else b"")


def read_text(path: Path, limit: int) -> str:
    """The UTF-8 text of a plain file of at most ``limit`` bytes. Raises BenchmarkError."""
    try:
        content = read_at_most(path, limit + 1)
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {_reason(error)}") from None
    if len(content) > limit:
        raise BenchmarkError(f"cannot read {path}: it has more than {limit:,} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path} is no UTF-8 text (byte {error.start})") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to make a file under, which then takes the place of ``path``: what is there is the old
    file or the new one, whatever happens. What earlier tries left when they were killed goes.

    Raises:
        FileExistsError: where a device is there, or a link to a pipe as ``/dev/stdout`` is one: it
            is the system's, and is not replaced.
    """
    piped = path.is_symlink() and (path.is_fifo() or path.is_socket())
    if piped or path.is_char_device() or path.is_block_device():
        raise FileExistsError(errno.EEXIST, "is a device", str(path))
    for remains in path.parent.glob(f".{escape(path.name)}.*"):
        # by ctime: a link has the mtime of its file; the young may be another process's
        if HALF_WRITTEN.fullmatch(remains.name) and _age(remains) >= ABANDONED_SECONDS:
            remains.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:  # also of a link to the very file that is there, which is not renamed
        temporary.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_ctime
    except FileNotFoundError:
        return 0.0


def replace_file(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file of parts so that it has either its old content or its new, whatever happens.

    What was half written goes where that fails: a full disk is not kept full. Raises OSError.
    """
    try:
        with replacing(path) as temporary, temporary.open("wb") as stream:
            stream.writelines(parts)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        if error.filename is None:  # a failed write names no file
            error.filename = str(path)
        raise


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder. It is held by a lock, which ends with its process: the folders of those
    that were killed go when the next one is made.

    Raises:
        BenchmarkError: where none can be made.
    """
    prefix = f"robust-msa-{os.getuid()}-"
    try:
        place = Path(tempfile.gettempdir())
        for remains in place.glob(f"{prefix}*"):
            if _age(remains) >= ABANDONED_SECONDS and not is_locked(remains):
                shutil.rmtree(remains, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    except OSError as error:
        raise BenchmarkError(
            f"no temporary folder can be made ({_reason(error)}): TMPDIR names another place"
        ) from None
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: it is kept for a minute only
            fcntl.flock(held, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock file, or a folder of :func:`scratch`.

    It is opened for reading, which whoever sees it may do, and looked at through a shared lock:
    several may look at once, and none of them is taken for its holder.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # of a pipe it would wait
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def files_in(folder: Path) -> set[str]:
    """The names of the files in a folder, and of links to files; none where it has none."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if is_file(entry)}
    except OSError:
        return set()


def is_file(path: Path | os.DirEntry[str]) -> bool:
    """Whether it is a file, or leads to one; what may not be looked at is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def child(folder: Path, name: str, what: str) -> Path:
    """``folder / name``, for a name that comes from a file: it must be one plain component.

    Args:
        folder: what it is to be in.
        name: the name.
        what: what it names, for the error ("data set").

    Raises:
        BenchmarkError: for a name that leads elsewhere, is hidden, or cannot be a file's.
    """
    plain = name.isprintable() and not set(name) & set('/\\:*?"<>|') and len(name) <= MAX_NAME
    if not plain or not name or name != name.strip() or name.startswith("."):
        raise BenchmarkError(
            f"{what} name {name[:MAX_NAME]!r}: it cannot be a folder's in {folder}. Was the file"
            " that holds it changed by hand?"
        )
    return folder / name


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed, lies in a folder."""
    return path.resolve().is_relative_to(folder.resolve())


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
