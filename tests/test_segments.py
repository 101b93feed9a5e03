"""Audio and vision from a folder of ``.npy`` files, beside the transcripts that are encoded."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.encode import encode_transcripts
from benchmark.data.segments import read_segments
from benchmark.data.store import load
from benchmark.data.transcripts import Columns
from benchmark.errors import BenchmarkError
from tests.test_encode import HEADER, ROWS, Counting, write

IDS = [row.split(",")[0] for row in ROWS]


def save(folder: Path, name: str, values: Any) -> None:
    path = folder / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, values)


def encoded(tmp_path: Path, folders: dict[Any, Path], **options: Any) -> Any:
    path = write(tmp_path / "t.csv", HEADER, *ROWS)
    arguments = (path, Columns(), Counting, "mine", tmp_path / "data")
    return encode_transcripts(*arguments, folders=folders, **options)


def test_audio_and_vision_stand_beside_the_text(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    audio = {i: draw.normal(9, 2, (draw.integers(1, 12), 5)) for i in IDS}
    vision = {i: draw.normal(size=3).astype(np.float32) for i in IDS if i not in ("v2", "v40")}
    for i in IDS:
        save(tmp_path / "audio", i, audio[i])
        if i in vision:
            save(tmp_path / "vision", i, vision[i])
    folders = {"audio": tmp_path / "audio", "vision": tmp_path / "vision"}
    manifest = encoded(tmp_path, folders)
    assert manifest.lengths == {"text": 9, "audio": 11, "vision": 1}
    assert manifest.missing["train"] == {"text": 0, "audio": 0, "vision": 1}
    assert any("2 of 50 samples have no vision file (v2, v40)" in n for n in manifest.notes)
    data = load(tmp_path / "data", "mine")
    test = data.splits["test"]
    for k, sample in enumerate(test.sample_ids):
        mask = test.samples.masks["audio"][k]
        found = test.samples.features["audio"][k][mask].numpy()
        scale = data.scales["audio"]
        np.testing.assert_allclose(found, (audio[sample] - scale.mean) / scale.std, atol=1e-4)
        assert bool(test.samples.available[k, 2]) == (sample in vision)
    same = encoded(tmp_path, folders)
    assert same == manifest
    save(tmp_path / "audio", "v7", audio["v8"])
    with pytest.raises(BenchmarkError, match="--replace"):  # other features are other data
        encoded(tmp_path, folders)
    cut = encoded(tmp_path, folders, steps={"audio": 4}, overwrite=True)
    assert cut.lengths["audio"] == 4
    assert any("longer than 4 steps" in note for note in cut.notes)


@pytest.mark.parametrize("name", ["video$_$3", "video_3", "video/3"])
def test_names_of_files(tmp_path: Path, name: str) -> None:
    save(tmp_path, name, np.ones((2, 3)))
    found = read_segments(tmp_path, "audio", ["video$_$3", "video$_$4"])
    assert found.lengths.tolist() == [2, 0]


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="no such folder"):
        read_segments(tmp_path / "none", "audio", ["a"])
    save(tmp_path, "b", np.ones((2, 3)))
    with pytest.raises(BenchmarkError, match=r"looked for a\.npy.*there are: b\.npy"):
        read_segments(tmp_path, "audio", ["a"])
    save(tmp_path, "a", np.ones((2, 4)))
    with pytest.raises(BenchmarkError, match=r"b\.npy: has 3 channels, a\.npy has 4"):
        read_segments(tmp_path, "audio", ["a", "b"])
    for wrong in (np.ones((2, 3, 4)), np.array(["x"]), np.array([[None]]), np.ones((2, 0))):
        np.save(tmp_path / "a.npy", wrong, allow_pickle=True)
        with pytest.raises(BenchmarkError, match=r"a\.npy"):
            read_segments(tmp_path, "audio", ["a"])
    for content in (b"", b"\x93NUMPY\x01\x00", b"<html>"):
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(BenchmarkError, match=r"a\.npy: damaged"):
            read_segments(tmp_path, "audio", ["a"])


def test_an_id_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    save(tmp_path, "secret", np.ones((2, 3)))
    save(tmp_path / "audio", "b", np.ones((2, 3)))
    found = read_segments(tmp_path / "audio", "audio", ["../secret", str(tmp_path / "secret"), "b"])
    assert found.lengths.tolist() == [0, 0, 2]


def test_a_dict_by_id_is_the_same_as_a_folder(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    ids = [f"S05$_$E1{k}$_${k}" for k in range(5)]
    arrays = {i: draw.normal(size=(1 + k, 3)) for k, i in enumerate(ids) if k != 2}
    for i, array in arrays.items():
        save(tmp_path / "audio", i.replace("$_$", "_"), array)
    expected = read_segments(tmp_path / "audio", "audio", ids)
    for joint in ("$_$", "_", "/"):
        named = {i.replace("$_$", joint): x for i, x in arrays.items()}
        named["another"] = np.ones((2, 3))
        (tmp_path / "audio.pkl").write_bytes(pickle.dumps(named))
        found = read_segments(tmp_path / "audio.pkl", "audio", ids)
        assert found.sha256 == expected.sha256
        assert found.notes == expected.notes
        np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list, no dict of arrays by id"),
        ({"other": np.ones((2, 3))}, r"looked for a, say \(there are: other\)"),
        ({"a": "text"}, "a: is a str, no array"),
        ({"a": np.ones((2, 2, 2))}, r"a: must be one array \(T, d\)"),
        ({"a": np.ones((2, 3)), "b": np.ones((2, 4))}, "b: has 4 channels, a has 3"),
    ],
)
def test_dicts_that_do_not_fit(tmp_path: Path, content: Any, words: str) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(BenchmarkError, match=words):
        read_segments(tmp_path / "a.pkl", "audio", ["a", "b"])


def test_numbers_and_brackets_are_ids_too(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({7: [[1.0, 2.0]], "v[3]": np.ones((1, 2))}))
    found = read_segments(tmp_path / "a.pkl", "audio", ["7", "v$_$3", "8"])
    assert found.values[:, 0].tolist() == [[1, 2], [1, 1], [0, 0]]
