"""Import, the good path: against independent loops, and on real packages where they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.data import standardise
from benchmark.data.dataset import SPLITS
from benchmark.data.importer import import_package
from benchmark.data.store import imported, load
from benchmark.errors import BenchmarkError
from tests.packages import SHAPES, SIZES, import_and_load, make_package, write_package

REAL = Path(
    os.environ.get("BENCHMARK_TEST_DATA", str(Path(__file__).parents[1].parent / "shared" / "data"))
)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_round_trip(tmp_path: Path, dtype: Any) -> None:
    data = make_package(dtype=dtype)
    manifest, dataset = import_and_load(tmp_path, data)
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
        text = loaded.part(slice(None)).features["text"]
        assert text.dtype == torch.float32
        np.testing.assert_array_equal(text.numpy(), source["text"].astype(np.float32))
        for m, (steps, width) in SHAPES.items():
            assert loaded.samples.features[m].shape == (count, steps, width)
            lengths = loaded.samples.masks[m].sum(1).tolist()
            assert lengths == source[f"{m}_lengths"]


def test_half_precision_text_stays_half_on_disk(tmp_path: Path) -> None:
    import_and_load(tmp_path, make_package(dtype=np.float16))
    half = (tmp_path / "data/mine/features.safetensors").stat().st_size
    (tmp_path / "other").mkdir()
    import_and_load(tmp_path / "other", make_package(dtype=np.float32))
    full = (tmp_path / "other/data/mine/features.safetensors").stat().st_size
    assert full - half >= 2 * sum(SIZES.values()) * 6 * 5 - 64


def test_standardised_against_plain_loops(tmp_path: Path) -> None:
    """Mean 0 and std 1 over valid train steps, computed here step by step."""
    data = make_package(seed=3)
    manifest, dataset = import_and_load(tmp_path, data)
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
    assert dataset.sigma_ref["text"].tolist() == pytest.approx([np.std(steps)] * 5, rel=1e-5)
    assert dataset.sigma_ref["audio"].tolist() == [1, 1, 1]


def test_classification(tmp_path: Path) -> None:
    manifest, dataset = import_and_load(tmp_path, make_package(task="classification"))
    assert (dataset.spec.task, dataset.spec.classes) == ("classification", 3)
    label = dataset.splits["test"].samples.label
    assert label is not None
    assert label.dtype == torch.int64
    assert manifest.class_counts["test"] == [3, 3, 3]
    both = make_package()
    assert import_and_load(tmp_path, both, replace=True)[0].task == "regression"
    assert (
        import_and_load(tmp_path, both, replace=True, task="classification")[0].task
        == "classification"
    )


@pytest.mark.parametrize("present", [("text",), ("text", "audio"), ("audio", "vision")])
def test_absent_modalities(tmp_path: Path, present: tuple[str, ...]) -> None:
    data = make_package(shapes={m: SHAPES[m] for m in present})
    _, dataset = import_and_load(tmp_path, data)
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
    _, one = import_and_load(tmp_path, right)
    for other_data in (left, bare):  # with stated lengths and without
        _, other = import_and_load(tmp_path, other_data, replace=True)
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
    manifest, dataset = import_and_load(tmp_path, data)
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
    _, dataset = import_and_load(tmp_path, aligned, replace=True)
    samples = dataset.splits["train"].samples
    assert samples.masks["audio"][2].tolist() == [False, True, True, True, True, False]
    assert samples.masks["text"][2].tolist() == [False, True, True, False, False, False]
    assert not samples.features["audio"][2].any()
    assert samples.available[2].tolist() == [True, False, True]


def test_missing_samples_do_not_enter_statistics(tmp_path: Path) -> None:
    data = make_package()
    data["train"]["audio"][:10] = 0
    manifest, _ = import_and_load(tmp_path, data)
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
    manifest, dataset = import_and_load(tmp_path, data)
    assert manifest.constant == {"audio": [1], "vision": []}
    for split in SPLITS:
        assert not dataset.splits[split].samples.features["audio"][..., 1].any()


def test_rows_past_the_stated_length(tmp_path: Path) -> None:
    data = make_package()
    data["valid"]["audio_lengths"][0] = 2
    data["valid"]["audio"][0] = 5
    manifest, dataset = import_and_load(tmp_path, data)
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
    manifest, dataset = import_and_load(tmp_path, data)
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
    manifest, _ = import_and_load(tmp_path, data)
    assert any("text_bert" in note for note in manifest.notes)
    assert not any("\x1b" in note for note in manifest.notes)


def test_import_again(tmp_path: Path) -> None:
    said: list[str] = []
    first, _ = import_and_load(tmp_path, make_package(), say=said.append)
    folder = tmp_path / "data/mine"
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    second, _ = import_and_load(tmp_path, make_package(), say=said.append)
    assert first == second
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == before
    assert "nothing changed" in said[-1]
    with pytest.raises(BenchmarkError, match="--replace"):
        import_and_load(tmp_path, make_package(seed=9))
    third, _ = import_and_load(tmp_path, make_package(seed=9), replace=True)
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
    whole, _ = import_and_load(tmp_path, data)
    monkeypatch.setattr(standardise, "CHUNK_BYTES", 200)
    pieces, _ = import_and_load(tmp_path, data, replace=True)
    for m in ("audio", "vision"):
        np.testing.assert_allclose(whole.mean[m], pieces.mean[m], rtol=1e-6)
        np.testing.assert_allclose(whole.std[m], pieces.std[m], rtol=1e-6)
    assert whole.nonfinite == pieces.nonfinite


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
