"""What people of the field hold besides the usual labels, modalities and ids."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.adjust import Adjustments
from benchmark.data.check import check
from benchmark.data.package import Package, parse_package
from benchmark.errors import BenchmarkError
from tests.packages import SIZES, import_and_load, make_package

Change = Callable[[dict[str, Any], str, int], Any]
DRAW = np.random.default_rng(0)


def each(change: Change) -> dict[str, dict[str, Any]]:
    data = make_package()
    for split, content in data.items():
        change(content, split, SIZES[split])
    return data


def labels(make: Callable[[int], Any], key: str = "labels") -> dict[str, dict[str, Any]]:
    def change(content: dict[str, Any], split: str, count: int) -> None:
        del content["regression_labels"], content["classification_labels"]
        content[key] = make(count)

    return each(change)


def without_lengths(make: Callable[[dict[str, Any], int], Any]) -> dict[str, dict[str, Any]]:
    def change(content: dict[str, Any], split: str, count: int) -> None:
        content["vision"] = make(content, count)
        del content["vision_lengths"]

    return each(change)


def objects(rows: list[Any]) -> Any:
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def folder(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def refusal(data: Any, **asked: Any) -> str:
    task = asked.pop("task", "auto")
    with pytest.raises(BenchmarkError) as error:
        parse_package(data, "p.pkl", task, Adjustments(**asked))
    return str(error.value)


def read(data: Any, **asked: Any) -> Package:
    return parse_package(data, "p.pkl", asked.pop("task", "auto"), Adjustments(**asked))


# --- labels ---


def test_one_hot_labels_are_classes() -> None:
    expected = np.arange(SIZES["train"]) % 4
    for shape in ((-1, 4), (-1, 1, 4)):
        for key in ("labels", "classification_labels"):
            data = labels(lambda n, s=shape: np.eye(4)[np.arange(n) % 4].reshape(s), key)
            found = read(data)
            assert (found.task, found.classes) == ("classification", 4)
            np.testing.assert_array_equal(found.splits["train"].label, expected)
            assert any(f"'{key}' is one-hot" in note for note in found.notes)
    several = labels(lambda n: (DRAW.uniform(size=(n, 4)) > 0.5).astype(float))
    assert "--label-column" in refusal(several)


@pytest.mark.parametrize("key", ["labels", "regression_labels"])
def test_numbers_as_texts_are_numbers(key: str) -> None:
    found = read(labels(lambda n: [f"{x:.2f}" for x in np.linspace(-3, 3, n)], key))
    assert found.task == "regression"
    np.testing.assert_allclose(
        found.splits["train"].label, np.round(np.linspace(-3, 3, SIZES["train"]), 2), atol=1e-6
    )


def test_names_in_place_of_sentiment() -> None:
    names = labels(lambda n: ["happy", "sad"] * (n // 2) + ["sad"] * (n % 2), "regression_labels")
    assert "--rename regression_labels=labels" in refusal(names)
    assert read(names, rename={"regression_labels": "labels"}).class_names == ("happy", "sad")
    mixed = labels(lambda n: [1.5] * (n - 1) + ["none"])
    assert "labels: must be one number per sample; row 19 is 'none'" in refusal(mixed)


def test_messages_have_the_keys_of_the_file() -> None:
    """``labels`` is not called regression_labels because it is read as that."""
    ratings = labels(lambda n: np.linspace(1, 7, n))
    assert "train: labels: row 7" in refusal(ratings)
    other = labels(lambda n: np.linspace(1, 7, n), "score")
    assert "train: score: row 7" in refusal(other, rename={"score": "labels"})
    assert "Did you mean score? --rename score=labels" in refusal(other)
    for task, value in (("regression", 0.0), ("regression", 2.0)):
        said = read(labels(lambda n, v=value: np.arange(n) % 2 * v + 1), task=task).notes
        assert not any("classes?" in note for note in said)  # the user has said what they are
    two = read(labels(lambda n: np.arange(n) % 2 * 2.0 - 1)).notes
    assert any("two classes?" in note and "rename" not in note for note in two)


@pytest.mark.parametrize(("values", "formula"), [([1, 2, 3], "x - 1"), ([-1, 1], "(x + 1) * 0.5")])
def test_the_formula_for_other_class_numbers_works(values: list[int], formula: str) -> None:
    data = labels(lambda n: np.array(values)[np.arange(n) % len(values)], "classification_labels")
    assert f"--label-map '{formula}' numbers them from 0" in refusal(data)
    found = read(data, label_map=formula)
    assert np.unique(found.splits["train"].label).tolist() == list(range(len(values)))


def test_minus_one_may_be_no_label() -> None:
    data = labels(lambda n: np.arange(n) % 3 - (np.arange(n) == 3), "classification_labels")
    said = refusal(data)
    assert "If -1 means no label, --labelled-only" in said
    assert "--label-map 'x + 1'" in said
    assert len(read(data, labelled_only=True).splits["train"].label) == SIZES["train"] - 1
    assert read(data, label_map="x + 1").classes == 4


def test_a_formula_that_makes_no_number() -> None:
    assert "makes no number of the label" in refusal(make_package(), label_map="x / 0")
    infinite = labels(lambda n: np.where(np.arange(n) == 1, np.inf, 1.0) + np.arange(n) / 99)
    assert "--labelled-only" in refusal(infinite, task="regression")
    assert len(read(infinite, labelled_only=True).splits["test"].label) == SIZES["test"] - 1


def test_labels_that_are_absent_or_something_else() -> None:
    data = make_package()
    data["test"]["regression_labels"] = None
    assert "test: no 'regression_labels'" in refusal(data)
    assert "benchmark predict" in refusal(data)
    by_modality = labels(lambda n: {"M": np.zeros(n), "T": np.zeros(n)})
    assert "is a dict of M, T" in refusal(by_modality)
    sentiment = labels(lambda n: np.linspace(-3, 3, n), "classification_labels")
    assert "--rename classification_labels=labels --task regression" in refusal(sentiment)
    assert "nothing to learn" in refusal(labels(lambda n: np.zeros(n), "classification_labels"))


# --- modalities ---


@pytest.mark.parametrize(
    ("modality", "key"),
    [
        *(("vision", k) for k in ("img", "frames", "vision_features", "video_feat", "V")),
        *(("audio", k) for k in ("audio_feature", "wav2vec", "feature_A", "Acoustic")),
        *(("text", k) for k in ("bert", "text_emb", "feature_T", "l")),
    ],
)
def test_a_key_that_may_be_a_modality_is_asked_about(modality: str, key: str) -> None:
    def change(content: dict[str, Any], split: str, count: int) -> None:
        content[key] = content.pop(modality)
        content[f"{key}_lengths"] = content.pop(f"{modality}_lengths")

    data = each(change)
    (note,) = [note for note in read(data).notes if "did you mean" in note]
    pairs = f"{key}={modality},{key}_lengths={modality}_lengths"
    assert f"{modality} is absent, and '{key}' is not used" in note
    assert f"--rename {pairs}" in note
    renamed = read(data, rename=dict(p.split("=") for p in pairs.split(",")))
    plain = read(make_package())
    for split in SIZES:
        np.testing.assert_array_equal(
            renamed.splits[split].lengths[modality],  # type: ignore[index]
            plain.splits[split].lengths[modality],  # type: ignore[index]
        )
    assert not [note for note in renamed.notes if "not used" in note]


def test_a_key_that_says_nothing_is_asked_about_too() -> None:
    data = each(lambda c, s, n: c.update(xyz=c.pop("vision")))
    (note,) = [note for note in read(data).notes if "xyz" in note]
    assert "is it vision? --rename xyz=vision" in note
    left = read(data, rename={"xyz": "unused"})
    assert not any("xyz" in note or "unused" in note for note in left.notes)


def test_lengths_are_not_lost_with_a_rename() -> None:
    data = each(
        lambda c, s, n: c.update(video=c.pop("vision"), video_lengths=c.pop("vision_lengths"))
    )
    (note,) = read(data, rename={"video": "vision"}).notes
    assert "'video_lengths' is not used: --rename video_lengths=vision_lengths" in note


def test_a_modality_of_some_splits_is_left_out_by_the_option_that_is_named() -> None:
    data = make_package()
    del data["test"]["vision"]
    assert "--rename vision=unused" in refusal(data)
    assert read(data, rename={"vision": "unused"}).present == ("text", "audio")
    zero = each(lambda c, s, n: c.update(vision=np.zeros((n, 4, 2))))
    assert read(zero, rename={"vision": "unused"}).present == ("text", "audio")
    empty = each(lambda c, s, n: c.update(vision=np.zeros((n, 0, 0))))
    assert "--rename vision=unused" in refusal(empty)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("rows", [2, 3])
def test_token_ids_in_any_order_of_axes(axis: int, rows: int) -> None:
    def change(content: dict[str, Any], split: str, count: int) -> None:
        tokens = DRAW.integers(5, 30000, (count, 6))
        parts = [tokens, np.ones_like(tokens), np.zeros_like(tokens)][:rows]
        content["text"] = np.stack(parts, axis=axis).astype(np.float32)

    assert "token ids" in refusal(each(change))


@pytest.mark.parametrize("words", [["a text"], [["two", "words"]]])
def test_words_in_place_of_features(words: Any) -> None:
    said = refusal(each(lambda c, s, n: c.update(text=words * n)))
    assert "These are texts" in said
    assert "--rename text=raw_text" in said


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "lists": lambda x: x.tolist(),
    "list of arrays": list,
    "(N, 1, T, d)": lambda x: x[:, None],
    "(N, T, d, 1)": lambda x: x[..., None],
    "object array": lambda x: objects(list(x)),
    "lists of lists of unequal lengths": lambda x: [
        row[: max(1, int(row.any(1).sum()))].tolist() for row in x
    ],
}


@pytest.mark.parametrize("form", FORMS)
def test_features_in_other_containers(tmp_path: Path, form: str) -> None:
    expected, _ = import_and_load(folder(tmp_path, "a"), make_package(dtype=np.float64))
    data = make_package(dtype=np.float64)
    for content in data.values():
        content["vision"] = FORMS[form](content["vision"])
    found, _ = import_and_load(folder(tmp_path, "b"), data)
    assert found.sha256 == expected.sha256


@pytest.mark.parametrize("nothing", [None, np.array([]), np.zeros((0, 2)), []])
def test_a_sample_without_a_sequence_lacks_the_modality(tmp_path: Path, nothing: Any) -> None:
    data = without_lengths(
        lambda c, n: objects([nothing if k == 2 else np.ones((1 + k % 3, 2)) for k in range(n)])
    )
    manifest, dataset = import_and_load(tmp_path, data)
    assert manifest.missing["train"]["vision"] == 1
    assert not dataset.splits["train"].samples.available[2, 2]


def test_other_axes_are_suspected() -> None:
    swapped = each(lambda c, s, n: c.update(vision=np.swapaxes(c["vision"], 1, 2)))
    said = refusal(swapped)
    assert "(N, d, T)?" in said
    assert "--rename vision_lengths=unused" in said
    first = each(lambda c, s, n: c.update(vision=np.swapaxes(c["vision"], 0, 1)))
    assert "(4, 20, 2): in another order?" in refusal(first)
    images = each(lambda c, s, n: c.update(vision=np.zeros((n, 4, 3, 8, 8))))
    assert "Are they images" in refusal(images)
    assert "pad-to" not in refusal(images)


def test_a_length_that_changes_nothing_is_no_news() -> None:
    assert not read(make_package(), pad_to={"vision": 4}).notes


# --- ids ---


def test_ids_under_another_key_and_none_at_all() -> None:
    other = each(lambda c, s, n: c.update(video_id=c.pop("id")))
    assert "Did you mean 'video_id'? --rename video_id=id" in refusal(other)
    assert read(other, rename={"video_id": "id"}).splits["test"].ids[0] == "test0$_$0"
    nameless = each(lambda c, s, n: c.pop("id"))
    found = read(nameless)
    assert found.splits["test"].ids[3] == "test3"
    assert "test: no ids: the samples are numbered" in found.notes


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("kind", [int, str])
def test_ids_that_count_the_rows_of_each_split(first: int, kind: Any) -> None:
    """They are no ids, and no leak either."""
    data = each(lambda c, s, n: c.update(id=[kind(k + first) for k in range(n)]))
    found = read(data)
    assert found.splits["valid"].ids[:2] == ("valid0", "valid1")
    assert any("only count its rows" in note for note in found.notes)


@pytest.mark.parametrize("nothing", [None, "", b""])
def test_a_row_without_an_id(nothing: Any) -> None:
    def change(content: dict[str, Any], split: str, count: int) -> None:
        content["id"][4] = nothing

    data = each(change)
    assert "train: id: row 4 has no id (1 such rows)" in refusal(data)
    assert read(data, rename={"id": "unused"}).splits["train"].ids[4] == "train4"


MORE_IDS: dict[str, Callable[[str, int, str], str]] = {
    "video_3.mp4": lambda video, k, split: f"{video}_{k}.mp4",
    "b'video[3]'": lambda video, k, split: f"b'{video}[{k}]'",
    "video(3)": lambda video, k, split: f"{video}({k})",
    "another form in test": lambda video, k, split: (
        f"{video}[{k}]" if split == "test" else f"{video}$_${k}"
    ),
}


@pytest.mark.parametrize("form", MORE_IDS)
def test_leaks_in_more_forms_of_ids(tmp_path: Path, form: str) -> None:
    numbers = itertools.count()
    data = each(
        lambda c, s, n: c.update(
            id=[MORE_IDS[form](f"vid{k % 4}x", next(numbers), s) for k in range(n)]
        )
    )
    import_and_load(tmp_path, data)
    said = "\n".join(check(tmp_path / "data", "mine").oddities)
    assert "4 videos are in train and in test ('vid0x', say)" in said


def test_fractions_are_no_videos(tmp_path: Path) -> None:
    numbers = itertools.count()
    data = each(lambda c, s, n: c.update(id=np.array([float(next(numbers)) for _ in range(n)])))
    import_and_load(tmp_path, data)
    found = check(tmp_path / "data", "mine")
    assert "do not tell which video" in "\n".join(found.oddities)
