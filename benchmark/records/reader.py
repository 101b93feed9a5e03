"""The one reader of a record's files: what is read is sound, or a named problem of that file.

Nothing in a file can make a reader raise anything but :class:`DamagedError`, nor ask for more time
or memory than the limits here allow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmark.data.arrays import BROKEN
from benchmark.errors import BenchmarkError
from benchmark.files import JSON_BYTES, check_regular, read_text
from benchmark.hygiene import one_line
from benchmark.seal import SEAL, UnsealedError, unsealed_json
from benchmark.spec import RunSpec
from benchmark.table import PredictionTable, load, seal_of
from benchmark.yamlfile import read_yaml

if TYPE_CHECKING:
    from benchmark.data.inputs import InputForm

CONFIG = "config.yaml"
ENVIRONMENT = "env.json"
HISTORY = "history.csv"
CHECKPOINT = "checkpoint.safetensors"
INPUTS = "inputs.json"
PREDICTIONS = "predictions.npz"
METRICS = "metrics.json"
VALIDATION = "validation.npz"
REBUILT = (INPUTS, PREDICTIONS, METRICS, VALIDATION)
"""What `benchmark run` makes anew from the checkpoint."""

FILES = "files"
"""Of ``env.json``: the size and hash of the files that have none within them."""

_OLDER = "it was made by an older version, in a form that is not read any more"

T = TypeVar("T")


class DamagedError(BenchmarkError):
    """A file of a record that cannot be believed.

    Attributes:
        path: the file.
        why: what is wrong with it.
        remedy: what to do.
    """

    def __init__(self, path: Path, why: str, remedy: str = "") -> None:
        makes = "makes it anew from the checkpoint" if path.name in REBUILT else "trains it again"
        self.path, self.why = path, why
        self.remedy = remedy or f"The same `benchmark run` {makes}."
        super().__init__(f"{path}: {why}. {self.remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        """What another process makes it of."""
        return type(self), (self.path, self.why, self.remedy)

    @property
    def brief(self) -> str:
        """The file's name and what is wrong with it."""
        return f"{self.path.name}: {self.why}"


class ForeignError(DamagedError):
    """The record of another run than its folder is called: nothing may take its place."""

    def __init__(
        self, path: Path, why: str, remedy: str = "Give the folder its name back, or move it away."
    ) -> None:
        super().__init__(path, why, remedy)


def read(path: Path, reader: Callable[[Path], T]) -> T:
    """What a reader makes of a file. Raises DamagedError whatever it raises, but interrupts."""
    try:
        return reader(path)
    except DamagedError:
        raise
    except UnsealedError:
        why = _OLDER
    except BenchmarkError as error:
        said = str(error).removeprefix("cannot read ").replace(f"{path}: ", "")
        why = one_line(said.replace(str(path), "it"), 200)
    except (OSError, *BROKEN) as error:
        said = one_line(error, 200)
        why = f"{type(error).__name__}: {said}" if isinstance(error, LookupError) else said
        why = why or type(error).__name__
    raise DamagedError(path, "it is missing" if _is_missing(path) else why.rstrip(". "))


def _is_missing(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:  # it may not be looked at
        return False


def file_state(path: Path) -> tuple[int, ...]:
    """What changes with a file: its size, times of change and inode; nothing where it is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def read_spec(path: Path) -> RunSpec:
    """What was run, from ``config.yaml``. Raises DamagedError."""
    return read(path, lambda path: RunSpec.from_dict(read_yaml(path)))


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file that carries its hash. Raises DamagedError."""
    return read(path, lambda path: unsealed_json(read_text(path, JSON_BYTES)))


def read_inputs(path: Path) -> InputForm:
    """What new samples must look like, from ``inputs.json``. Raises DamagedError."""
    from benchmark.data.inputs import InputForm  # torch: not for a report

    return read(path, lambda path: InputForm.from_json(read_text(path, JSON_BYTES)))


def read_table(path: Path) -> PredictionTable:
    """A prediction table. Raises DamagedError."""
    return read(path, load)


def read_seal(path: Path) -> str:
    """The hash that a prediction table states, without reading it. Raises DamagedError."""
    return read(path, seal_of)


def file_facts(content: bytes) -> dict[str, Any]:
    """The size and hash of a file that has no hash within it."""
    return {"bytes": len(content), SEAL: hashlib.sha256(content).hexdigest()}


def read_bytes(path: Path, environment: Mapping[str, Any]) -> bytes:
    """A file whose size and hash ``env.json`` has. Raises DamagedError."""

    def content(path: Path) -> bytes:
        size, stated = check_regular(path), _facts(path, environment)
        if stated["bytes"] != size:
            raise ValueError(f"it has {size:,} bytes, and was written with {stated['bytes']:,}")
        found = path.read_bytes()
        if file_facts(found) != stated:
            raise ValueError("it was edited or damaged after the run: its content has another hash")
        return found

    return read(path, content)


def _facts(path: Path, environment: Mapping[str, Any]) -> dict[str, Any]:
    if FILES not in environment:
        raise UnsealedError
    found: dict[str, Any] = environment[FILES][path.name]
    return found


def last_line(path: Path) -> str:
    """The last line of an ``error.txt``, which a full disk may have left empty."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 2**16))
            lines = stream.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror or error})"
    return one_line(lines[-1]) if lines else f"{path.name} is empty (was the disk full?)"
