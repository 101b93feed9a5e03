"""Files of joblib.dump, uncompressed: a pickle with the bytes of each array behind its description.

The opcodes cannot be looked over beforehand, since only who follows them knows where the bytes of
an array are. So this reader is Python's own slow one, kept on a leash: it reads no byte past the
file's end, makes what the restricted reader makes and nothing else, and uses only texts and numbers
as keys, so that nothing deep is ever hashed.
"""

from __future__ import annotations

import math
import os
import pickle
from typing import Any, BinaryIO, ClassVar

import numpy as np

from benchmark.data.arrays import build_array, check_shape
from benchmark.data.unpickle import KEYS, Dtype, Restricted, unwrap

WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")


class _Wrapped:
    """What joblib writes of an array before its bytes."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Leashed:
    """A file that gives no more than it has."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self.stream, self.size = stream, size

    def read(self, count: int) -> bytes:
        """``count`` bytes. Raises EOFError where there are fewer."""
        if count < 0 or count > self.size - self.stream.tell():
            raise EOFError(f"a length of {count}, past the end")
        return self.stream.read(count)

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer``. Raises EOFError where it cannot be."""
        if len(buffer) > self.size - self.stream.tell():
            raise EOFError(f"a length of {len(buffer)}, past the end")
        return self.stream.readinto(buffer)  # type: ignore[attr-defined]

    def readline(self) -> bytes:
        return self.stream.readline()


_Python: Any = pickle._Unpickler
"""The unpickler that is written in Python: each opcode is a method of it."""


class _Reader(Restricted, _Python):
    dispatch: ClassVar[dict[int, Any]] = dict(_Python.dispatch)

    def __init__(self, file: _Leashed) -> None:
        super().__init__(file, encoding="latin1")
        self.file = file

    def find_class(self, module: str, name: str) -> Any:
        return _Wrapped if (module, name) == WRAPPER else super().find_class(module, name)

    def build(self) -> None:
        """BUILD; where it completes joblib's description of an array, the array follows."""
        super().load_build()
        if isinstance(self.stack[-1], _Wrapped):
            frame = self._unframer.current_frame
            if frame is not None and frame.read(1):
                raise ValueError("an array in the middle of a frame")
            self.stack[-1] = _array(self.stack[-1].state, self.file)

    def keyed(self, opcode: int) -> None:
        """An opcode that makes keys, or members of a set, of what is on the stack."""
        single = opcode == pickle.SETITEM[0]
        found = self.stack[-2:-1] if single else self.stack
        step = 1 if opcode in (pickle.ADDITEMS[0], pickle.FROZENSET[0]) else 2
        if not all(isinstance(key, KEYS) for key in found[::step]):
            raise ValueError("a key that is no text or number")
        _Python.dispatch[opcode](self)


_Reader.dispatch[pickle.BUILD[0]] = _Reader.build
for _opcode in (*pickle.SETITEM, *pickle.SETITEMS, *pickle.DICT, *pickle.ADDITEMS):
    _Reader.dispatch[_opcode] = lambda reader, opcode=_opcode: reader.keyed(opcode)
_Reader.dispatch[pickle.FROZENSET[0]] = lambda reader: reader.keyed(pickle.FROZENSET[0])


def _array(state: Any, file: _Leashed) -> np.ndarray[Any, Any]:
    """The array that joblib described, from the bytes that come next."""
    dtype = state["dtype"]
    if not isinstance(dtype, Dtype):
        raise ValueError("an array without a dtype")
    if dtype.value.kind == "O":  # a pickle of its own
        inner = unwrap(_Reader(file).load())
        if not isinstance(inner, np.ndarray):
            raise ValueError("an array of objects that is none")
        return inner
    if state.get("numpy_array_alignment_bytes") is not None:
        file.read(file.read(1)[0])
    sizes = check_shape(state["shape"])
    size = math.prod(sizes) * dtype.value.itemsize
    if size > file.size - file.stream.tell():
        raise EOFError(f"an array of {size} bytes, past the end")
    content = bytearray(size)
    file.readinto(content)
    return build_array(content, dtype.value, sizes, "F" if state["order"] == "F" else "C")


def read_joblib(stream: BinaryIO) -> Any:
    """The data in an open file; raises an UnpicklingError or what a damaged file makes of it."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    return unwrap(_Reader(_Leashed(stream, size)).load())
