"""A pickle file, plain or joblib's, read without executing anything in it."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from benchmark.data.arrays import BROKEN
from benchmark.data.joblibfile import read_joblib
from benchmark.data.recognise import mentions_joblib, pickled_with, text_in_place
from benchmark.data.unpickle import RefusedError, read
from benchmark.errors import BenchmarkError
from benchmark.hygiene import one_line


def read_pickle(path: Path) -> Any:
    """The data of a pickle file: dicts, lists, tuples, text, numbers and numpy arrays.

    Arrays may be read-only. Nothing of the file is executed.

    Raises:
        BenchmarkError: the file names anything but numpy arrays and plain data, is truncated or
            damaged, or cannot be read.
    """
    try:
        with path.open("rb") as stream:
            try:
                return read(stream)
            except (pickle.UnpicklingError, *BROKEN):
                if not mentions_joblib(path):
                    raise
            return read_joblib(stream)
    except RefusedError as error:
        raise BenchmarkError(
            f"{path}: refused, nothing was executed: the pickle asks for {one_line(error)}."
            f" {_instead(path, error)}"
        ) from None
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise BenchmarkError(
            f"{path}: asks for more memory than there is; it is damaged or too large."
        ) from None
    except (pickle.UnpicklingError, *BROKEN) as error:
        text = text_in_place(path)
        if text is not None:
            raise BenchmarkError(f"{path}: {text}") from None
        raise BenchmarkError(
            f"{path}: truncated or damaged pickle ({type(error).__name__}: {one_line(error)})."
            " Compare its size and checksum with the source and fetch it again."
        ) from None


def _instead(path: Path, error: RefusedError) -> str:
    """What to do about a file that names other objects."""
    made_by = pickled_with(path, error)
    if made_by is not None:
        return made_by[0].upper() + made_by[1:]
    return (
        "A feature package may hold numpy arrays, lists, text and numbers only. If you trust the"
        " file, save it again with numpy arrays in place of those objects."
    )
