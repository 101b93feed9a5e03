"""A pickle reader that knows numpy arrays and plain data, and nothing else.

An ordinary unpickler calls whatever the file names. Here a name is looked up in a short list, and
what stands in that list is ours: not one numpy function or type is reachable from the file. Arrays
are built from the checked dtype, shape and bytes, because numpy's own ``__setstate__`` trusts its
input, and the opcodes are looked over first, so that no few bytes can ask for all memory.
"""

from __future__ import annotations

import math
import pickle
from typing import Any, BinaryIO

import numpy as np

from benchmark.data.arrays import KINDS, build_array, check_shape, is_plain
from benchmark.data.opcodes import check_opcodes

MAX_DEPTH = 8
KEYS = (str, bytes, int, float, type(None))
"""What may be a key where it is we who hash it."""
PLAIN = (str, bytes, int, float, list, tuple, np.generic, np.ndarray)
"""What an object array may hold: text, numbers, and the sequences of a ragged column."""


class RefusedError(pickle.UnpicklingError):
    """The file asks for something that the list does not have."""


class _Shell:
    """What the file gets in place of a numpy type: cannot be called, has no attributes to set."""

    __slots__ = ()


class _NdarrayType(_Shell):
    __slots__ = ()


class Dtype:
    """A dtype under construction: made from a code, then told its byte order."""

    __slots__ = ("value",)

    def __init__(self, code: object) -> None:
        if isinstance(code, bytes):
            code = code.decode("latin-1")
        if not isinstance(code, str):
            raise RefusedError("a dtype that is not a plain code")
        value = np.dtype(code)
        if not is_plain(value, KINDS + "O"):
            raise RefusedError(f"an array of dtype '{value}'")
        self.value = value

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if isinstance(order, bytes):
            order = order.decode("latin-1")
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"byte order {order!r}")
        if order in "<>":
            self.value = self.value.newbyteorder(order)


class _Array:
    """An array under construction: empty, then given its shape, dtype and content."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: np.ndarray[Any, Any] = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        shape, dtype, fortran, content = state[-4:]
        self.value = _array(content, dtype, shape, "F" if fortran else "C")


def _array(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    """An array that shares the memory of ``content``; every size is checked first."""
    if not isinstance(dtype, Dtype):
        raise ValueError("an array without a dtype")
    if dtype.value.kind == "O":
        return _text_array(content, check_shape(shape), order)
    if isinstance(content, str):  # as Python 2 wrote bytes
        content = content.encode("latin-1")
    if not isinstance(content, bytes | bytearray):
        raise ValueError("array content that is not bytes")
    return build_array(content, dtype.value, shape, order)


def _text_array(content: Any, sizes: tuple[int, ...], order: str) -> np.ndarray[Any, Any]:
    if not isinstance(content, list) or len(content) != math.prod(sizes):
        raise ValueError(f"object array of shape {sizes} with other content")
    items = [unwrap(item) for item in content]
    for item in items:
        if item is not None and not isinstance(item, PLAIN):
            raise RefusedError(f"an object array that holds {type(item).__name__}")
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array.reshape(sizes, order=order)  # type: ignore[call-overload]


class _Call:
    """A constructor that the file may call. No attributes, so nothing in it can be replaced."""

    __slots__ = ()


class _Reconstruct(_Call):
    """numpy's first half of an array: always empty, whatever shape the file states here."""

    __slots__ = ()

    def __call__(self, kind: object, shape: object, code: object) -> _Array:
        return _Array()


class _FromBuffer(_Call):
    """numpy's one-step array of pickle protocol 5."""

    __slots__ = ()

    def __call__(self, content: object, dtype: object, shape: object, order: object) -> _Array:
        array = _Array()
        array.value = _array(content, dtype, shape, "F" if order == "F" else "C")
        return array


class _Scalar(_Call):
    __slots__ = ()

    def __call__(self, dtype: object, content: object) -> Any:
        if isinstance(dtype, Dtype) and dtype.value.kind == "O":
            raise RefusedError("a scalar of dtype 'object'")
        return _array(content, dtype, (), "C")[()]


class _DtypeType(_Call):
    __slots__ = ()

    def __call__(self, code: object, align: object = False, copy: object = True) -> Dtype:
        return Dtype(code)


class _Encode(_Call):
    """The way Python 3 writes bytes in old protocols; other encodings are none of its business."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise RefusedError(f"_codecs.encode with encoding {encoding!r}")
        return text.encode("latin-1")


class _Bytes(_Call):
    """``bytes()`` and ``bytes(list)``; never ``bytes(n)``, which only allocates."""

    __slots__ = ()

    def __call__(self, content: object = b"") -> bytes:
        if not isinstance(content, bytes | list | tuple):
            raise RefusedError(f"bytes of {type(content).__name__}")
        return bytes(content)


class _Set(_Call):
    __slots__ = ()

    def __call__(self, items: object = ()) -> set[Any]:
        if not isinstance(items, list | tuple) or not all(isinstance(x, KEYS) for x in items):
            raise RefusedError("a set of other than texts and numbers")
        return set(items)


class _Dict(_Call):
    """OrderedDict and defaultdict: the file fills a plain dict instead."""

    __slots__ = ()

    def __call__(self, pairs: object = ()) -> dict[Any, Any]:
        if not isinstance(pairs, list | tuple | _Shell):
            raise RefusedError(f"a dict of {type(pairs).__name__}")
        found = () if isinstance(pairs, _Shell) else pairs
        if not all(len(pair) == 2 and isinstance(pair[0], KEYS) for pair in found):
            raise RefusedError("a dict whose keys are other than texts and numbers")
        return dict(found)


ALLOWED: dict[tuple[str, str], _Shell | _Call] = {
    ("numpy", "ndarray"): _NdarrayType(),
    ("numpy", "dtype"): _DtypeType(),
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy.core.multiarray", "scalar"): _Scalar(),
    ("numpy._core.multiarray", "scalar"): _Scalar(),
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer(),
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer(),
    ("_codecs", "encode"): _Encode(),
    ("builtins", "bytes"): _Bytes(),
    ("__builtin__", "bytes"): _Bytes(),
    ("builtins", "set"): _Set(),
    ("__builtin__", "set"): _Set(),
    ("collections", "OrderedDict"): _Dict(),
    ("collections", "defaultdict"): _Dict(),
    ("builtins", "list"): _Shell(),
    ("builtins", "dict"): _Shell(),
}
"""(module, name) as the file states them -> what it gets. numpy 1 and numpy 2 module names."""


class Restricted:
    """Of an unpickler: a file gets what is :data:`ALLOWED` and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """What the file gets for a name. Raises RefusedError."""
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise RefusedError(repr(f"{module}.{name}")) from None

    def persistent_load(self, pid: Any) -> Any:
        """Nothing. Raises RefusedError."""
        raise RefusedError("an object kept outside the file (persistent id)")


class _Reader(Restricted, pickle.Unpickler):
    pass


def unwrap(value: Any, depth: int = 0, done: dict[int, Any] | None = None) -> Any:
    """``value`` with finished arrays in place of those under construction.

    ``done`` holds the containers already unwrapped: what the file shares stays shared.
    """
    if isinstance(value, _Array | Dtype):
        return value.value
    if not isinstance(value, dict | list | tuple):
        return value
    if depth >= MAX_DEPTH:
        raise ValueError("nested too deeply for a feature package")
    done = {} if done is None else done
    if id(value) not in done:
        if isinstance(value, dict):
            done[id(value)] = {k: unwrap(v, depth + 1, done) for k, v in value.items()}
        else:
            items = [unwrap(item, depth + 1, done) for item in value]
            done[id(value)] = tuple(items) if isinstance(value, tuple) else items
    return done[id(value)]


def read(stream: BinaryIO) -> Any:
    """The data in an open pickle; raises an UnpicklingError or one of BROKEN."""
    check_opcodes(stream)
    return unwrap(_Reader(stream, encoding="latin1").load())
