"""Import: the good path against independent loops, and every broken input with its message."""

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
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data import importer, standardise, tensorfile
from benchmark.data.dataset import SPLITS, Dataset
from benchmark.data.importer import import_package
from benchmark.data.manifest import Manifest
from benchmark.data.package import parse_package
from benchmark.data.scan import spans
from benchmark.data.store import imported, load
from benchmark.errors import BenchmarkError
from tests.packages import SHAPES, SIZES, make_package, write_package

REAL = Path(
    os.environ.get("BENCHMARK_TEST_DATA", str(Path(__file__).parents[1].parent / "shared" / "data"))
)


def run(tmp_path: Path, data: Any, **options: Any) -> tuple[Manifest, Dataset]:
    path = write_package(tmp_path / "package.pkl", data)
    manifest = import_package(path, "mine", tmp_path / "data", **options)
    return manifest, load(tmp_path / "data", "mine")


def refused(tmp_path: Path, data: Any, *words: str, **options: Any) -> None:
    """Import fails, names the file and each of ``words``, and leaves nothing behind."""
    with pytest.raises(BenchmarkError) as error:
        run(tmp_path, data, **options)
    for word in ("package.pkl", *words):
        assert word in str(error.value), str(error.value)
    left = tmp_path / "data"
    assert not left.exists() or not [p for p in left.iterdir() if p.suffix != ".lock"]


# --- the good path ---


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_round_trip(tmp_path: Path, dtype: Any) -> None:
    data = make_package(dtype=dtype)
    manifest, dataset = run(tmp_path, data)
    assert dataset.spec.present == ("text", "audio", "vision")
    assert (dataset.spec.task, dataset.spec.classes) == ("regression", 1)
    assert manifest.counts == SIZES
    for split, count in SIZES.items():
        loaded, source = dataset.splits[split], data[split]
        assert loaded.sample_ids == tuple(source["id"])
        assert loaded.samples.label is not None
        assert loaded.samples.label.dtype == torch.float32
        np.testing.assert_array_equal(
            loaded.samples.label.numpy(), source["regression_labels"].astype(np.float32)
        )
        assert loaded.samples.available.all()
        text = loaded.samples.features["text"]
        assert text.dtype == torch.float32
        np.testing.assert_array_equal(text.numpy(), source["text"].astype(np.float32))
        for m, (steps, width) in SHAPES.items():
            assert loaded.samples.features[m].shape == (count, steps, width)
            lengths = loaded.samples.masks[m].sum(1).tolist()
            assert lengths == source[f"{m}_lengths"]


def test_half_precision_text_stays_half_on_disk(tmp_path: Path) -> None:
    run(tmp_path, make_package(dtype=np.float16))
    half = (tmp_path / "data/mine/features.safetensors").stat().st_size
    (tmp_path / "other").mkdir()
    run(tmp_path / "other", make_package(dtype=np.float32))
    full = (tmp_path / "other/data/mine/features.safetensors").stat().st_size
    assert full - half >= 2 * sum(SIZES.values()) * 6 * 5 - 64


def test_standardised_against_plain_loops(tmp_path: Path) -> None:
    """Mean 0 and std 1 over valid train steps, computed here step by step."""
    data = make_package(seed=3)
    manifest, dataset = run(tmp_path, data)
    for m in ("audio", "vision"):
        train, lengths = data["train"][m], data["train"][f"{m}_lengths"]
        for c in range(train.shape[2]):
            values = [float(train[i, t, c]) for i in range(len(train)) for t in range(lengths[i])]
            mean = sum(values) / len(values)
            std = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
            assert manifest.mean[m][c] == pytest.approx(mean, rel=1e-5, abs=1e-6)
            assert manifest.std[m][c] == pytest.approx(std, rel=1e-5)
            for split in SPLITS:
                stored = dataset.splits[split].samples.features[m][..., c].numpy()
                for i, length in enumerate(data[split][f"{m}_lengths"]):
                    for t in range(stored.shape[1]):
                        raw = float(data[split][m][i, t, c])
                        expected = (raw - mean) / std if t < length else 0.0
                        assert stored[i, t] == pytest.approx(expected, rel=1e-4, abs=1e-4)
    steps = [
        data["train"]["text"][i, t]
        for i in range(SIZES["train"])
        for t in range(data["train"]["text_lengths"][i])
    ]
    assert dataset.sigma_ref["text"].item() == pytest.approx(np.std(steps), rel=1e-5)
    assert dataset.sigma_ref["audio"].item() == 1


def test_classification(tmp_path: Path) -> None:
    manifest, dataset = run(tmp_path, make_package(task="classification"))
    assert (dataset.spec.task, dataset.spec.classes) == ("classification", 3)
    label = dataset.splits["test"].samples.label
    assert label is not None
    assert label.dtype == torch.int64
    assert manifest.class_counts["test"] == [3, 3, 3]
    both = make_package()
    assert run(tmp_path, both, replace=True)[0].task == "regression"
    assert run(tmp_path, both, replace=True, task="classification")[0].task == "classification"


@pytest.mark.parametrize("present", [("text",), ("text", "audio"), ("audio", "vision")])
def test_absent_modalities(tmp_path: Path, present: tuple[str, ...]) -> None:
    data = make_package(shapes={m: SHAPES[m] for m in present})
    _, dataset = run(tmp_path, data)
    assert dataset.spec.present == present
    for k, m in enumerate(("text", "audio", "vision")):
        samples = dataset.splits["valid"].samples
        if m in present:
            assert samples.available[:, k].all()
            continue
        assert (dataset.spec.widths[m], dataset.spec.lengths[m]) == (1, 1)
        assert samples.features[m].shape == (SIZES["valid"], 1, 1)
        assert not samples.features[m].any()
        assert not samples.masks[m].any()
        assert not samples.available[:, k].any()


def test_left_and_right_padding(tmp_path: Path) -> None:
    """The same content padded on the other side gives the same content on the other side."""
    right = make_package(seed=5)
    left = make_package(seed=5)
    for split in SPLITS:
        for m in SHAPES:
            for i, length in enumerate(right[split][f"{m}_lengths"]):
                left[split][m][i] = np.roll(right[split][m][i], -length, axis=0)
    bare = {s: {k: v for k, v in x.items() if "lengths" not in k} for s, x in left.items()}
    _, one = run(tmp_path, right)
    for other_data in (left, bare):  # with stated lengths and without
        _, other = run(tmp_path, other_data, replace=True)
        for m in SHAPES:
            a, b = one.splits["train"].samples, other.splits["train"].samples
            assert torch.equal(a.masks[m], b.masks[m].flip(1))
            torch.testing.assert_close(
                a.features[m][a.masks[m]], b.features[m][b.masks[m]], rtol=0, atol=1e-5
            )


def test_natural_missingness(tmp_path: Path) -> None:
    """Unequal T: a missing sequence keeps one step. Equal T: it gets the others' span."""
    data = make_package()
    data["train"]["audio"][4] = 0
    data["train"]["audio_lengths"][4] = 0
    manifest, dataset = run(tmp_path, data)
    samples = dataset.splits["train"].samples
    assert samples.available[4].tolist() == [True, False, True]
    assert samples.masks["audio"][4].sum() == 1
    assert not samples.features["audio"][4].any()
    assert manifest.missing["train"] == {"text": 0, "audio": 1, "vision": 0}

    aligned = make_package(shapes=dict.fromkeys(SHAPES, (6, 3)))
    for split in SPLITS:
        for m in SHAPES:
            del aligned[split][f"{m}_lengths"]
    text, vision = aligned["train"]["text"], aligned["train"]["vision"]
    aligned["train"]["audio"][2] = 0
    text[2], vision[2] = 0, 0
    text[2, 1:3], vision[2, 2:5] = 1, 1
    _, dataset = run(tmp_path, aligned, replace=True)
    samples = dataset.splits["train"].samples
    assert samples.masks["audio"][2].tolist() == [False, True, True, True, True, False]
    assert samples.masks["text"][2].tolist() == [False, True, True, False, False, False]
    assert not samples.features["audio"][2].any()
    assert samples.available[2].tolist() == [True, False, True]


def test_missing_samples_do_not_enter_statistics(tmp_path: Path) -> None:
    data = make_package()
    data["train"]["audio"][:10] = 0
    manifest, _ = run(tmp_path, data)
    rest = make_package()
    kept = np.concatenate(
        [rest["train"]["audio"][i, : rest["train"]["audio_lengths"][i]] for i in range(10, 20)]
    )
    np.testing.assert_allclose(manifest.mean["audio"], kept.mean(0), rtol=1e-5)


def test_constant_channel_becomes_zero(tmp_path: Path) -> None:
    data = make_package()
    for split in SPLITS:
        for i, length in enumerate(data[split]["audio_lengths"]):
            data[split]["audio"][i, :length, 1] = 1234.5678
    data["test"]["audio"][0, 0, 1] = -7
    manifest, dataset = run(tmp_path, data)
    assert manifest.constant == {"audio": [1], "vision": []}
    for split in SPLITS:
        assert not dataset.splits[split].samples.features["audio"][..., 1].any()


def test_rows_past_the_stated_length(tmp_path: Path) -> None:
    data = make_package()
    data["valid"]["audio_lengths"][0] = 2
    data["valid"]["audio"][0] = 5
    manifest, dataset = run(tmp_path, data)
    samples = dataset.splits["valid"].samples
    assert samples.masks["audio"][0].tolist() == [True] * 2 + [False] * 6
    assert not samples.features["audio"][0, 2:].any()
    assert any("valid: audio: 1 samples had non-zero rows past" in n for n in manifest.notes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_nonfinite_values_are_counted_and_replaced(tmp_path: Path, value: float) -> None:
    data = make_package(seed=1, dtype=np.float64)
    for split in SPLITS:
        for m in SHAPES:
            data[split][m][0, 0, 0] = value
            data[split][m][1, 0, 1] = value
    manifest, dataset = run(tmp_path, data)
    assert manifest.nonfinite == {s: dict.fromkeys(SHAPES, 2) for s in SPLITS}
    for split in SPLITS:
        for m in SHAPES:
            features = dataset.splits[split].samples.features[m]
            assert features.isfinite().all()
            assert features[0, 0, 0] == 0
    finite = [
        data["train"]["audio"][i, t, 0]
        for i in range(SIZES["train"])
        for t in range(data["train"]["audio_lengths"][i])
        if (i, t) != (0, 0)
    ]
    assert manifest.mean["audio"][0] == pytest.approx(np.mean(finite), rel=1e-5)


def test_unused_keys_are_noted(tmp_path: Path) -> None:
    data = make_package()
    data["train"]["text_bert"] = np.zeros((20, 3, 50))
    data["train"]["evil\x1b[2J"] = 1
    manifest, _ = run(tmp_path, data)
    assert any("text_bert" in note for note in manifest.notes)
    assert not any("\x1b" in note for note in manifest.notes)


def test_import_again(tmp_path: Path) -> None:
    said: list[str] = []
    first, _ = run(tmp_path, make_package(), say=said.append)
    folder = tmp_path / "data/mine"
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    second, _ = run(tmp_path, make_package(), say=said.append)
    assert first == second
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    assert "nothing changed" in said[-1]
    with pytest.raises(BenchmarkError, match="--replace"):
        run(tmp_path, make_package(seed=9))
    third, _ = run(tmp_path, make_package(seed=9), replace=True)
    assert third.sha256 != first.sha256
    assert imported(tmp_path / "data") == [third]
    assert {p.name for p in (tmp_path / "data").iterdir()} - {".mine.lock"} == {"mine"}


def test_identity_is_the_content(tmp_path: Path) -> None:
    """Another file name, pickle protocol or chunk size changes nothing; a label changes it."""
    data = make_package()
    first = import_package(write_package(tmp_path / "a.pkl", data), "a", tmp_path / "d")
    second = import_package(write_package(tmp_path / "b.pkl", data, 2), "b", tmp_path / "d")
    assert first.sha256 == second.sha256
    data["test"]["regression_labels"][0] += 0.01
    third = import_package(write_package(tmp_path / "c.pkl", data), "c", tmp_path / "d")
    assert third.sha256 != first.sha256


def test_small_chunks_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make_package()
    data["train"]["audio"][3, 0, 0] = np.nan
    whole, _ = run(tmp_path, data)
    monkeypatch.setattr(standardise, "CHUNK_BYTES", 200)
    pieces, _ = run(tmp_path, data, replace=True)
    for m in ("audio", "vision"):
        np.testing.assert_allclose(whole.mean[m], pieces.mean[m], rtol=1e-6)
        np.testing.assert_allclose(whole.std[m], pieces.std[m], rtol=1e-6)
    assert whole.nonfinite == pieces.nonfinite


def test_remains_of_a_killed_import_are_removed(tmp_path: Path) -> None:
    remains = tmp_path / "data/.mine~abc"
    remains.mkdir(parents=True)
    (remains / "features.safetensors").write_bytes(b"x")
    other = tmp_path / "data/.mine-too~abc"
    other.mkdir()
    run(tmp_path, make_package())
    assert not remains.exists()
    assert other.exists()


# --- properties ---


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4), st.data())
def test_spans(rows: list[list[bool]], more: st.DataObject) -> None:
    """Against a search by hand, with and without stated lengths."""
    content = np.array(rows)
    start, stop, _ = spans(content, None)
    for i, row in enumerate(rows):
        real = [t for t, flag in enumerate(row) if flag]
        assert (start[i], stop[i]) == ((real[0], real[-1] + 1) if real else (0, 0))
    lengths = np.array([more.draw(st.integers(0, 5)) for _ in rows])
    start, stop, past = spans(content, lengths)
    for i, row in enumerate(rows):
        length = int(lengths[i])
        assert stop[i] - start[i] == length
        outside_right = any(row[length:])
        only_in_the_last = outside_right and not any(row[: 5 - length])
        assert start[i] == (5 - length if only_in_the_last else 0)
        assert past[i] == (outside_right and not only_in_the_last)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(st.floats(-1e4, 1e4, width=32), st.sampled_from([np.nan, np.inf, -np.inf])),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 11),
)
def test_moments(rows: list[list[float]], cut: int) -> None:
    """Merged moments of finite entries equal those of one loop."""
    values = np.array(rows, dtype=np.float32)
    finite = np.isfinite(values)
    one = standardise.Moments.of(values[:cut], finite[:cut])
    both = one + standardise.Moments.of(values[cut:], finite[cut:])
    for c in range(3):
        kept = [float(v) for v in values[:, c] if np.isfinite(v)]
        assert both.count[c] == len(kept)
        if kept:
            mean = sum(kept) / len(kept)
            std = (sum((v - mean) ** 2 for v in kept) / len(kept)) ** 0.5
            assert both.mean[c] == pytest.approx(mean, rel=1e-9, abs=1e-9)
            assert both.std[c] == pytest.approx(std, rel=1e-6, abs=1e-6)
    everything = [float(v) for v in values.ravel() if np.isfinite(v)]
    if everything:
        assert both.pooled_std == pytest.approx(np.std(everything), rel=1e-6, abs=1e-6)


# --- broken input ---


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
    "ragged": (change("train", "audio", [[1.0], [2.0]]), ("train: audio", "list")),
    "features as text": (change("train", "audio", np.full((20, 8, 3), "x")), ("dtype",)),
    "other width in a split": (change("test", "audio", np.ones((9, 8, 4))), ("test", "(8, 4)")),
    "label out of range": (
        at("test", "regression_labels", 5, 3.5),
        ("test: regression_labels: row 5", "test1$_$2", "3.5", "[-3, 3]", "1..5"),
    ),
    "label NaN": (at("train", "regression_labels", 2, np.nan), ("row 2", "nan")),
    "label infinite": (at("train", "regression_labels", 2, -np.inf), ("row 2", "-inf")),
    "label as text": (change("train", "regression_labels", ["good"] * 20), ("one number",)),
    "label as lists": (change("train", "regression_labels", [[1, 2]] * 20), ("holds lists",)),
    "id twice in a split": (at("train", "id", 7, "train0$_$0"), ("'train0$_$0'", "row 0", "row 7")),
    "id in two splits": (at("test", "id", 0, "train0$_$0"), ("train row 0", "test row 0")),
    "ids as lists": (change("train", "id", [["a", 1]] * 20), ("train: id",)),
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
        ("a.npz", b"PK\x03\x04", "unknown file type"),
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
        run(tmp_path, make_package())
    assert os.strerror(code) in str(error.value)
    assert "Nothing was imported" in str(error.value)
    assert [p.name for p in (tmp_path / "data").iterdir() if p.is_dir()] == []


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


# --- real packages, where they are ---


@pytest.mark.parametrize(
    ("path", "counts", "missing"),
    [
        ("mosi/unaligned_50.pkl", (1284, 229, 686), 0),
        ("mmmo/aligned_20.pkl", (240, 40, 60), 180),
    ],
)
def test_real_packages(tmp_path: Path, path: str, counts: tuple[int, ...], missing: int) -> None:
    if not (REAL / path).exists():
        pytest.skip(f"no {path} in {REAL} (BENCHMARK_TEST_DATA)")
    manifest = import_package(REAL / path, "real", tmp_path)
    dataset = load(tmp_path, "real")
    assert tuple(manifest.counts.values()) == counts
    assert manifest.missing["train"]["text"] == missing
    samples = dataset.splits["train"].samples
    assert int((~samples.available[:, 0]).sum()) == missing
    for m in dataset.spec.present:
        features, mask = samples.features[m], samples.masks[m]
        assert features.isfinite().all()
        assert not features[~mask].any()
        assert mask.any(1).all()
    audio = samples.features["audio"][samples.masks["audio"]]
    torch.testing.assert_close(audio.mean(0), torch.zeros(audio.shape[1]), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        audio.std(0, correction=0), torch.ones(audio.shape[1]), rtol=0, atol=1e-3
    )
