"""Ids in every form that packages have, and leaks between splits that only the ids can show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.check import check
from benchmark.data.ids import joined_ids, video_rule
from benchmark.errors import BenchmarkError
from tests.packages import SIZES, import_and_load, make_package

FORMS: dict[str, Callable[[str, int], Any]] = {
    "video$_$clip": lambda video, k: f"{video}$_${k}",
    "triples": lambda video, k: [video, f"{k}.25", f"{k + 1}.5"],
    "triples of bytes": lambda video, k: np.array([video.encode(), b"1.0", str(k).encode()]),
    "video[3]": lambda video, k: f"{video}[{k}]",
    "video_3": lambda video, k: f"{video}_{k}",
    "video_0003": lambda video, k: f"{video}_{k:04d}",
    "video/0003": lambda video, k: f"{video}/{k:04d}",
    "video_start_end": lambda video, k: f"{video}_{k}.5_{k + 1}.25",
    "utterances": lambda video, k: f"{video}_utt{k}",
    "(N, 1, 1) bytes": lambda video, k: np.array([[f"{video}[{k}]".encode()]]),
    "lists of one array": lambda video, k: [np.array([f"{video}_{k}"])],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("as_array", [False, True])
def test_a_video_in_all_splits_is_seen(tmp_path: Path, form: str, as_array: bool) -> None:
    data = make_package()
    for split, count in SIZES.items():
        ids = [FORMS[form](f"Qx-7_{split}{k // 3}", k) for k in range(count)]
        ids[4] = FORMS[form]("aB_leaks", {"train": 1, "valid": 2, "test": 3}[split])
        data[split]["id"] = np.array(ids) if as_array else ids
    _, dataset = import_and_load(tmp_path, data)
    found = check(tmp_path / "data", "mine")
    said = "\n".join(found.oddities)
    for pair in ("in train and in valid", "in train and in test", "in valid and in test"):
        assert f"1 videos are {pair} ('aB_leaks', say)" in said
    assert "b'" not in dataset.splits["train"].sample_ids[0]
    assert "'Qx-7_train0' of 'Qx-7_train0" in found.videos


@pytest.mark.parametrize("sample", ["sample_{k}", "{split}_{k}", "{k}", "name of {split} {k}x"])
def test_ids_that_tell_no_video_say_so(tmp_path: Path, sample: str) -> None:
    data = make_package()
    numbers = iter(range(100))
    for split, count in SIZES.items():
        data[split]["id"] = [sample.format(split=split, k=next(numbers)) for _ in range(count)]
    import_and_load(tmp_path, data)
    found = check(tmp_path / "data", "mine")
    assert "do not tell which video" in "\n".join(found.oddities)
    assert not any("videos are in" in line for line in found.oddities)


def test_numbered_repeats_are_still_of_their_video() -> None:
    rule = video_rule(["a_1", "a_1#2", "b_2"])
    assert rule is not None
    assert [rule.of(i) for i in ("a_1#2", "b_2", "odd")] == ["a", "b", "odd"]


def test_an_episode_is_more_than_its_season() -> None:
    ids = ["S05$_$E16$_$329", "S05$_$E17$_$330", "S06$_$E06$_$1"]
    rule = video_rule(ids)
    assert rule is not None
    assert [rule.of(i) for i in ids] == ["S05$_$E16", "S05$_$E17", "S06$_$E06"]


def test_ids_that_are_none() -> None:
    for values in (None, "abc", 3, [{"a": 1}], [[[[[[[[[[[[["a"]]]]]]]]]]]]]):
        with pytest.raises(BenchmarkError, match="x: id"):
            joined_ids(values, "x: id")
