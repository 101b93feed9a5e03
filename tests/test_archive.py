"""Archives that are damaged or hostile: one line each, in bounded time and memory."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save

from benchmark.data.archive import read_archive
from benchmark.data.csvfile import read_rows
from benchmark.data.manifest import MANIFEST, read_manifest
from benchmark.data.package import parse_package, read_package
from benchmark.data.picklefile import read_pickle
from benchmark.errors import BenchmarkError
from tests.clock import within
from tests.packages import make_package
from tests.test_layouts import write_npz, write_safetensors


def npy(shape: str, content: bytes, descr: str = "'<f4'") -> bytes:
    """An .npy file with whatever header."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def one(content: bytes) -> bytes:
    return zipped({"train.text.npy": content})


def encrypted() -> bytes:
    content = bytearray(zipped({"train.text.npy": npy("(1,)", bytes(4))}))
    content[6] |= 1  # the flag in the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    return bytes(content)


def damaged_deflate() -> bytes:
    content = bytearray(zipped({"train.text.npy": npy("(4000,)", os.urandom(16000))}))
    content[200:1200] = bytes(1000)
    return bytes(content)


def lying() -> bytes:
    """37 GiB stated by the array and by the directory, and a few bytes there."""
    size = 37 * 2**30
    content = bytearray(one(npy(f"({size // 4},)", b"")))
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<I", 2**32 - 2)
    return bytes(content)


def nested_metadata() -> bytes:
    return save({"train.text": np.ones((1, 1, 1))}, {"train.id": "[" * 200_000})


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a claimed shape of 37 GiB": (lambda: one(npy("(9932111872,)", bytes(64))), "there are 64"),
    "a flag as a size": (lambda: one(npy("(True, 5, 8)", bytes(160))), "shape"),
    "a negative size": (lambda: one(npy("(-1, 4)", bytes(16))), "shape"),
    "a size of a thousand digits": (lambda: one(npy(f"({'9' * 1000},)", b"")), "damaged"),
    "no sizes at all of a large kind": (lambda: one(npy("(0, 2)", b"", "'<U1000000000'")), ""),
    "damaged deflate": (damaged_deflate, "damaged"),
    "encrypted": (encrypted, "encrypted"),
    "the directory lies": (lying, "states"),
    "a bomb": (lambda: one(npy("(75000000,)", bytes(300_000_000))), "states"),
    "a pickle": (lambda: pickle.dumps({"train": {}}), "no .npz file"),
    "random bytes": (lambda: bytes(range(256)) * 20, "no .npz file"),
    "nothing but a zip": (lambda: one(b"hello"), "no array"),
    "objects": (lambda: one(npy("(1,)", pickle.dumps([1]), "'|O'")), "dtype=str"),
    "fields": (lambda: one(npy("(1,)", bytes(8), "[('a', '<i4'), ('b', '<i4')]")), "dtype"),
    "texts that are not Unicode": (lambda: one(npy("(1,)", b"\xff" * 4, "'<U1'")), "Unicode"),
    "a header that never ends": (lambda: one(npy("(" * 3000, b"")), "damaged"),
    "a wrong checksum": (lambda: flipped(), "CRC"),
    "a column beside its split": (
        lambda: zipped({f"{n}.npy": npy("(1,)", bytes(4)) for n in ("train", "train.text")}),
        "both 'train' and 'train.text'",
    ),
    "too much after the content": (lambda: one(npy("(1,)", bytes(64))), "there are 64"),
}


def flipped() -> bytes:
    content = bytearray(zipped({"train.text.npy": npy("(4,)", bytes(16))}, zipfile.ZIP_STORED))
    content[content.index(b"\n", 60) + 2] ^= 1
    return bytes(content)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_npz_is_one_line(tmp_path: Path, name: str) -> None:
    make, words = HOSTILE[name]
    path = tmp_path / "p.npz"
    path.write_bytes(make())
    with within(), pytest.raises(BenchmarkError) as error:
        read_package(path)
    assert words in str(error.value)
    assert "p.npz" in str(error.value)
    assert len(str(error.value)) < 600


def test_a_member_that_is_there_twice(tmp_path: Path) -> None:
    content = zipped({f"train.{name}.npy": npy("(1,)", bytes(4)) for name in ("id", "ie")})
    (tmp_path / "p.npz").write_bytes(content.replace(b"train.ie", b"train.id"))
    with pytest.raises(BenchmarkError, match=r"'train\.id' twice"):
        read_archive(tmp_path / "p.npz")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (nested_metadata(), "JSON list"),
        (save({"train": np.ones(1), "train.text": np.ones(1)}), "both 'train'"),
        (save({"train.id": np.ones(1)}, {"train.id": "[1]"}), "twice"),
        (struct.pack("<Q", 2**40) + b"{}", "damaged"),
        (pickle.dumps([1]), "damaged"),
    ],
)
def test_a_hostile_safetensors_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "p.safetensors"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=words):
        read_package(path)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pkl", ".csv"])
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path, suffix: str) -> None:
    pipe, endless = tmp_path / f"pipe{suffix}", tmp_path / f"endless{suffix}"
    os.mkfifo(pipe)
    endless.symlink_to("/dev/zero")
    for path in (pipe, endless):
        with pytest.raises(BenchmarkError, match="a pipe or a device"):
            read_rows(path, []) if suffix == ".csv" else read_package(path)


@pytest.mark.parametrize("compressed", [False, True])
def test_sound_archives_are_read_as_numpy_reads_them(tmp_path: Path, compressed: bool) -> None:
    expected = {
        "train.text": np.random.default_rng(0).normal(size=(40, 50, 30)),
        "train.id": np.array(["a", "bé"]),
        "valid.label": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        "test.audio": np.zeros((0, 3), np.float16),
        "note": np.float32(2),
    }
    (np.savez_compressed if compressed else np.savez)(tmp_path / "p.npz", **expected)
    found = read_archive(tmp_path / "p.npz")
    found |= {f"{s}.{k}": v for s in ("train", "valid", "test") for k, v in found.pop(s).items()}
    with np.load(tmp_path / "p.npz") as archive:
        for key in expected:
            assert found[key].dtype == archive[key].dtype
            np.testing.assert_array_equal(found[key], archive[key])


def read_any(path: Path) -> None:
    with within(), contextlib.suppress(BenchmarkError):
        read_package(path)


@settings(max_examples=200)
@given(
    st.sampled_from(["p.npz", "p.safetensors"]),
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=4),
    st.none() | st.integers(0, 2**20),
)
def test_a_damaged_archive_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    changes: list[tuple[int, int]],
    end: int | None,
) -> None:
    path = tmp_path_factory.mktemp("damaged") / name
    (write_npz if name == "p.npz" else write_safetensors)(path, make_package())
    content = bytearray(path.read_bytes())
    for place, byte in changes:
        content[place % len(content)] = byte
    path.write_bytes(content[: end % len(content)] if end is not None else content)
    read_any(path)


@settings(max_examples=200)
@given(st.sampled_from(["p.npz", "p.safetensors", "p.pkl"]), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(content)
    read_any(path)
    if name == "p.pkl":
        with within(), contextlib.suppress(BenchmarkError):
            read_pickle(path)


KEYS = st.sampled_from(
    [
        "id",
        "text",
        "audio",
        "vision",
        "raw_text",
        "labels",
        "regression_labels",
        "classification_labels",
        "text_lengths",
        "audio_lengths",
        "other",
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | arrays.arrays(
        st.sampled_from([np.float32, np.int64, np.bool_, np.dtype("U2")]),
        arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=5,
)
SPLIT = st.dictionaries(KEYS, VALUES, max_size=6)


@settings(max_examples=300)
@given(st.fixed_dictionaries({"train": SPLIT, "valid": SPLIT, "test": SPLIT}) | VALUES)
def test_any_content_is_a_package_or_refused(data: Any) -> None:
    with within(), contextlib.suppress(BenchmarkError):
        parse_package(data, "p.pkl")


@settings(max_examples=200)
@given(st.sampled_from(sorted(make_package()["train"])), VALUES)
def test_any_column_is_sound_or_refused(key: str, value: Any) -> None:
    data = make_package()
    data["train"][key] = value
    with within(), contextlib.suppress(BenchmarkError):
        parse_package(data, "p.pkl")


@settings(max_examples=200)
@given(st.binary(max_size=200) | st.text('text,label;\n"\r\0é 1', max_size=80).map(str.encode))
def test_any_csv_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(content)
    with within(), contextlib.suppress(BenchmarkError):
        read_rows(path, [("text", "text")])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_manifest_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("set")
    (folder / MANIFEST).write_bytes(content)
    with within(), pytest.raises(BenchmarkError, match=r"manifest\.json"):
        read_manifest(folder)
    (folder / MANIFEST).write_bytes(b"[" * 100_000)
    with pytest.raises(BenchmarkError, match=r"manifest\.json"):
        read_manifest(folder)
