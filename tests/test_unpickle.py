"""The restricted unpickler: what it reads, what it refuses, that it never executes."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.picklefile import read_pickle
from benchmark.errors import BenchmarkError
from tests.clock import within

DATA = {
    "f4": np.arange(12, dtype=np.float32).reshape(3, 4),
    "f2": np.arange(6, dtype=np.float16),
    "f8": np.linspace(0, 1, 5),
    "big endian": np.arange(4, dtype=">i4"),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": np.arange(10)[::3],
    "empty": np.zeros((0, 3), np.float32),
    "bool": np.array([True, False]),
    "text": np.array(["a$_$1", "bé$_$2"]),
    "bytes": np.array([b"ab", b"c"]),
    "objects": np.array([["x", "yé"], ["", "z"]], dtype=object),
    "scalar": np.float32(2.5),
    "int scalar": np.int64(-3),
    "dtype": np.dtype("<f4"),
    "plain": [1, -2.5, True, None, "é", b"\xff", (1, [2]), {"k": {3}}],
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and bool((one == other).all())
        )
    return type(one) is type(other) and one == other


def check_equal(found: dict[str, Any]) -> None:
    assert found.keys() == DATA.keys()
    for key, value in DATA.items():
        assert same(value, found[key]), key


def test_tuples_of_shared_tuples_are_refused_at_once(tmp_path: Path) -> None:
    pairs = b"\x80\x02)q\x000"
    for k in range(60):  # each is a pair of the last one: hashing the 60th takes 2^60 steps
        pairs += b"h%ch%c\x86q%c0" % (k, k, k + 1)
    (tmp_path / "a.pkl").write_bytes(pairs + b"}h\x3cK\x01s.")
    with within(), pytest.raises(BenchmarkError, match="shared within values"):
        read_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_reads_what_numpy_writes(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(DATA, protocol=protocol))
    check_equal(read_pickle(path))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3])
def test_reads_numpy_1_names(tmp_path: Path, protocol: int) -> None:
    content = pickle.dumps(DATA, protocol=protocol)
    assert b"numpy._core" in content
    path = tmp_path / "a.pkl"
    path.write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    check_equal(read_pickle(path))


class Calls:
    """Pickles as a call of ``function`` with ``args``."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.args


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "bad.pkl"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError) as error:
        read_pickle(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("protocol", range(6))
def test_os_system_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "marker"
    attack = {"train": {"audio": DATA["f4"], "id": Calls(os.system, f"touch {marker}")}}
    content = pickle.dumps(attack, protocol=protocol)
    ran: list[str] = []
    sys.addaudithook(lambda event, args: ran.append(event) if event == "os.system" else None)
    message = refusal(tmp_path, content)
    assert "posix.system" in message or "nt.system" in message
    assert "nothing was executed" in message
    assert not marker.exists()
    assert ran == []
    pickle.loads(content)  # the attack is real: an ordinary reader runs it
    assert marker.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("builtins", "open"),
        ("subprocess", "Popen"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy", "zeros"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "_reconstruct.__globals__"),
        ("numpy.f2py", "compile"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("pandas", "DataFrame"),
        ("collections", "Counter"),
        ("antigravity", "geohash"),
        ("benchmark.data.picklefile", "read_pickle"),
    ],
)
def test_other_names_are_refused_by_name(tmp_path: Path, module: str, name: str) -> None:
    arguments = b"(X\x01\x00\x00\x00xtR."
    message = refusal(tmp_path, b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments)
    assert f"{module}.{name}" in message
    assert "antigravity" not in sys.modules


def glob(name: str) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


def test_no_numpy_type_can_be_called(tmp_path: Path) -> None:
    huge = struct.pack("<q", 2**50)
    for opcodes in (
        b"\x80\x02" + glob("numpy ndarray") + b"\x8a\x08" + huge + b"\x85R.",  # call
        b"\x80\x02" + glob("numpy ndarray") + b"\x8a\x08" + huge + b"\x85\x81.",  # NEWOBJ
        b"\x80\x02" + glob("builtins bytes") + b"\x8a\x08" + huge + b"\x85R.",
    ):
        refusal(tmp_path, opcodes)


def test_constructors_cannot_be_altered(tmp_path: Path) -> None:
    state = b"}X\x08\x00\x00\x00__call__X\x01\x00\x00\x00xs"
    for name in ("_codecs encode", "numpy dtype", "numpy ndarray", "builtins set"):
        refusal(tmp_path, b"\x80\x02" + glob(name) + state + b"b.")
        refusal(tmp_path, b"\x80\x02" + glob(name) + b"N" + state + b"\x86b.")  # slot state


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array([object], dtype=object), "builtins.object"),
        (np.array([{1: 2}, None], dtype=object), "dict"),
        (np.zeros(2, dtype=[("a", "f4")]), "dtype"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "dtype"),
        (np.array([1j]), "dtype"),
        (np.ma.masked_array([1.0], [True]), "numpy.ma"),
        (np.matrix([[1.0]]), "matrix"),
        (slice(3), "slice"),
    ],
)
def test_other_data_is_refused(tmp_path: Path, value: Any, reason: str) -> None:
    assert reason in refusal(tmp_path, pickle.dumps(value))


def test_codecs_encode_is_latin_1_only(tmp_path: Path) -> None:
    assert "rot13" in refusal(
        tmp_path, pickle.dumps(Calls(__import__("_codecs").encode, "a", "rot13"))
    )


def array_pickle(state: tuple[Any, ...]) -> bytes:
    """An array whose second half is ``state``, unchecked."""
    first = b"\x80\x02" + glob("numpy.core.multiarray _reconstruct") + glob("numpy ndarray")
    return first + b"K\x00\x85U\x01b\x87R" + pickle.dumps(state, protocol=2)[2:-1] + b"b."


def test_array_sizes_are_checked(tmp_path: Path) -> None:
    for shape, dtype, content in (
        ((4,), np.dtype("f4"), b"\x00" * 8),  # too little
        ((1,), np.dtype("f4"), b"\x00" * 8),  # too much
        ((-1,), np.dtype("f4"), b"\x00" * 4),
        ((2**62, 4), np.dtype("f4"), b""),
        ((1000,), np.dtype("O"), ["x"]),  # numpy's own reader runs past the list here
        ((1,), np.dtype("O"), "x"),
        ((1,), np.dtype("U1"), b"\xff\xff\xff\x7f"),
        ((1,), "f4", b"\x00" * 4),
    ):
        refusal(tmp_path, array_pickle((1, shape, dtype, False, content)))


def test_dtypes_are_not_shared(tmp_path: Path) -> None:
    """A file that asks numpy to change a dtype in place changes nothing outside the file."""
    swapped = (
        glob("numpy dtype")
        + b"U\x02f4I00\nI00\n\x87R(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb."
    )
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02" + swapped)
    assert read_pickle(path) == np.dtype(">f4")
    assert np.dtype("f4").byteorder == "="


def test_endless_and_deep_nesting(tmp_path: Path) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    refusal(tmp_path, pickle.dumps(cycle))
    refusal(tmp_path, b"\x80\x02" + b"]" * 2000 + b"a" * 1999 + b".")


def test_shared_content_is_not_multiplied(tmp_path: Path) -> None:
    shared: list[Any] = [0]
    for _ in range(6):
        shared = [shared] * 1000  # 10**18 numbers, if each were copied
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(shared))
    assert len(read_pickle(path)) == 1000


def test_stated_sizes_must_fit_the_file(tmp_path: Path) -> None:
    for opcodes in (
        b"\x80\x02Nr\x00\x00\x00\x40.",  # memo index 2**30
        b"Np1073741824\n.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",  # BINBYTES8
        b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.",  # BYTEARRAY8
        b"\x80\x02X\xff\xff\xff\x7fx.",
        b"\x80\x02\x8b\xff\xff\xff\xff1.",
    ):
        assert "damaged" in refusal(tmp_path, opcodes)


def test_python_2_strings(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(array_pickle((1, (2,), np.dtype("u1"), False, "@@"))[:-1] + b".")
    assert read_pickle(path).tolist() == [64, 64]


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(BenchmarkError, match="cannot be read"):
            read_pickle(path)


CONTENT = pickle.dumps(DATA, protocol=2)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(CONTENT) - 1))
def test_truncated_anywhere(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    refusal(tmp_path_factory.getbasetemp(), CONTENT[:size])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(CONTENT) - 1), st.integers(0, 255)), max_size=4))
def test_damaged_anywhere(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    """Any damage either still reads as data or is refused in words; nothing else comes out."""
    content = bytearray(CONTENT)
    for position, value in changes:
        content[position] = value
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(content)
    with contextlib.suppress(BenchmarkError):
        read_pickle(path)
