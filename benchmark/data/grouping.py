"""Splits that we make ourselves: whole speakers, videos or sessions, never parts of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmark.data.dataset import SPLITS
from benchmark.errors import BenchmarkError, unknown

FEW = 10
"""Up to so many groups are folds: one is test, one is validation."""
SHARES = {"test": 0.2, "valid": 0.1}


def split_by_group(
    groups: Sequence[str], what: str, test_group: str | None = None
) -> tuple[tuple[str, ...], str]:
    """Put each group as a whole into one split.

    With ``test_group``, or with at most FEW groups: leave one group out. The test split is
    ``test_group`` (the last one by default: IEMOCAP's session 5), validation the group before it in
    sorted order, going round; the others are train. With more groups: along an order that a hash
    of their names decides, groups are test up to 20 % of the rows, then validation up to 10 %.

    Args:
        groups: the group of each of the N rows.
        what: what the groups are, for messages ("session").
        test_group: the group to leave out.

    Returns:
        The split of each row, and a sentence that says what was done.

    Raises:
        BenchmarkError: too few groups for three splits, or an unknown ``test_group``.
    """
    sizes = Counter(groups)
    names = sorted(sizes, key=_natural)
    if len(names) < len(SPLITS):
        raise BenchmarkError(
            f"'{what}' has {len(names)} different values: too few for train, valid and test."
        )
    if test_group is None and len(names) > FEW:
        place = _by_share(sizes)
        counts = Counter(place.values())
        if not counts["train"]:
            raise BenchmarkError(
                f"'{what}': a few groups hold nearly all rows, which leaves none to train on. Name"
                " the one to test on with --test-group."
            )
        note = f"split made here by '{what}', hashed: " + ", ".join(
            f"{counts[split]} groups {split}" for split in SPLITS
        )
    else:
        test = names[-1] if test_group is None else test_group
        if test not in names:
            raise unknown(what, test, names)
        valid = names[names.index(test) - 1]
        place = dict.fromkeys(names, "train") | {valid: "valid", test: "test"}
        note = f"split made here by '{what}': test {test}, valid {valid}, train the others"
    return tuple(place[group] for group in groups), note


def _by_share(sizes: Mapping[str, int]) -> dict[str, str]:
    """Group -> split: along the hash order, test until it has its share, then validation."""
    total = sum(sizes.values())
    place: dict[str, str] = {}
    held = dict.fromkeys(SHARES, 0)
    for name in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).digest()):
        split = next((s for s in SHARES if held[s] < SHARES[s] * total), "train")
        if split != "train":
            held[split] += sizes[name]
        place[name] = split
    return place


def _natural(name: str) -> tuple[bool, float, str]:
    """Numbers by value, then names."""
    return (False, float(name), name) if name.isdecimal() else (True, 0.0, name)
