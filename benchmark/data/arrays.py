"""Arrays out of files that nobody vouches for: what every reader checks before it builds one."""

from __future__ import annotations

import math
import struct
import sys
from typing import Any

import numpy as np

KINDS = "fiubSU"
"""dtype kinds that a feature package needs: numbers, flags, bytes, text."""

BROKEN = (
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    ImportError,
    NotImplementedError,
    struct.error,
)
"""What a damaged file makes a reader raise."""


def is_plain(dtype: np.dtype[Any], kinds: str = KINDS) -> bool:
    """Whether a dtype is one of the kinds, without fields or inner shapes."""
    return dtype.kind in kinds and dtype.names is None and dtype.subdtype is None


def check_shape(shape: Any) -> tuple[int, ...]:
    """A stated shape as sizes. Raises ValueError, for ``(True, 5, 8)`` too."""
    if not isinstance(shape, tuple | list) or any(type(n) is not int or n < 0 for n in shape):
        raise ValueError(f"shape {str(shape)[:100]}")
    return tuple(shape)


def build_array(
    content: bytes | bytearray, dtype: np.dtype[Any], shape: Any, order: str
) -> np.ndarray[Any, Any]:
    """An array that shares the memory of ``content``; every size is checked first.

    Raises:
        ValueError: the shape is none or does not fit the content, or text is not Unicode.
    """
    sizes = check_shape(shape)
    if len(content) != math.prod(sizes) * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes for shape {sizes} of {dtype}")
    if not content:
        return np.zeros(sizes, dtype)
    if dtype.kind == "U":
        points = np.frombuffer(content, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if points.max() > sys.maxunicode:
            raise ValueError("text that is not Unicode")
    return np.frombuffer(content, dtype).reshape(sizes, order=order)  # type: ignore[call-overload]
