"""Feature packages as .npz or .safetensors: the pickle's keys, one level flatter.

``train.text``, ``train.id``, ``valid.regression_labels`` and so on. An .npz holds every column as
an array (texts as dtype=str). A .safetensors file holds numbers only: its texts (``train.id``,
``train.raw_text``) are JSON lists in the metadata.
"""

from __future__ import annotations

import io
import json
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmark.data.arrays import BROKEN, build_array, check_shape, is_plain
from benchmark.errors import BenchmarkError
from benchmark.files import check_regular
from benchmark.hygiene import one_line

ARCHIVES = (".npz", ".safetensors")
MAX_RATIO = 200
"""An archive may unpack to so many times its size: padded features come to 20, bombs to 1000."""
FREE_BYTES = 64 * 2**20
"""What any archive may unpack to."""
PIECE_BYTES = 2**20
_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4}
"""Version of an .npy file -> how many bytes state its header's length."""
_LONGEST_HEADER = 2**15
"""numpy refuses one of more than 10,000 characters."""

_LOCAL = struct.Struct("<4s22xHH")
"""What stands before a member's content: a mark, and how long its name and further fields are."""
_ENCRYPTED = 0x1

_UNREADABLE = (
    *BROKEN,
    OSError,
    RuntimeError,  # encrypted
    zipfile.BadZipFile,
    zlib.error,
    SyntaxError,  # of an array's header
    tokenize.TokenError,
    lzma.LZMAError,
)


def read_archive(path: Path) -> dict[str, Any]:
    """The columns by split: ``{"train": {"id": ..., "text": ...}, ...}``.

    Raises:
        BenchmarkError: the file is damaged, unpacks to far more than its size, or a column cannot
            be read without executing code.
    """
    columns = read_npz(path) if path.suffix == ".npz" else _safetensors(path)
    data: dict[str, Any] = {}
    for key, values in columns.items():
        split, dot, name = key.partition(".")
        whole = columns.get(split)
        if dot and whole is not None:
            raise BenchmarkError(
                f"{path}: has both '{one_line(split, 60)}' and '{one_line(key, 60)}': write columns"
                " as split.name, and nothing under the split's own name."
            )
        if dot:
            data.setdefault(split, {})[name] = values
        else:
            data[key] = values
    return data


def read_npz(path: Path, only: str | None = None) -> dict[str, Any]:
    """The arrays of an .npz file, or the one array that has a name. Raises BenchmarkError."""
    size = check_regular(path)
    try:
        small = size <= PIECE_BYTES  # its members are looked up in memory, not in the file
        with zipfile.ZipFile(io.BytesIO(path.read_bytes()) if small else path) as archive:
            members = archive.infolist()
            _check_unpacked(path, members, size)
            names = [member.filename.removesuffix(".npy") for member in members]
            _check_once(path, names)
            pairs = [p for p in zip(names, members, strict=True) if only in (None, p[0])]
            return {name: _column(archive, member, path) for name, member in pairs}
    except _UNREADABLE as error:
        raise _damaged(path, error) from None


def _check_unpacked(path: Path, members: Iterable[zipfile.ZipInfo], size: int) -> None:
    """Refuse an archive that states more than its size allows, before anything is unpacked."""
    stated = sum(member.file_size for member in members)
    if stated > FREE_BYTES + MAX_RATIO * size:
        raise BenchmarkError(
            f"{path}: states {stated:,} bytes of content in a file of {size:,}: damaged, or no"
            " feature package. Save it with np.savez, without compression."
        )


def _check_once(path: Path, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise BenchmarkError(f"{path}: holds '{one_line(name, 60)}' twice.")
        seen.add(name)


def npy_shape(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The stated shape and dtype of an .npy file, its content unread. Raises BenchmarkError."""
    check_regular(path)
    try:
        with path.open("rb") as stream:
            header = _header(stream)
            if header is None:
                raise ValueError("no numpy header")
            return check_shape(header[0]), header[2]
    except _UNREADABLE as error:
        raise _damaged(path, error) from None


def read_npy(path: Path) -> Any:
    """The array of an .npy file. Raises BenchmarkError."""
    size = check_regular(path)
    try:
        with path.open("rb") as stream:
            return _array(stream, size, path)
    except _UNREADABLE as error:
        raise _damaged(path, error) from None


def _column(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Any:
    try:
        with _opened(archive, member) as stream:
            return _array(stream, member.file_size, path, member.filename)
    except _UNREADABLE as error:
        raise _damaged(path, error, _within(path, member.filename)) from None


def _within(path: Path, member: str) -> str:
    return f"{path}: {one_line(member.removesuffix('.npy'), 60)}" if member else str(path)


def _opened(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    """A member's content. A small one that lies there unpacked is read in one piece, in a quarter
    of the time; what is not as it should be is left to zipfile, which says why."""
    plain = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & _ENCRYPTED
    if plain and member.file_size <= PIECE_BYTES and (stream := archive.fp):
        stream.seek(member.header_offset)
        head = stream.read(_LOCAL.size)
        if len(head) == _LOCAL.size and (found := _LOCAL.unpack(head))[0] == b"PK\3\4":
            stream.seek(found[1] + found[2], io.SEEK_CUR)
            content = stream.read(member.file_size)
            if len(content) == member.file_size and zlib.crc32(content) == member.CRC:
                return io.BytesIO(content)
    return archive.open(member)


def _array(stream: Any, bytes_in_all: int, path: Path, member: str = "") -> Any:
    """One array, read after its stated shape has been found to fit its stated size."""
    header = _header(stream)
    if header is None:
        where = _within(path, member)
        raise BenchmarkError(f"{where}: is no array (.npy) of a version that is read here.")
    shape, fortran, dtype = header
    if dtype.hasobject:
        raise BenchmarkError(
            f"{_within(path, member)}: cannot be read without executing code (it holds objects)."
            " Save texts with np.array(texts, dtype=str), and sequences padded to one array of"
            " numbers."
        )
    if not is_plain(dtype):
        raise ValueError(f"dtype {dtype}")
    size = math.prod(check_shape(shape)) * dtype.itemsize
    left = bytes_in_all - stream.tell()
    if size != left:
        raise ValueError(f"shape {shape} of {dtype} is {size:,} bytes, there are {left:,}")
    return build_array(_content(stream, size), dtype, shape, "F" if fortran else "C")


def _header(stream: Any) -> tuple[Any, bool, np.dtype[Any]] | None:
    """(shape, in Fortran's order, dtype); None where it is no array. Raises what is broken."""
    start = stream.read(np.lib.format.MAGIC_LEN)
    width = _LENGTH_BYTES.get(start[-2:])
    if width is None or not start.startswith(np.lib.format.MAGIC_PREFIX):
        return None
    length = stream.read(width)
    text = stream.read(min(int.from_bytes(length, "little"), _LONGEST_HEADER))
    return _parsed(width, length + text)


@lru_cache(maxsize=256)
def _parsed(width: int, content: bytes) -> tuple[Any, bool, np.dtype[Any]]:
    """A header's content: the arrays of thousands of records have the same few."""
    form = np.lib.format
    reader = form.read_array_header_1_0 if width == 2 else form.read_array_header_2_0
    return reader(io.BytesIO(content))


def _content(stream: Any, size: int) -> bytearray:
    """``size`` bytes, unpacked piece by piece. Raises EOFError where they are not there."""
    content = bytearray(size)
    view, done = memoryview(content), 0
    while done < size:
        count = stream.readinto(view[done : done + PIECE_BYTES])
        if not count:
            raise EOFError(f"ends after {done:,} of {size:,} bytes")
        done += count
    if stream.read(1):  # reading on to the end compares the checksum
        raise ValueError(f"goes on after {size:,} bytes")
    return content


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as tensors:
            found = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
            texts = tensors.metadata() or {}
    except (SafetensorError, *_UNREADABLE) as error:
        if "bfloat16" in str(error) or "float8" in str(error):
            raise BenchmarkError(
                f"{path}: holds numbers that numpy does not have ({one_line(error, 100)}). Save its"
                " tensors as float16 or float32."
            ) from None
        raise _damaged(path, error) from None
    for key, text in texts.items():
        if "." not in key:
            continue
        _check_once(path, [*found, key])
        try:
            found[key] = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise BenchmarkError(
                f"{path}: metadata '{one_line(key, 60)}' must be a JSON list of texts"
                f" ({one_line(error, 100)})."
            ) from None
    return found


def _damaged(path: Path, error: Exception, where: str = "") -> BenchmarkError:
    said = one_line(error, 200) or type(error).__name__
    return BenchmarkError(f"{where or path}: damaged, or no {path.suffix} file ({said}).")
