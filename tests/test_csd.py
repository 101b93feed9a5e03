"""Computational sequences: read, aligned to words against plain loops, cut into segments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmark.data.commands import app
from benchmark.data.csd import EPSILON, Track, at_words, overlapping, read_csd
from benchmark.data.folds import folds_of, standard_folds
from benchmark.data.store import load
from benchmark.errors import BenchmarkError

h5py = pytest.importorskip("h5py", reason="computational sequences need h5py, the extra [csd]")

Contents = dict[str, tuple[np.ndarray, np.ndarray]]
VIDEOS = [f"v{k:02d}" for k in range(15)]


def write_csd(path: Path, videos: Contents) -> Path:
    """As the SDK writes it: root/data/<video>/{features,intervals}, root/metadata."""
    with h5py.File(path, "w") as file:
        root = file.create_group(path.stem)
        root["metadata/root name"] = json.dumps(path.stem)
        for video, (intervals, features) in videos.items():
            root[f"data/{video}/intervals"] = intervals
            root[f"data/{video}/features"] = features
    return path


def steps(draw: np.random.Generator, seconds: float, stop: float, width: int) -> Any:
    """Back-to-back intervals, in any order in the file."""
    starts = np.arange(0, stop, seconds)
    order = draw.permutation(len(starts))
    intervals = np.stack([starts, starts + seconds], axis=1)[order]
    return intervals, draw.normal(5, 1, (len(starts), width)).astype(np.float32)


@pytest.fixture
def sequences(tmp_path: Path) -> dict[str, Contents]:
    draw = np.random.default_rng(0)
    contents: dict[str, Contents] = {"text": {}, "audio": {}, "vision": {}, "labels": {}}
    for video in VIDEOS:
        contents["text"][video] = steps(draw, 0.5, 6, 4)
        contents["audio"][video] = steps(draw, 0.01, 5, 3)
        contents["vision"][video] = steps(draw, 1 / 30, 6, 2)
        segments = np.array([[0.0, 1.75], [1.75, 3.0], [3.0, 6.0], [9.0, 10.0]])
        contents["labels"][video] = segments, draw.uniform(-3, 3, (4, 7))
    return contents


def written(tmp_path: Path, sequences: dict[str, Contents]) -> list[str]:
    arguments = []
    for name, contents in sequences.items():
        arguments += [f"--{name}", str(write_csd(tmp_path / f"{name}.csd", contents))]
    return arguments


def run(tmp_path: Path, *arguments: str) -> Any:
    runner = CliRunner(env={"COLUMNS": "300", "BENCHMARK_DATA_DIR": str(tmp_path / "data")})
    return runner.invoke(app, ["align", "--name", "mine", *arguments])


def test_sequences_become_a_data_set(tmp_path: Path, sequences: dict[str, Contents]) -> None:
    arguments = written(tmp_path, sequences)
    splits = tmp_path / "splits.csv"
    rows = [
        f"{v},{s}"
        for v, s in zip(VIDEOS, [*["train"] * 9, "dev", "dev", *["test"] * 3, ""], strict=True)
        if s
    ]
    splits.write_text("\n".join(["video,split", *rows]))
    result = run(tmp_path, *arguments, "--splits", str(splits), "--label-column", "0")
    assert result.exit_code == 0, result.exception
    for word in ("1 videos that splits.csv does not name", "14 segments without a word", "mean of"):
        assert word in result.output
    data = load(tmp_path / "data", "mine")
    counts = {name: len(split) for name, split in data.splits.items()}
    assert counts == {"train": 27, "valid": 6, "test": 9}
    assert data.spec.widths == {"text": 4, "audio": 3, "vision": 2}
    assert data.spec.lengths["text"] == 6
    test = data.splits["test"]
    assert test.sample_ids[:3] == ("v11[0]", "v11[1]", "v11[2]")
    assert test.samples.label is not None
    np.testing.assert_allclose(
        test.samples.label[:3], sequences["labels"]["v11"][1][:3, 0], rtol=1e-6
    )
    # the first segment ends in the middle of the fourth word
    intervals, words = sequences["text"]["v11"]
    expected = words[np.argsort(intervals[:, 0])][:4]
    text = test.samples.features["text"][0][test.samples.masks["text"][0]]
    np.testing.assert_array_equal(text, expected)
    # audio: the mean over a word, standardised; and nothing at all after 5 s
    scale = data.scales["audio"]
    intervals, frames = sequences["audio"]["v11"]
    inside = (intervals[:, 0] > 0.5 - 0.005) & (intervals[:, 1] < 1.0 + 0.005)
    assert inside.sum() == 50
    standard = (frames[inside].mean(0) - scale.mean) / scale.std
    np.testing.assert_allclose(test.samples.features["audio"][0, 1], standard, atol=1e-3)


def test_without_a_split_whole_videos_are_split(
    tmp_path: Path, sequences: dict[str, Contents]
) -> None:
    del sequences["vision"], sequences["audio"]["v03"]
    arguments = written(tmp_path, sequences)
    several = run(tmp_path, *arguments)
    assert "--label-column" in str(several.exception)
    result = run(tmp_path, *arguments, "--label-column", "0")
    assert "no vision in it" in result.output
    assert "1 videos that are not in every file (audio lacks 1)" in result.output
    assert "split made here by 'video'" in result.output
    data = load(tmp_path / "data", "mine")
    videos = [{i.split("[")[0] for i in split.sample_ids} for split in data.splits.values()]
    assert sum(map(len, videos)) == len(set.union(*videos)) == 14


INTERVALS = st.lists(
    st.tuples(st.floats(0, 9, allow_subnormal=False), st.floats(0, 3, allow_subnormal=False)),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(INTERVALS, INTERVALS)
def test_overlaps_are_those_of_plain_loops(words: Any, others: Any) -> None:
    def sorted_array(pairs: Any) -> np.ndarray:
        return np.array(sorted((s, s + d) for s, d in pairs), np.float64).reshape(-1, 2)

    one, other = sorted_array(words), sorted_array(others)
    for start, stop in one:
        expected = [k for k, (s, e) in enumerate(other) if min(e, stop) - max(s, start) > EPSILON]
        assert overlapping(other, start, stop).tolist() == expected
    values = np.arange(len(other), dtype=np.float32)[:, None]
    found = at_words(Track(one, one), Track(other, values))
    for row, (start, stop) in zip(found, one, strict=True):
        inside = [k for k, (s, e) in enumerate(other) if min(e, stop) - max(s, start) > EPSILON]
        assert row[0] == pytest.approx(np.mean(inside) if inside else 0)


def broken(path: Path, case: str) -> None:
    with h5py.File(path, "w") as file:
        if case == "no data":
            file["root/features"] = np.ones(3)
        elif case == "no intervals":
            file["root/data/v/features"] = np.ones((3, 2))
        elif case == "unequal":
            file["root/data/v/features"] = np.ones((3, 2))
            file["root/data/v/intervals"] = np.ones((2, 2))
        elif case == "words":
            file["root/data/v/features"] = np.array([[b"a"], [b"b"]])
            file["root/data/v/intervals"] = np.ones((2, 2))
        elif case == "elsewhere":
            file["root/data/v/intervals"] = np.ones((2, 2))
            file["root/data/v/features"] = h5py.ExternalLink("/etc/passwd", "x")
        elif case == "bomb":
            file["root/data/v/intervals"] = np.ones((2, 2))
            file["root/data/v"].create_dataset("features", (2**40, 8), "f8", chunks=(1024, 8))


@pytest.mark.parametrize(
    "case", ["no data", "no intervals", "unequal", "words", "elsewhere", "bomb", "text", "cut"]
)
def test_what_is_no_sequence(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.csd"
    if case == "text":
        path.write_text("not HDF5")
    elif case == "cut":
        write_csd(path, {"v": (np.ones((9, 2)), np.ones((9, 5)))})
        path.write_bytes(path.read_bytes()[:-999])
    else:
        broken(path, case)
    with pytest.raises(BenchmarkError, match=r"damaged, or no computational sequence|holds words"):
        read_csd(path)


def named_as(names: list[str], sequences: dict[str, Contents]) -> dict[str, Contents]:
    """The same sequences, of other videos."""
    return {
        kind: dict(zip(names, [contents[v] for v in VIDEOS], strict=True))
        for kind, contents in sequences.items()
    }


@pytest.mark.parametrize(("name", "counts"), [("mosi", (52, 10, 31)), ("pom", (600, 100, 203))])
def test_standard_folds_are_the_published_ones(name: str, counts: tuple[int, ...]) -> None:
    found = list(standard_folds(name).values())
    assert tuple(found.count(split) for split in ("train", "valid", "test")) == counts
    assert folds_of(list(standard_folds(name))) == (name, standard_folds(name))


def test_moseis_folds() -> None:
    found = list(standard_folds("mosei").values())
    assert tuple(found.count(s) for s in ("train", "valid", "test")) == (2250, 300, 678)
    videos = list(standard_folds("mosei"))
    assert folds_of([*videos, *(f"unknown{k}" for k in range(100))]) is not None
    assert folds_of([*videos[:50], *(f"unknown{k}" for k in range(50))]) is None


def test_the_videos_of_a_known_set_have_its_folds(
    tmp_path: Path, sequences: dict[str, Contents]
) -> None:
    folds = standard_folds("mosi")
    chosen = [
        video
        for split, count in (("train", 7), ("valid", 3), ("test", 4))
        for video in [v for v, s in folds.items() if s == split][:count]
    ]
    arguments = written(tmp_path, named_as([*chosen, "another"], sequences))
    result = run(tmp_path, *arguments, "--label-column", "0")
    assert result.exit_code == 0, result.exception
    assert "split by the list of CMU-MOSI's standard folds" in result.output
    assert "left out: 1 videos that the list of CMU-MOSI's standard folds does not" in result.output
    data = load(tmp_path / "data", "mine")
    for split, rows in data.splits.items():
        assert {folds[i.split("[")[0]] for i in rows.sample_ids} == {split}


def test_sequences_that_the_sdk_has_cut_are_joined_again(
    tmp_path: Path, sequences: dict[str, Contents]
) -> None:
    """After its align the SDK writes "video[k]"; one step may have lost its first axis."""
    plain = run(tmp_path, *written(tmp_path, sequences), "--label-column", "0")
    assert plain.exit_code == 0, plain.exception
    expected = load(tmp_path / "data", "mine").sha256
    cut: Contents = {}
    for video, (intervals, features) in sequences["text"].items():
        for k in range(len(intervals)):
            cut[f"{video}[{k}]"] = intervals[k], features[k]
    arguments = written(tmp_path, {**sequences, "text": cut})
    again = run(tmp_path, *arguments, "--label-column", "0")
    assert "identical content" in again.output
    assert load(tmp_path / "data", "mine").sha256 == expected


def test_what_is_no_sequence_is_called_what_it_is(
    tmp_path: Path, sequences: dict[str, Contents]
) -> None:
    words = {v: (i, np.array([[b"word"]] * len(i))) for v, (i, _) in sequences["text"].items()}
    arguments = written(tmp_path, {**sequences, "text": words})
    assert "holds words, no features" in str(run(tmp_path, *arguments).exception)
    (tmp_path / "text.csd").write_bytes(b"<!DOCTYPE html><html>gone")
    assert "is a web page (HTML)" in str(run(tmp_path, *arguments).exception)


def test_infinite_values_are_in_no_mean(tmp_path: Path, sequences: dict[str, Contents]) -> None:
    """As COVAREP's sequences have them: one of them must not cost a whole word."""
    words = Track(np.array([[0.0, 1.0], [1.0, 2.0]]), np.zeros((2, 1)))
    frames = np.array([[0.0, 0.5], [0.5, 1.0], [1.0, 2.0]])
    found = at_words(words, Track(frames, np.array([[1.0, 2], [-np.inf, 4], [np.nan, 5]])))
    np.testing.assert_array_equal(found, [[1, 3], [np.nan, 5]])
    audio = {
        video: (intervals, np.where(features > 6, -np.inf, features))
        for video, (intervals, features) in sequences["audio"].items()
    }
    result = run(tmp_path, *written(tmp_path, {**sequences, "audio": audio}), "--label-column", "0")
    assert result.exit_code == 0, result.exception
    count = sum(int(np.isinf(features).sum()) for _, features in audio.values())
    assert f"audio: {count} values are NaN or infinite: they are in no mean" in result.output


def test_a_video_without_frames_lacks_the_modality(
    tmp_path: Path, sequences: dict[str, Contents]
) -> None:
    sequences["audio"]["v03"] = np.zeros((0, 2)), np.zeros((0, 3), np.float32)
    result = run(tmp_path, *written(tmp_path, sequences), "--label-column", "0")
    assert result.exit_code == 0, result.exception
    assert "samples that lack a modality by nature: audio 3" in result.output


def test_splits_and_times_that_leave_nothing(
    tmp_path: Path, sequences: dict[str, Contents]
) -> None:
    arguments = [*written(tmp_path, sequences), "--label-column", "0"]
    splits = tmp_path / "splits.csv"
    splits.write_text("video,split\nv00,train\n")
    said = str(run(tmp_path, *arguments, "--splits", str(splits)).exception)
    assert "splits.csv leaves no segment for valid and test" in said
    later = {v: (i + 100, x) for v, (i, x) in sequences["text"].items()}
    arguments = written(tmp_path, {**sequences, "text": later})
    assert "none of its 60 segments has a word in it" in str(run(tmp_path, *arguments).exception)
