"""The standard folds of sets that are distributed whole: which video is for training, and so on.

The ids are those of the CMU Multimodal SDK (``cmu_mosi_std_folds.py`` and the like; MIT licence).
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files

ENOUGH = 0.9
"""Videos are of a set if so many of them are in its folds."""


@cache
def standard_folds(name: str) -> Mapping[str, str]:
    """Video -> train, valid or test, of "mosi", "mosei" or "pom"."""
    text = files(__name__).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return {row["video"]: row["split"] for row in csv.DictReader(text.splitlines())}


def folds_of(videos: Collection[str]) -> tuple[str, Mapping[str, str]] | None:
    """The set that these videos are of, and its folds; None where they are of none."""
    for name in ("mosi", "mosei", "pom"):
        folds = standard_folds(name)
        known = [folds[video] for video in videos if video in folds]
        if len(known) >= ENOUGH * len(videos) and len(set(known)) == len({*folds.values()}):
            return name, folds
    return None
