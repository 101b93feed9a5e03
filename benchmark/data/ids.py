"""Sample ids in every form that packages have them, and the video that an id names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.data import columns
from benchmark.data.dataset import SPLITS
from benchmark.errors import BenchmarkError

JOINT = "$_$"
MAX_DEPTH = 8
ENOUGH = 0.9
"""A way of reading the video must fit so many of the ids."""


def joined_ids(values: Any, where: str) -> tuple[str, ...]:
    """A column of ids as texts, each decoded and flattened.

    An id may be text, bytes, a number, or nested lists and arrays of them: MulT's (video, start,
    end) becomes "video$_$start$_$end", and ``[[b"video[3]"]]`` becomes "video[3]".

    Raises:
        BenchmarkError: it is no column, or an id holds something else.
    """
    rows = np.atleast_1d(values) if isinstance(values, np.ndarray) else values
    if not isinstance(rows, np.ndarray | list | tuple):
        raise BenchmarkError(f"{where}: must be one id per sample, is {type(values).__name__}.")
    if isinstance(rows, np.ndarray) and rows.ndim == 1:
        rows = rows.tolist()
    parts = [_parts(row, where) for row in rows]
    if all(len(part) == 1 for part in parts):
        return columns.texts([part[0] for part in parts], where)
    return tuple(JOINT.join(columns.texts(part, where)) for part in parts)


def _parts(value: Any, where: str, depth: int = 0) -> list[Any]:
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist()
    if not isinstance(value, list | tuple):
        return [value]
    if depth == MAX_DEPTH:
        raise BenchmarkError(f"{where}: ids are nested too deeply.")
    return [part for item in value for part in _parts(item, where, depth + 1)]


@dataclass(frozen=True)
class VideoRule:
    """One way in which ids name the video, or dialogue, that a sample is cut from.

    Attributes:
        words: what is read, for people.
        pattern: matches a whole id; its first group is the video.
    """

    words: str
    pattern: re.Pattern[str]

    def of(self, sample: str) -> str:
        """The video of an id; the id itself where the rule does not fit it."""
        found = self.pattern.fullmatch(_without_repeat(sample))
        return found[1] if found else sample


_PART = r"\$_\$-?\d+(?:\.\d*)?"
_RULES = (
    VideoRule("what stands before start and end", re.compile(rf"(.+?){_PART}{_PART}", re.DOTALL)),
    VideoRule("what stands before the last '$_$'", re.compile(r"(.+)\$_\$.*", re.DOTALL)),
    VideoRule("what stands before '[k]'", re.compile(r"(.+)\[\d+\]", re.DOTALL)),
    VideoRule("what stands before the last '/'", re.compile(r"(.+)/[^/]+", re.DOTALL)),
    VideoRule(
        "what stands before the two times", re.compile(r"(.+?)[_-]\d+\.\d+[_-]\d+(?:\.\d+)?")
    ),
    VideoRule("what stands before the last number", re.compile(r"(.+?)[_\-:. ]+[A-Za-z]{0,4}\d+")),
)


def video_rule(ids: Sequence[str]) -> VideoRule | None:
    """How the video is read from these ids; None where no way of reading it fits.

    A way fits that fits nine of ten ids and tells at least two videos apart; "train_17" names a
    split and no video.
    """
    for rule in _RULES:
        fitting = [i for i in ids if rule.pattern.fullmatch(_without_repeat(i))]
        videos = {rule.of(i) for i in fitting}
        if len(fitting) >= ENOUGH * len(ids) and len(videos) > 1 and not videos <= {*SPLITS, "dev"}:
            return rule
    return None


def _without_repeat(sample: str) -> str:
    """An id without the number that the import gives to one that repeats."""
    return re.sub(r"#\d+$", "", sample)
