"""What is no feature package is called by its name: by its first bytes, or by its layout."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from benchmark.data.csvfile import read_rows
from benchmark.data.package import read_package
from benchmark.errors import BenchmarkError
from tests.packages import SIZES, make_package, write_package


def saved(write: Callable[[Any], Any]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def zipped(*names: str) -> bytes:
    def write(out: Any) -> None:
        with zipfile.ZipFile(out, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return saved(write)


PICKLE = pickle.dumps(make_package())
TENSORS = {"train": {"text": torch.ones(2, 3)}}
FRAME = pd.DataFrame({"text": ["a"], "label": [1.0]})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 554181170\n"

FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "a web page": (b"\n<!DOCTYPE html><html>Quota exceeded", ("web page", "Open it in a browser")),
    "git-lfs": (POINTER, ("git-lfs pointer", "git lfs pull")),
    "gzip": (gzip.compress(PICKLE), ("gzip", "Unpack it first")),
    "bzip2": (bz2.compress(PICKLE), ("bzip2", "joblib")),
    "xz": (lzma.compress(PICKLE), ("xz", "Unpack")),
    "zlib": (zlib.compress(PICKLE, 3), ("zlib", "joblib.load")),
    "torch": (saved(lambda out: torch.save(TENSORS, out)), ("torch.save", ".numpy()")),
    "old torch": (
        saved(lambda out: torch.save(TENSORS, out, _use_new_zipfile_serialization=False)),
        ("torch.save", "torch.load"),
    ),
    "parquet": (saved(FRAME.to_parquet), ("parquet", "to_csv")),
    "feather": (saved(FRAME.to_feather), ("feather", "to_csv")),
    "matlab": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64", ("MATLAB", "loadmat")),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), ("HDF5", "benchmark data align")),
    "npy": (saved(lambda out: np.save(out, np.ones(3))), (".npy", "np.savez")),
    "npz of another name": (saved(lambda out: np.savez(out, a=np.ones(3))), ("ending .npz",)),
    "excel": (zipped("xl/workbook.xml", "[Content_Types].xml"), ("Excel", "CSV UTF-8")),
    "zip": (zipped("MOSI/unaligned_50.pkl"), ("ZIP archive", "Unpack")),
    "cut zip": (zipped("a")[:20], ("damaged ZIP",)),
}


@pytest.mark.parametrize("name", ["data.pkl", "data.pt", "data"])
@pytest.mark.parametrize("case", FILES)
def test_a_file_is_called_what_it_is(tmp_path: Path, case: str, name: str) -> None:
    content, words = FILES[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BenchmarkError) as error:
        read_package(path)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("case", ["parquet", "excel", "a web page", "gzip", "git-lfs"])
def test_a_table_that_is_no_csv(tmp_path: Path, case: str) -> None:
    content, words = FILES[case]
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match="is no CSV") as error:
        read_rows(path, [])
    assert words[0] in str(error.value)


@pytest.mark.parametrize("encoding", ["gbk", "cp1252", "utf-16"])
def test_a_csv_of_another_encoding(tmp_path: Path, encoding: str) -> None:
    text = "这部电影很好" if encoding == "gbk" else "naïve café"
    path = tmp_path / "t.csv"
    path.write_bytes(f"text,label\n{text},1\n".encode(encoding))
    with pytest.raises(BenchmarkError, match="--csv-encoding"):
        read_rows(path, [])
    assert read_rows(path, [], encoding)[0].cells == {"text": text, "label": "1"}
    with pytest.raises(BenchmarkError, match="no encoding of that name"):
        read_rows(path, [], "utf-9")


def test_joblib_and_tensors_and_tables(tmp_path: Path) -> None:
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "p.pkl"
    for compress in (3, ("gzip", 3)):
        joblib.dump(make_package(), path, compress=compress)
        with pytest.raises(BenchmarkError, match=r"joblib|gzip") as error:
            read_package(path)
        assert "damaged" not in str(error.value)
    for content, word in ((TENSORS, "torch tensors"), ({"train": FRAME}, "pandas tables")):
        write_package(path, content)
        with pytest.raises(BenchmarkError, match=word) as error:
            read_package(path)
        assert "nothing was executed" in str(error.value)


def mag_bert() -> dict[str, list[Any]]:
    """Lists of ((words, visual, acoustic), label, segment), as MAG-BERT's packages are."""
    one = ((["a", "b"], np.ones((2, 47)), np.ones((2, 74))), np.ones((1, 1)), "video[0]")
    return {split: [one] * count for split, count in SIZES.items()}


LAYOUTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "MAG-BERT": (
        {("dev" if s == "valid" else s): x for s, x in mag_bert().items()},
        ("split 'train' is a list of 20 tuples", "MAG-BERT"),
    ),
    "list of tuples": (mag_bert()["train"], ("a list of 20 tuples", "MAG-BERT")),
    "list of dicts": ([{"id": "a"}] * 3, ("list of 3 dictionaries", "Gather them by split")),
    "no train": ({k: v for k, v in make_package().items() if k != "train"}, ("'train'", "valid")),
    "other names": (
        {"training": {}, "dev": {}, "testing": {}},
        ("--split-names training=train",),
    ),
    "columns": (make_package()["train"], ("the columns of one set", "benchmark predict")),
    "by id": (
        {f"video{k}": {"feature": np.ones(3)} for k in range(9)},
        ("a dictionary of 9 samples by id",),
    ),
    "flat names": ({"train_data": 1, "train_label": 2}, ("'train' is missing", "train_data")),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_a_layout_is_called_what_it_is(tmp_path: Path, case: str) -> None:
    data, words = LAYOUTS[case]
    with pytest.raises(BenchmarkError) as error:
        read_package(write_package(tmp_path / "p.pkl", data))
    for word in words:
        assert word in str(error.value)
