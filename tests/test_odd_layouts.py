"""Layouts of the field that are no package of this suite: each is called what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from benchmark.data.package import read_package
from benchmark.errors import BenchmarkError
from tests.packages import SIZES, import_and_load, make_package, write_package
from tests.test_odd_packages import each, folder, read, refusal

# --- layouts ---


def dialogues() -> tuple[Any, ...]:
    ids = [f"Ses01F_{k}" for k in range(5)]
    column = {name: [np.ones(3)] * 4 for name in ids}
    return (column, column, column, {*ids[:3]}, {*ids[3:]})


ODD: dict[str, tuple[Any, tuple[str, ...]]] = {
    "MMGCN": (dialogues(), ("a tuple of 5 with dictionaries by dialogue", "MMGCN")),
    "UR-FUNNY": ({k: {"a": 1} for k in range(9)}, ("found: 0, 1", "9 samples by id", "Gather")),
    "values by id": ({f"v{k}": 1 for k in range(9)}, ("9 samples by id",)),
    "arrays by id": (
        {f"v{k}": np.ones((3, 2)) for k in range(9)},
        ("9 arrays by id", "--audio-folder FILE"),
    ),
    "ids in splits": (
        {s: {f"{s}{k}": {"text": np.ones((3, 2))} for k in range(5)} for s in SIZES},
        ("split 'train' is a dictionary of 5 samples by id",),
    ),
    "an array per split": (
        {s: np.ones((3, 2, 2)) for s in SIZES},
        ("split 'train' is one array of shape (3, 2, 2)",),
    ),
    "splits inside": (
        {m: {s: np.ones((3, 2, 2)) for s in SIZES} for m in ("text", "labels")},
        ("the splits are inside", "Turn it round"),
    ),
    "folds": ({f"fold{k}": make_package() for k in range(5)}, ("a package of its own",)),
    "no valid": (
        {s: x for s, x in make_package().items() if s != "valid"},
        ("'valid' is missing", "cut one from train"),
    ),
    "split None": ({**make_package(), "valid": None}, ("split 'valid' is None",)),
    "all splits of other names": (
        {k.upper(): v for k, v in make_package().items()},
        ("--split-names TRAIN=train,VALID=valid,TEST=test",),
    ),
    "flat names": (
        {f"{s}_{k}": v for s, x in make_package().items() for k, v in x.items()},
        ("split.name, 'train.id' for 'train_id'",),
    ),
    "columns of other names": (
        {"feature_T": np.ones((3, 2, 2)), "feature_A": np.ones((3, 2, 2))},
        ("the columns of one set",),
    ),
    "tuples of arrays": ([(np.ones(2), np.ones(3), 1.0)] * 4, ("4 tuples, one per sample",)),
    "a number": (5, ("holds one int", "train, valid and test")),
}


@pytest.mark.parametrize("case", ODD)
def test_a_layout_is_called_what_it_is(case: str) -> None:
    data, words = ODD[case]
    said = refusal(data)
    for word in words:
        assert word in said


def test_splits_that_are_not_read_are_named() -> None:
    data = make_package()
    data["unlabeled"] = data["train"]
    assert "not used: unlabeled beside train, valid, test" in read(data).notes


def test_keys_of_bytes(tmp_path: Path) -> None:
    data = {k.encode(): {a.encode(): b for a, b in v.items()} for k, v in make_package().items()}
    expected, _ = import_and_load(folder(tmp_path, "a"), make_package())
    found, _ = import_and_load(folder(tmp_path, "b"), data)
    assert found.sha256 == expected.sha256


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xef\xbb\xbf<!DOCTYPE html>", ("web page",)),
        (b"<!-- x --><html>", ("web page",)),
        (b'{"error": {"code": 403}}', ("is JSON", "A message of the server?")),
        (b"Not Found", ("is text: it begins with 'Not Found'",)),
    ],
)
def test_what_a_server_sent_instead(tmp_path: Path, content: bytes, words: Any) -> None:
    (tmp_path / "p.pkl").write_bytes(content)
    with pytest.raises(BenchmarkError) as error:
        read_package(tmp_path / "p.pkl")
    for word in words:
        assert word in str(error.value)


def test_a_folder_of_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    with pytest.raises(BenchmarkError, match="--audio-folder"):
        read_package(tmp_path)
    write_package(tmp_path / "p.pkl", make_package())
    with pytest.raises(BenchmarkError, match=r"Did you mean one of p\.pkl"):
        read_package(tmp_path)


def test_transcripts_in_other_forms() -> None:
    words = each(lambda c, s, n: c.update(raw_text=[["two", b"words"]] * n))
    assert read(words).splits["test"].raw_text[0] == "two words"
    nested = each(lambda c, s, n: c.update(raw_text=np.array([["one text"]] * n)))
    assert read(nested).splits["test"].raw_text[0] == "one text"
    nothing = each(lambda c, s, n: c.update(raw_text=[None, float("nan")] + ["a"] * (n - 2)))
    assert read(nothing).splits["test"].raw_text[:3] == ("", "", "a")


def test_ids_and_labels_that_are_something_else() -> None:
    no_number = each(lambda c, s, n: c.update(id=[float("nan")] * n))
    assert "row 0 has no id" in refusal(no_number)
    dicts = each(lambda c, s, n: c.update(regression_labels=[{"M": 1.0}] * n))
    assert "regression_labels: must be one number per sample" in refusal(dicts)


def test_bfloat16_is_no_damage(tmp_path: Path) -> None:
    content = {"train.text": torch.ones(2, 1, 3, dtype=torch.bfloat16)}
    save_file(content, tmp_path / "p.safetensors")
    with pytest.raises(BenchmarkError, match="Save its tensors as float16 or float32"):
        read_package(tmp_path / "p.safetensors")
