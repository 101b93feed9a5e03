"""Import of broken packages and into folders that cannot be written: each with its message."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data import importer, tensorfile
from benchmark.data.importer import import_package
from benchmark.data.package import parse_package
from benchmark.errors import BenchmarkError
from tests.packages import SHAPES, import_and_load, make_package, write_package


def refused(tmp_path: Path, data: Any, *words: str, **options: Any) -> None:
    """Import fails, names the file and each of ``words``, and leaves nothing behind."""
    with pytest.raises(BenchmarkError) as error:
        import_and_load(tmp_path, data, **options)
    for word in ("package.pkl", *words):
        assert word in str(error.value), str(error.value)
    left = tmp_path / "data"
    assert not left.exists() or not [p for p in left.iterdir() if p.suffix != ".lock"]


def change(split: str, key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    def apply(data: dict[str, Any]) -> Any:
        if value is None:
            del data[split][key]
        else:
            data[split][key] = value
        return data

    return apply


def at(split: str, key: str, index: Any, value: Any) -> Callable[[dict[str, Any]], Any]:
    def apply(data: dict[str, Any]) -> Any:
        data[split][key][index] = value
        return data

    return apply


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], tuple[str, ...]]] = {
    "not a dict": (lambda d: [1], ("list",)),
    "missing split": (lambda d: {k: v for k, v in d.items() if k != "valid"}, ("'valid'", "train")),
    "split is no dict": (lambda d: {**d, "test": 3}, ("'test'",)),
    "empty split": (change("valid", "id", []), ("valid", "no samples")),
    "missing id": (change("valid", "id", None), ("valid", "'id'", "raw_text")),
    "missing label": (change("test", "regression_labels", None), ("test", "'regression_labels'")),
    "no label at all": (
        lambda d: {s: {"id": x["id"], "text": x["text"]} for s, x in d.items()},
        ("regression_labels", "classification_labels"),
    ),
    "no modality": (
        lambda d: {s: {k: v for k, v in x.items() if k not in SHAPES} for s, x in d.items()},
        ("text, audio, vision",),
    ),
    "modality in one split only": (change("valid", "vision", None), ("vision", "valid")),
    "array too short": (
        lambda d: change("train", "audio", d["train"]["audio"][:-1])(d),
        ("train", "audio has 19 rows", "id has 20"),
    ),
    "labels too short": (change("train", "regression_labels", [1.0]), ("has 1 rows",)),
    "texts too short": (change("test", "raw_text", ["a"]), ("raw_text has 1 rows",)),
    "lengths too short": (change("valid", "audio_lengths", [1]), ("audio_lengths has 1 rows",)),
    "length beyond T": (
        at("valid", "audio_lengths", 3, 9),
        ("valid: audio_lengths: row 3", "valid1$_$0", "is 9", "8 steps"),
    ),
    "negative length": (at("test", "text_lengths", 0, -1), ("test: text_lengths: row 0", "-1")),
    "two dimensions": (change("train", "text", np.ones((20, 5))), ("train: text", "(N, T, d)")),
    "no steps": (change("train", "text", np.ones((20, 0, 5))), ("no steps or no channels",)),
    "ragged": (change("train", "audio", [[1.0], [2.0]]), ("train: audio", "shape")),
    "features as text": (change("train", "audio", np.full((20, 8, 3), "x")), ("dtype",)),
    "other width in a split": (change("test", "audio", np.ones((9, 8, 4))), ("test", "(8, 4)")),
    "label out of range": (
        at("test", "regression_labels", 5, 3.5),
        ("test: regression_labels: row 5", "test1$_$2", "3.5", "[-3, 3]", "1..5"),
    ),
    "label NaN": (at("train", "regression_labels", 2, np.nan), ("row 2", "nan")),
    "label infinite": (at("train", "regression_labels", 2, -np.inf), ("row 2", "-inf")),
    "label as text": (change("train", "regression_labels", ["good"] * 20), ("one number",)),
    "label as lists": (change("train", "regression_labels", [[1, 2]] * 20), ("--label-column",)),
    "id in two splits": (at("test", "id", 0, "train0$_$0"), ("train row 0", "test row 0")),
    "ids as dicts": (change("train", "id", [{"a": 1}] * 20), ("train: id",)),
    "id of too many digits": (at("train", "id", 0, 10**5000), ("train: id",)),
    "whole sample not finite": (
        at("test", "vision", (4, slice(None)), np.nan),
        ("test: vision: row 4", "test1$_$1", "no finite value"),
    ),
    "modality zero in train": (
        lambda d: change("train", "vision", np.zeros((20, 4, 2)))(d),
        ("train: vision", "zero in every train sample"),
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_packages(tmp_path: Path, case: str) -> None:
    broken, words = BROKEN[case]
    refused(tmp_path, broken(make_package()), *words)


@pytest.mark.parametrize(
    ("value", "word"), [(-1, "-1"), (0.5, "0.5"), (np.nan, "nan"), (7, "never occurs")]
)
def test_broken_classes(tmp_path: Path, value: float, word: str) -> None:
    data = make_package(task="classification")
    data["train"]["classification_labels"] = data["train"]["classification_labels"].astype(float)
    data["train"]["classification_labels"][3] = value
    refused(tmp_path, data, word)


def test_wrong_task(tmp_path: Path) -> None:
    refused(tmp_path, make_package(task="classification"), "regression_labels", task="regression")


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.pkl", b"", "0 bytes"),
        ("a.csv", b"id,text\n", "unknown file type '.csv'"),
        ("a.npz", b"PK\x03\x04", "damaged"),
        ("a.safetensors", b"\x08", "damaged"),
        ("a.pt", b"PK\x03\x04", "unknown file type '.pt'"),
        ("a.pkl", b"PK\x03\x04", "damaged"),
        ("a.pkl", b"\x80", "damaged"),
    ],
)
def test_files_that_are_no_package(tmp_path: Path, name: str, content: bytes, word: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=word):
        import_package(path, "mine", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="no such file"):
        import_package(tmp_path / "none.pkl", "mine", tmp_path)
    write_package(tmp_path / "a.pkl", make_package())
    with pytest.raises(BenchmarkError, match=r"is a folder.*a\.pkl"):
        import_package(tmp_path, "mine", tmp_path)
    with pytest.raises(BenchmarkError, match="is a file"):
        import_package(tmp_path / "a.pkl", "mine", tmp_path / "a.pkl")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".x", "a b", "synthetic", "x" * 65])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    path = write_package(tmp_path / "a.pkl", make_package())
    with pytest.raises(BenchmarkError, match="name"):
        import_package(path, name, tmp_path / "data")


# --- folders that cannot be written ---


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("function", ["write_tensors", "_write_samples"])
def test_unwritable_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, function: str
) -> None:
    def fail(*args: Any, **options: Any) -> str:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(importer, function, fail)
    with pytest.raises(BenchmarkError) as error:
        import_and_load(tmp_path, make_package())
    assert os.strerror(code) in str(error.value)
    assert "Nothing was imported" in str(error.value)
    assert [p.name for p in (tmp_path / "data").iterdir() if p.is_dir()] == []


def test_folder_is_known_to_be_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before the package is read, and for a user who is root in the tests too."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(BenchmarkError, match="Permission denied"):
        import_package(write_package(tmp_path / "a.pkl", make_package()), "mine", tmp_path)


def test_folder_cannot_be_created() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("needs a file system that nobody can write to")
    package = parse_package(make_package(), "package.pkl")
    source = importer.Source(name="package.pkl", sha256="", bytes=0)
    with pytest.raises(BenchmarkError, match="cannot be written"):
        importer.store_package(package, source, "mine", Path("/proc/none"), False, print)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_device() -> None:
    entry = tensorfile.Entry("a", "float32", (4,), [np.zeros(4, np.float32)])
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        tensorfile.write_tensors(Path("/dev/full"), [entry])


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file size limit")
def test_disk_fills_up_for_real(tmp_path: Path) -> None:
    """A process that may not write past 4 kB stands in for a full disk."""
    path = write_package(tmp_path / "a.pkl", make_package())
    code = (
        "import resource, sys, pathlib\n"
        "from benchmark.data.importer import import_package\n"
        "from benchmark.errors import BenchmarkError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    import_package(pathlib.Path(sys.argv[1]), 'mine', pathlib.Path(sys.argv[2]))\n"
        "except BenchmarkError as error:\n"
        "    print('REFUSED', error)\n"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "REFUSED" in done.stdout
    assert "cannot be written" in done.stdout
    assert not (tmp_path / "mine").exists()


def test_remains_of_a_killed_import_are_removed(tmp_path: Path) -> None:
    remains = tmp_path / "data/.mine~abc"
    remains.mkdir(parents=True)
    (remains / "features.safetensors").write_bytes(b"x")
    other = tmp_path / "data/.mine-too~abc"
    other.mkdir()
    import_and_load(tmp_path, make_package())
    assert not remains.exists()
    assert other.exists()
