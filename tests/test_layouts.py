"""Packages as people hold them: MIntRec's shapes, MulT's layout, archives, repeated ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmark.data.importer import import_package
from benchmark.data.package import parse_package
from benchmark.data.store import load
from benchmark.errors import BenchmarkError
from protocols.modalities import MODALITIES
from tests.packages import SIZES, import_and_load, make_package

INTENTS = [f"intent {k:02d}" for k in range(20)]
MINTREC = {"text": (30, 768), "audio": (480, 768), "vision": (230, 256)}


def test_mintrec_has_its_shapes_and_named_classes(tmp_path: Path) -> None:
    data = make_package(shapes=MINTREC, task="classification", dtype=np.float16)
    for split, count in SIZES.items():
        data[split]["classification_labels"] = [INTENTS[-1 - k % 20] for k in range(count)]
    manifest, dataset = import_and_load(tmp_path, data)
    assert (manifest.task, manifest.classes, manifest.class_names) == (
        "classification",
        20,
        tuple(INTENTS),
    )
    assert {m: (dataset.spec.lengths[m], dataset.spec.widths[m]) for m in MODALITIES} == MINTREC
    label = dataset.splits["train"].samples.label
    assert label is not None
    assert label.tolist() == list(range(19, -1, -1))


def test_classes_named_in_one_split_only(tmp_path: Path) -> None:
    data = make_package(task="classification")
    data["test"]["classification_labels"] = ["a"] * SIZES["test"]
    with pytest.raises(BenchmarkError, match="names in test only"):
        parse_package(data, "p.pkl")


def mult_package(labels: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """A package in MulT's layout with these labels."""
    data = make_package()
    for split, content in data.items():
        count = SIZES[split]
        parts = [(f"v{split}{k // 3}".encode(), str(k).encode(), b"9.5") for k in range(count)]
        data[split] = {m: content[m] for m in MODALITIES}
        data[split] |= {"id": np.array(parts), "labels": labels[split]}
    return data


def test_sentiment_in_mults_layout(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    labels = {s: draw.uniform(-3, 3, (n, 1, 1)).astype(np.float32) for s, n in SIZES.items()}
    manifest, dataset = import_and_load(tmp_path, mult_package(labels))
    assert manifest.task == "regression"
    found = dataset.splits["valid"]
    assert found.samples.label is not None
    np.testing.assert_array_equal(found.samples.label, labels["valid"].ravel())
    assert found.sample_ids[4] == "vvalid1$_$4$_$9.5"


def test_iemocap_in_mults_layout(tmp_path: Path) -> None:
    """(N, 4, 2) answers become four classes; none or two emotions are no class."""
    emotion = {s: np.arange(n) % 4 for s, n in SIZES.items()}
    labels = {s: np.eye(2)[np.eye(4, dtype=int)[e]] for s, e in emotion.items()}
    data = mult_package(labels)
    data["test"]["labels"][3] = [[1, 0]] * 4
    data["test"]["labels"][5, 2] = [0, 1]
    for content in data.values():
        del content["id"]
    manifest, dataset = import_and_load(tmp_path, data)
    assert manifest.class_names == ("angry", "happy", "neutral", "sad")
    assert manifest.counts == {**SIZES, "test": SIZES["test"] - 2}
    assert any("2 of 9 samples" in note for note in manifest.notes)
    test = dataset.splits["test"]
    kept = [0, 1, 2, 4, 6, 7, 8]
    assert test.sample_ids == tuple(f"test{k}" for k in kept)
    names = ["neutral", "happy", "sad", "angry"]
    assert test.samples.label is not None
    assert [manifest.class_names[k] for k in test.samples.label] == [names[k % 4] for k in kept]
    np.testing.assert_array_equal(test.samples.features["text"], data["test"]["text"][kept])


def test_mult_labels_of_another_shape() -> None:
    labels = {s: np.zeros((n, 3, 2)) for s, n in SIZES.items()}
    with pytest.raises(BenchmarkError, match=r"train: labels has shape \(20, 3, 2\)"):
        parse_package(mult_package(labels), "p.pkl")


def test_glove_packages_of_mult(tmp_path: Path) -> None:
    """(N, 50, 300) text, (N, 1, 1) labels, ids of (video, start, end), no lengths."""
    shapes = {"text": (50, 300), "audio": (375, 5), "vision": (500, 20)}
    data = make_package(shapes=shapes)
    for split, count in SIZES.items():
        labels = np.linspace(-3, 3, count, dtype=np.float32).reshape(count, 1, 1)
        ids = [[f"{split}{k // 3}", f"{k}.5", f"{k + 1}.5"] for k in range(count)]
        data[split] = {m: data[split][m] for m in MODALITIES} | {"labels": labels, "id": ids}
    manifest, dataset = import_and_load(tmp_path, data)
    assert manifest.task == "regression"
    assert dataset.splits["test"].sample_ids[4] == "test1$_$4.5$_$5.5"
    assert not [note for note in manifest.notes if "not used" in note]


def test_output_of_mmsa_fet(tmp_path: Path) -> None:
    """No classes, text_bert (N, 3, T) beside the features, labels of each modality."""
    data = make_package(dtype=np.float64)
    for split, count in SIZES.items():
        del data[split]["classification_labels"]
        data[split]["text_bert"] = np.ones((count, 3, 6))
        data[split]["annotations"] = np.array(["Negative", "Neutral", "Positive"] * count)[:count]
        data[split] |= {f"regression_labels_{m}": np.full(count, np.nan) for m in "TAV"}
        data[split]["audio_lengths"] = np.array(data[split]["audio_lengths"])
    manifest, _ = import_and_load(tmp_path, data)
    assert manifest.task == "regression"
    (note,) = manifest.notes
    assert note == (
        "not used: annotations, regression_labels_A, regression_labels_T, regression_labels_V,"
        " text_bert"
    )


@pytest.mark.parametrize("task", ["sentiment", "humour"])
def test_packages_of_multibench(tmp_path: Path, task: str) -> None:
    """labels (N, 1, 1) of sentiment, or (N, 1) yes or no; ids as arrays; -inf in the audio."""
    data = make_package()
    for split, count in SIZES.items():
        shape = (count, 1, 1) if task == "sentiment" else (count, 1)
        values = np.linspace(-3, 3, count) if task == "sentiment" else np.arange(count) % 2
        parts = {m: data[split][m] for m in MODALITIES}
        ids = np.array([[f"{split}{k // 3}[{k}]"] for k in range(count)], dtype=object)
        data[split] = parts | {"labels": values.reshape(shape), "id": ids}
    data["train"]["audio"][3, 0, 1] = -np.inf
    manifest, dataset = import_and_load(tmp_path, data)
    assert manifest.classes == (1 if task == "sentiment" else 2)
    assert dataset.splits["train"].sample_ids[3] == "train1[3]"
    assert manifest.nonfinite["train"]["audio"] == 1


def flat(data: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {f"{s}.{key}": values for s, content in data.items() for key, values in content.items()}


def write_npz(path: Path, data: dict[str, dict[str, Any]]) -> Path:
    columns = flat(data)
    texts = {k: np.array(v, dtype=str) for k, v in columns.items() if ".id" in k or "raw" in k}
    np.savez(path, **columns | texts)
    return path


def write_safetensors(path: Path, data: dict[str, dict[str, Any]]) -> Path:
    columns = flat(data)
    texts = {k: json.dumps(list(v)) for k, v in columns.items() if ".id" in k or "raw" in k}
    save_file({k: np.asarray(v) for k, v in columns.items() if k not in texts}, path, texts)
    return path


@pytest.mark.parametrize(
    ("name", "write"), [("p.npz", write_npz), ("p.safetensors", write_safetensors)]
)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_archives_hold_what_the_pickle_holds(
    tmp_path: Path, name: str, write: Any, task: str
) -> None:
    data = make_package(task=task)
    expected, _ = import_and_load(tmp_path, data)
    found = import_package(write(tmp_path / name, data), "other", tmp_path / "data")
    assert found.sha256 == expected.sha256
    assert found.files == expected.files  # transcripts too
    assert load(tmp_path / "data", "other").spec.task == task


def test_archives_that_hold_objects_are_refused(tmp_path: Path) -> None:
    columns = flat(make_package())
    np.savez(tmp_path / "p.npz", **columns)  # raw_text is an array of objects
    with pytest.raises(BenchmarkError, match=r"p\.npz: train\.raw_text: .*dtype=str"):
        import_package(tmp_path / "p.npz", "mine", tmp_path / "data")
    save_file({"train.text": np.ones((2, 1, 1))}, tmp_path / "p.safetensors", {"train.id": "['a']"})
    with pytest.raises(BenchmarkError, match=r"p\.safetensors: metadata 'train\.id'.*JSON"):
        import_package(tmp_path / "p.safetensors", "mine", tmp_path / "data")


def test_repeated_ids_are_numbered_so_that_corruption_differs(tmp_path: Path) -> None:
    data = make_package()
    data["train"]["id"][3] = data["train"]["id"][9] = data["train"]["id"][0]
    data["train"]["id"][5] = f"{data['train']['id'][0]}#2"
    manifest, dataset = import_and_load(tmp_path, data)
    ids = dataset.splits["train"].sample_ids
    assert len(set(ids)) == SIZES["train"]
    assert (ids[0], ids[5]) == ("train0$_$0", "train0$_$0#2")
    assert (ids[3], ids[9]) == ("train0$_$0#3", "train0$_$0#4")
    assert any("train: 2 samples repeat an id" in note for note in manifest.notes)
