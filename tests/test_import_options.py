"""What people really hold, and the option, or the word, that each of it gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmark.data.adjust import map_labels, parse_pairs, parse_steps
from benchmark.data.commands import app
from benchmark.data.dataset import SPLITS, Dataset
from benchmark.data.store import load
from benchmark.errors import BenchmarkError
from tests.packages import SHAPES, SIZES, import_and_load, make_package, write_package


class Imported:
    """The command's answer, and the data set."""

    def __init__(self, tmp_path: Path, data: Any, *options: str) -> None:
        path = write_package(tmp_path / "package.pkl", data)
        command = ["import", str(path), "--name", "mine", "--data-dir", str(tmp_path / "data")]
        runner = CliRunner(env={"COLUMNS": "300"})
        self.result = runner.invoke(app, [*command, "--replace", *options])
        self.error = str(self.result.exception or "")
        self.shown = self.result.output
        self.folder = tmp_path / "data"

    @property
    def data(self) -> Dataset:
        assert not self.error
        return load(self.folder, "mine")

    @property
    def manifest(self) -> dict[str, Any]:
        assert not self.error
        content: dict[str, Any] = json.loads((self.folder / "mine/manifest.json").read_text())
        return content

    def labels(self, split: str = "train") -> np.ndarray:
        label = self.data.splits[split].samples.label
        assert label is not None
        return label.numpy()


def with_labels(values: dict[str, Any], key: str = "labels") -> dict[str, dict[str, Any]]:
    data = make_package()
    for split in SPLITS:
        del data[split]["regression_labels"], data[split]["classification_labels"]
        data[split][key] = values[split]
    return data


def per_split(make: Any) -> dict[str, Any]:
    return {split: make(count) for split, count in SIZES.items()}


# --- the task ---


@pytest.mark.parametrize("kind", [np.int64, np.float32, list])
@pytest.mark.parametrize("classes", [2, 4])
def test_whole_numbers_are_classes_with_a_note(tmp_path: Path, kind: Any, classes: int) -> None:
    numbers = per_split(lambda n: np.arange(n) % classes)
    values = {s: x.tolist() if kind is list else x.astype(kind) for s, x in numbers.items()}
    found = Imported(tmp_path, with_labels(values))
    assert found.manifest["classes"] == classes
    assert f"taken as {classes} classes; if they are sentiment" in found.shown
    np.testing.assert_array_equal(found.labels(), numbers["train"])
    said = Imported(tmp_path, with_labels(values), "--task", "regression")
    assert said.manifest["task"] == "regression"
    again = Imported(tmp_path, with_labels(values), "--task", "classification")
    assert again.manifest["sha256"] == found.manifest["sha256"]


def test_the_task_is_obeyed_or_refused_with_the_files_keys(tmp_path: Path) -> None:
    sentiment = with_labels(per_split(lambda n: np.linspace(-3, 3, n)))
    assert Imported(tmp_path, sentiment).manifest["task"] == "regression"
    wrong = Imported(tmp_path, sentiment, "--task", "classification")
    assert "must be a whole number from 0" in wrong.error
    other = with_labels(per_split(lambda n: np.linspace(-3, 3, n)), "y")
    assert "found: id, raw_text" in Imported(tmp_path, other).error
    assert "Did you mean y? --rename y=labels" in Imported(tmp_path, other).error
    assert Imported(tmp_path, other, "--rename", "y=labels").manifest["task"] == "regression"
    ours = with_labels(per_split(lambda n: np.arange(n) % 2), "regression_labels")
    hint = "--rename regression_labels=classification_labels"
    assert hint in Imported(tmp_path, ours, "--task", "classification").error
    assert "two classes?" in Imported(tmp_path, ours).shown
    assert Imported(tmp_path, ours, *hint.split()).manifest["classes"] == 2


def test_classes_that_are_numbered_from_one(tmp_path: Path) -> None:
    data = with_labels(per_split(lambda n: np.arange(n) % 3 + 1))
    assert "--label-map 'x - 1'" in Imported(tmp_path, data).error
    found = Imported(tmp_path, data, "--label-map", "x - 1")
    assert found.labels()[:4].tolist() == [0, 1, 2, 0]
    assert "for sentiment" in Imported(tmp_path, data, "--clip-labels").error


# --- names ---


@pytest.mark.parametrize("key", ["video", "Visual", "vison", "facet"])
def test_a_modality_under_another_name_is_not_lost_quietly(tmp_path: Path, key: str) -> None:
    plain = Imported(tmp_path, make_package()).manifest["sha256"]
    data = make_package()
    for split in SPLITS:
        data[split][key] = data[split].pop("vision")
    found = Imported(tmp_path, data)
    assert "no vision in it" in found.shown
    assert f"did you mean vision? --rename {key}=vision" in found.shown
    renamed = Imported(tmp_path, data, "--rename", f"{key}=vision")
    assert renamed.manifest["options"] == {"rename": f"{key}=vision"}
    assert renamed.manifest["sha256"] == plain
    assert "did you mean" not in renamed.shown


@pytest.mark.parametrize(("key", "meant"), [("speech", "audio"), ("language", "text")])
def test_only_modalities_of_other_names(tmp_path: Path, key: str, meant: str) -> None:
    data = make_package(shapes={meant: SHAPES[meant]})
    for split in SPLITS:
        data[split][key] = data[split].pop(meant)
    error = Imported(tmp_path, data).error
    assert f"did you mean {meant}? --rename {key}={meant}" in error


def test_splits_of_other_names(tmp_path: Path) -> None:
    data = make_package()
    data["dev"] = data.pop("valid")
    assert "--split-names dev=valid" in Imported(tmp_path, data).error
    plain = Imported(tmp_path, make_package()).manifest["sha256"]
    found = Imported(tmp_path, data, "--split-names", "dev=valid")
    assert found.manifest["sha256"] == plain
    assert found.manifest["options"] == {"split-names": "dev=valid"}
    assert "unknown key" in Imported(tmp_path, data, "--split-names", "val=valid").error


# --- labels ---


def test_one_of_several_labels(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    seven = {s: draw.uniform(0, 3, (n, 7)) for s, n in SIZES.items()}
    error = Imported(tmp_path, with_labels(seven)).error
    assert "--label-column" in error
    assert "MOSEI's 7 the first is sentiment" in error
    for key in ("labels", "regression_labels"):
        found = Imported(tmp_path, with_labels(seven, key), "--label-column", "2")
        np.testing.assert_allclose(found.labels(), seven["train"][:, 2], rtol=1e-6)
        assert found.manifest["options"] == {"label-column": "2"}
    assert "columns 0 to 6" in Imported(tmp_path, with_labels(seven), "--label-column", "7").error


def test_another_scale_is_mapped_by_the_formula_that_the_error_gives(tmp_path: Path) -> None:
    ratings = {s: np.linspace(1, 7, n) for s, n in SIZES.items()}
    error = Imported(tmp_path, with_labels(ratings)).error
    assert "If the scale of these is 1 to 7: --label-map 'x - 4'" in error
    expected = (ratings["train"] - 4) / 1.5
    by_map = Imported(tmp_path, with_labels(ratings), "--label-map", "(x-4)/1.5")
    np.testing.assert_allclose(by_map.labels(), expected, rtol=1e-6)
    assert by_map.manifest["options"] == {"label-map": "(x-4)/1.5"}
    scale = ("--label-center", "4", "--label-scale", str(1 / 1.5))
    np.testing.assert_allclose(
        Imported(tmp_path, with_labels(ratings), *scale).labels(), expected, rtol=1e-5
    )
    both = Imported(tmp_path, with_labels(ratings), "--label-map", "x", *scale)
    assert "not both" in both.error


def test_a_few_labels_beyond_the_scale(tmp_path: Path) -> None:
    values = {s: np.linspace(-3, 3, n) for s, n in SIZES.items()}
    values["train"][7] = 3.25
    error = Imported(tmp_path, with_labels(values)).error
    assert "row 7" in error
    assert "--clip-labels" in error
    assert "map" not in error
    found = Imported(tmp_path, with_labels(values), "--clip-labels")
    assert found.labels()[7] == 3
    assert "train: 1 labels clipped" in found.shown


def test_labels_that_are_not_there(tmp_path: Path) -> None:
    values = {s: np.linspace(-3, 3, n) for s, n in SIZES.items()}
    none = {**values, "test": np.full(SIZES["test"], np.nan)}
    assert "benchmark predict" in Imported(tmp_path, with_labels(none)).error
    dropped = Imported(tmp_path, with_labels(none), "--labelled-only").error
    assert "test: no sample has a label" in dropped
    some = {**values, "test": values["test"].copy()}
    some["test"][2] = np.nan
    data = with_labels(some)
    assert "--labelled-only" in Imported(tmp_path, data).error
    found = Imported(tmp_path, data, "--labelled-only")
    kept = [k for k in range(SIZES["test"]) if k != 2]
    test = found.data.splits["test"]
    assert test.sample_ids == tuple(data["test"]["id"][k] for k in kept)
    np.testing.assert_array_equal(test.samples.features["text"], data["test"]["text"][kept])
    lengths = [data["test"]["audio_lengths"][k] for k in kept]  # a list, as MMSA has it
    assert test.samples.masks["audio"].sum(1).tolist() == lengths


def test_iemocap_samples_are_left_out_of_lists_too(tmp_path: Path) -> None:
    answers = {s: np.eye(2)[np.eye(4, dtype=int)[np.arange(n) % 4]] for s, n in SIZES.items()}
    answers["train"][3] = [[1, 0]] * 4
    data = with_labels(answers)
    data["train"]["raw_text"] = list(data["train"]["raw_text"])
    found = Imported(tmp_path, data)
    lengths = [n for k, n in enumerate(data["train"]["audio_lengths"]) if k != 3]
    assert found.data.splits["train"].samples.masks["audio"].sum(1).tolist() == lengths


def test_constant_labels_are_called_that(tmp_path: Path) -> None:
    found = Imported(tmp_path, with_labels(per_split(lambda n: np.full(n, 1.5))))
    assert "every label is 1.5: a constant" in found.shown


@given(st.floats(-50, 50), st.floats(-9, 9), st.floats(0.1, 9))
def test_a_formula_is_what_python_makes_of_it(x: float, shift: float, factor: float) -> None:
    formula = f"-(x - {shift!r}) / {factor!r} + 2 * x"
    expected = eval(formula, {"x": x})
    assert map_labels(formula, np.array([x]))[0] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    "formula",
    ["", "y", "x**2", "x.real", "__import__('os')", "x if x else 1", "(x", "1e999999*x[0]"],
)
def test_what_is_no_formula(formula: str) -> None:
    with pytest.raises(BenchmarkError, match="must be a formula in x"):
        map_labels(formula, np.zeros(1))


def test_pairs_and_steps() -> None:
    assert parse_pairs(["a=b, c=d", "e=f"], "--x") == {"a": "b", "c": "d", "e": "f"}
    assert parse_steps(["50"]) == {"text": 50, "audio": 50, "vision": 50}
    assert parse_steps(["audio=375"]) == {"audio": 375}
    for wrong in (["a"], ["a="], ["a=b", "a=c"]):
        with pytest.raises(BenchmarkError, match="--x"):
            parse_pairs(wrong, "--x")
    for wrong in (["smell=3"], ["text=-1"], ["text=0"], ["all"]):
        with pytest.raises(BenchmarkError, match="--pad-to"):
            parse_steps(wrong)


# --- sequences ---


def ragged(values: np.ndarray, lengths: list[int], as_objects: bool) -> Any:
    rows = [x[:n] for x, n in zip(values, lengths, strict=True)]
    if not as_objects:
        return rows
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


@pytest.mark.parametrize("as_objects", [False, True])
def test_ragged_sequences_are_padded_to_the_longest(tmp_path: Path, as_objects: bool) -> None:
    plain = Imported(tmp_path, make_package()).manifest
    data = make_package()
    assert max(data["train"]["audio_lengths"]) == SHAPES["audio"][0]
    for split in SPLITS:
        lengths = data[split].pop("audio_lengths")
        data[split]["audio"] = ragged(data[split]["audio"], lengths, as_objects)
    found = Imported(tmp_path, data)
    assert found.manifest["sha256"] == plain["sha256"]
    assert "sequences of unequal length" in found.shown
    short = Imported(tmp_path, data, "--pad-to", "audio=3")
    assert short.manifest["lengths"]["audio"] == 3
    assert "were longer and were cut" in short.shown


def test_arrays_are_padded_and_cut(tmp_path: Path) -> None:
    data = make_package()
    data["test"]["audio"] = data["test"]["audio"][:, :5]  # packages padded by split
    data["test"]["audio_lengths"] = [min(n, 5) for n in data["test"]["audio_lengths"]]
    assert "--pad-to" in Imported(tmp_path, data).error
    found = Imported(tmp_path, data, "--pad-to", "audio=6")
    assert found.manifest["lengths"] == {"text": 6, "audio": 6, "vision": 4}
    stated = [min(n, 6) for n in data["train"]["audio_lengths"]]
    assert found.data.splits["train"].samples.masks["audio"].sum(1).tolist() == stated
    vectors = make_package()
    for split in SPLITS:
        vectors[split]["audio"] = vectors[split]["audio"].mean(1)
        del vectors[split]["audio_lengths"]
    assert "--pad-to audio=1" in Imported(tmp_path, vectors).error
    assert Imported(tmp_path, vectors, "--pad-to", "audio=1").manifest["lengths"]["audio"] == 1


@pytest.mark.parametrize("kind", [np.int64, np.float32])
@pytest.mark.parametrize("form", ["3 x T", "N x T", "N x T x 1"])
def test_token_ids_are_no_features(tmp_path: Path, kind: Any, form: str) -> None:
    data = make_package()
    for split, count in SIZES.items():
        tokens = np.zeros((count, 3, 12))
        tokens[:, 0] = np.random.default_rng(0).integers(100, 30000, (count, 12))
        tokens[:, 1] = 1
        shape = {"3 x T": tokens, "N x T": tokens[:, 0], "N x T x 1": tokens[:, 0, :, None]}
        data[split]["text"] = shape[form].astype(kind)
        del data[split]["text_lengths"]
    error = Imported(tmp_path, data).error
    assert "token ids" in error
    assert "benchmark data encode" in error
    left_out = Imported(tmp_path, data, "--rename", "text=unused")
    assert left_out.data.spec.present == ("audio", "vision")


def test_text_bert_without_text(tmp_path: Path) -> None:
    data = make_package()
    for split, count in SIZES.items():
        data[split]["text_bert"] = np.ones((count, 3, 6))
    assert Imported(tmp_path, data).data.spec.present == ("text", "audio", "vision")
    for split in SPLITS:
        del data[split]["text"]
    assert "has 'text_bert', BERT's token ids" in Imported(tmp_path, data).error


def test_nothing_asked_is_nothing_changed(tmp_path: Path) -> None:
    """The identity that runs have: pinned, since no option may move it."""
    manifest, _ = import_and_load(tmp_path, make_package())
    assert manifest.sha256 == PINNED
    assert manifest.options == {}


PINNED = "cb0e60da733c3f74202414204cf883d98ab26392584d7c2be1f9208771ec274e"
