"""Sample ids in every form that packages have them, and the video that an id names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.data import columns
from benchmark.data.dataset import SPLITS
from benchmark.data.schema import LABEL_KEYS, PLAIN_LABELS
from benchmark.errors import BenchmarkError
from protocols.modalities import MODALITIES

JOINT = "$_$"
MAX_DEPTH = 8
SHOWN = 3
"""How many ids an error names."""
ENOUGH = 0.9
"""A way of reading the video must fit so many of the ids."""


LIKE_IDS = re.compile(
    r"^(ids|(video|segment|sample|utt|utterance|clip|dialogue)_?(id|name|key)s?|vids?|segments?"
    r"|names?|keys?|file_?names?|files?)$",
    re.I,
)
"""Keys that may hold ids, for a hint."""


def number_nameless(splits: Mapping[str, dict[str, Any]], source: str, notes: list[str]) -> None:
    """Number the samples of splits that have no ids, or whose ids only count their rows.

    Raises:
        BenchmarkError: there are none, but a key that looks like them.
    """
    nameless = {name: split for name, split in splits.items() if split.get("id") is None}
    for name, split in nameless.items():
        like = next((key for key in split if isinstance(key, str) and LIKE_IDS.match(key)), None)
        if like is not None or len(nameless) < len(splits):
            hint = f" Did you mean '{like}'? --rename {like}=id;" if like else ""
            raise BenchmarkError(
                f"{source}: {name}: no 'id' (found: {columns.printable(split)}).{hint} --rename"
                f" {like or 'id'}=unused numbers the samples."
            )
        rows = next((len(x) for k, x in split.items() if k in COUNTED and _has_rows(x)), 0)
        if rows:
            split["id"] = [f"{name}{row}" for row in range(rows)]
            notes.append(f"{name}: no ids: the samples are numbered")
    if len(splits) > 1 and all(_only_count(split.get("id")) for split in splits.values()):
        for name, split in splits.items():
            split["id"] = [f"{name}{row}" for row in range(len(split["id"]))]
        notes.append("the ids of each split only count its rows: the samples are numbered")


COUNTED = (*LABEL_KEYS.values(), PLAIN_LABELS, *MODALITIES)


def _has_rows(values: Any) -> bool:
    return isinstance(values, list | tuple) or (isinstance(values, np.ndarray) and values.ndim > 0)


def _only_count(values: Any) -> bool:
    """Whether ids are 0, 1, 2, ... or 1, 2, 3, ... as numbers or texts."""
    array = columns.array_of(values)
    if array is None or array.ndim == 0 or array.size < 1 or array.size != len(array):
        return False
    numbers = [columns.as_number(x) for x in array.ravel()[:: max(1, len(array) - 1)].tolist()]
    if numbers[0] not in (0, 1) or numbers[-1] != numbers[0] + len(array) - 1:
        return False
    whole = [columns.as_number(x) for x in array.ravel().tolist()]
    return whole == [numbers[0] + k for k in range(len(whole))]


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
    empty = [k for k, part in enumerate(parts) if all(map(columns.is_nothing, part))]
    if empty:
        raise BenchmarkError(
            f"{where}: row {empty[0]} has no id ({len(empty)} such rows); --rename id=unused"
            " numbers the samples instead."
        )
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


def distinct_ids(
    ids: Mapping[str, tuple[str, ...]], source: str, notes: list[str]
) -> dict[str, tuple[str, ...]]:
    """The ids of each split, each but once: they key the corruption draws.

    An id's second and later occurrence within a split is numbered, and said in ``notes``.

    Raises:
        BenchmarkError: an id is in two splits: leakage.
    """
    found = {name: _numbered(split, name, notes) for name, split in ids.items()}
    place: dict[str, str] = {}
    twice: list[str] = []
    for name, split in found.items():
        for row, sample in enumerate(split):
            here = f"{name} row {row}"
            if sample in place:
                twice.append(f"{sample!r} ({place[sample]}, {here})")
            place[sample] = here
    if twice:
        more = f" and {len(twice) - SHOWN} more" if len(twice) > SHOWN else ""
        raise BenchmarkError(
            f"{source}: ids occur in two splits: {', '.join(twice[:SHOWN])}{more}. Is a sample"
            " trained and tested on? Remove it from one, or give different samples different ids."
        )
    return found


def _numbered(ids: Sequence[str], name: str, notes: list[str]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    taken = set(ids)
    repeats = []
    for sample in ids:
        fresh, k = sample, 1
        while fresh in found or (k > 1 and fresh in taken):
            k += 1
            fresh = f"{sample}#{k}"
        if k > 1:
            repeats.append(sample)
        found[fresh] = None
    if repeats:
        notes.append(
            f"{name}: {len(repeats)} samples repeat an id ({repeats[0]!r}, for one); they are kept,"
            " numbered '#2' and on"
        )
    return tuple(found)


@dataclass(frozen=True)
class VideoRule:
    """One way in which ids name the video, or dialogue, that a sample is cut from.

    Attributes:
        words: what is read, for people.
        patterns: match a whole id; the first group of the first that does is the video.
    """

    words: str
    patterns: tuple[re.Pattern[str], ...]

    def read(self, sample: str) -> str | None:
        """The video of an id; None where the rule does not fit it."""
        bare = _bare(sample)
        return next((m[1] for p in self.patterns if (m := p.fullmatch(bare))), None)

    def of(self, sample: str) -> str:
        """The video of an id; the id itself where the rule does not fit it."""
        return self.read(sample) or sample


_PART = r"\$_\$-?\d+(?:\.\d*)?"
_FORMS = {
    "what stands before start and end": rf"(.+?){_PART}{_PART}",
    "what stands before the last '$_$'": r"(.+)\$_\$.*",
    "what stands before the number in brackets": r"(.+)(?:\[\d+\]|\(\d+\))",
    "what stands before the last '/'": r"(.+)/[^/]+",
    "what stands before the two times": r"(.+?)[_-]\d+\.\d+[_-]\d+(?:\.\d+)?",
    "what stands before the last number": r"(.+?)[_\-:. ]+[A-Za-z]{0,4}\d+",
}
_PATTERNS = tuple(re.compile(form, re.DOTALL) for form in _FORMS.values())
_RULES = (
    *(VideoRule(words, (p,)) for words, p in zip(_FORMS, _PATTERNS, strict=True)),
    VideoRule("what stands before the number, in the several forms of these ids", _PATTERNS),
)


def video_rule(ids: Sequence[str]) -> VideoRule | None:
    """How the video is read from these ids; None where no way of reading it fits.

    A way fits that fits nine of ten ids and tells at least two videos apart; "train_17" names a
    split and no video.
    """
    for rule in _RULES:
        fitting = [video for i in ids if (video := rule.read(i)) is not None]
        videos = set(fitting)
        if len(fitting) >= ENOUGH * len(ids) and len(videos) > 1 and not videos <= {*SPLITS, "dev"}:
            return rule
    return None


def _bare(sample: str) -> str:
    """An id without what is put around it: quotes of bytes, a repeat's number, a file's ending.

    A plain number ("17.0") names no video, so nothing of it is left.
    """
    bare = re.sub(r"^b'(.*)'$", r"\1", re.sub(r"#\d+$", "", sample))
    bare = re.sub(rf"\.({_ENDINGS})$", "", bare, flags=re.IGNORECASE)
    return "" if re.fullmatch(r"\d+(\.\d*)?", bare) else bare


_ENDINGS = "mp4|avi|mkv|mov|webm|flv|wav|mp3|npy|txt|csv|json|pkl"
