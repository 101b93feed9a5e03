"""Writing a safetensors file piece by piece: the library's own writer holds everything twice."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TYPES = {"float32": "F32", "float16": "F16", "bool": "BOOL"}
READ_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Entry:
    """One tensor to write: its name, dtype, shape, and its content as a run of arrays."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    pieces: Iterable[NDArray[Any]]

    @property
    def size(self) -> int:
        """Bytes of the whole tensor."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def write_tensors(path: Path, entries: Sequence[Entry]) -> str:
    """Write ``entries`` in order; returns the SHA-256 of the file. Raises OSError."""
    header: dict[str, Any] = {}
    position = 0
    for entry in entries:
        header[entry.name] = {
            "dtype": TYPES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [position, position + entry.size],
        }
        position += entry.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for block in (len(text).to_bytes(8, "little"), text):
            digest.update(block)
            stream.write(block)
        for entry in entries:
            for piece in entry.pieces:
                content = np.ascontiguousarray(piece).data
                digest.update(content)
                stream.write(content)
        if stream.tell() != 8 + len(text) + position:
            raise ValueError(f"{path}: the pieces do not add up to the stated shapes")
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()
