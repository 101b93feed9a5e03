"""Data sets that were changed or damaged after their import."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.data.check import check
from benchmark.data.importer import import_package
from benchmark.data.store import load
from benchmark.data.tensorfile import file_sha256
from benchmark.errors import BenchmarkError
from tests.packages import make_package, write_package

# --- damage after the import ---


def imported_folder(tmp_path: Path) -> Path:
    path = write_package(tmp_path / "package.pkl", make_package())
    import_package(path, "mine", tmp_path / "data")
    return tmp_path / "data/mine"


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_changed_features_are_found(tmp_path: Path) -> None:
    folder = imported_folder(tmp_path)
    flip(folder / "features.safetensors", -100)
    with pytest.raises(BenchmarkError, match=r"features\.safetensors changed since it was made"):
        check(tmp_path / "data", "mine")


def test_changed_manifest_is_found(tmp_path: Path) -> None:
    folder = imported_folder(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sigma_ref"]["text"] = 9.0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BenchmarkError, match=r"manifest\.json changed since it was made"):
        check(tmp_path / "data", "mine")


def negate_labels(path: Path) -> None:
    frame = pd.read_parquet(path)
    frame["label"] = -frame["label"]
    frame.to_parquet(path, index=False)


def swap_sha(path: Path) -> None:
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "sha256": "0" * 64}))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("features.safetensors", lambda path: flip(path, -100)),
        ("samples.parquet", negate_labels),
        ("manifest.json", swap_sha),
    ],
)
def test_changed_data_are_not_loaded(
    tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    folder = imported_folder(tmp_path)
    load(tmp_path / "data", "mine")  # found sound, and remembered
    change(folder / name)
    for _ in range(2):
        with pytest.raises(BenchmarkError, match=rf"{name} changed since it was made"):
            load(tmp_path / "data", "mine")


def test_sound_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = imported_folder(tmp_path)
    read = []

    def counted(path: Path) -> str:
        read.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr("benchmark.data.manifest.file_sha256", counted)
    for _ in range(3):
        load(tmp_path / "data", "mine")
    assert sorted(read) == ["features.safetensors", "samples.parquet"]
    (folder / ".verified.json").write_bytes(b"[" * 9999)  # damaged: compared again
    load(tmp_path / "data", "mine")
    assert len(read) == 4

    def refuse(path: Path, content: bytes) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    (folder / ".verified.json").unlink()
    monkeypatch.setattr("benchmark.data.manifest.replace_file", refuse)
    load(tmp_path / "data", "mine")
    assert len(read) == 6


@pytest.mark.parametrize("name", ["features.safetensors", "samples.parquet", "manifest.json"])
@pytest.mark.parametrize("damage", ["removed", "truncated", "emptied"])
def test_damaged_files(tmp_path: Path, name: str, damage: str) -> None:
    path = imported_folder(tmp_path) / name
    content = path.read_bytes()
    path.unlink()
    if damage != "removed":
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    with pytest.raises(BenchmarkError) as error:
        load(tmp_path / "data", "mine")
    assert "--replace" in str(error.value)
    said: list[str] = []
    import_package(
        tmp_path / "package.pkl", "mine", tmp_path / "data", replace=True, say=said.append
    )
    assert "nothing changed" not in said[0]
    check(tmp_path / "data", "mine")


@pytest.mark.parametrize(
    ("key", "value"), [("counts", {"train": 1}), ("format", 2), ("widths", {"smell": 3})]
)
def test_manifest_of_another_format(tmp_path: Path, key: str, value: Any) -> None:
    folder = imported_folder(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[key] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BenchmarkError, match="damaged"):
        load(tmp_path / "data", "mine")
