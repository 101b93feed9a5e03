"""Packages in MulT's layout, rewritten to the MMSA schema.

They have ``labels`` instead of ``regression_labels`` or ``classification_labels``: (N, 1, 1)
sentiment, or, for IEMOCAP, (N, 4, 2) one-hot answers to four yes-or-no questions. Their ids are
rows of (video, start, end), or are not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data import columns
from benchmark.errors import BenchmarkError

LABELS = "labels"
EMOTIONS = ("neutral", "happy", "sad", "angry")
"""The order of the four questions in MulT's package of IEMOCAP."""
ID_JOINT = "$_$"


def is_mult_layout(split: Mapping[str, Any]) -> bool:
    """Whether a split has MulT's label column and none of the MMSA schema's."""
    has_ours = "regression_labels" in split or "classification_labels" in split
    return isinstance(split.get(LABELS), np.ndarray) and not has_ours


def from_mult(split: Mapping[str, Any], name: str, where: str, notes: list[str]) -> dict[str, Any]:
    """A split in MulT's layout as one in the MMSA schema; says in ``notes`` what it did.

    Raises:
        BenchmarkError: labels of another shape.
    """
    content = {key: values for key, values in split.items() if key != LABELS}
    labels = np.asarray(split[LABELS])
    if content.get("id") is None:
        content["id"] = [f"{name}{row}" for row in range(len(labels))]
        notes.append(f"{name}: no ids: the samples are numbered")
    else:
        content["id"] = joined_ids(content["id"], f"{where}: id")
    if labels.size == len(labels):
        content["regression_labels"] = labels.reshape(len(labels))
        return content
    if labels.shape[1:] != (len(EMOTIONS), 2):
        raise BenchmarkError(
            f"{where}: {LABELS} has shape {labels.shape}, must be (N, 1, 1) sentiment or (N, 4, 2)"
            f" answers for {', '.join(EMOTIONS)}."
        )
    return _one_emotion(content, labels.argmax(2), name, notes)


def _one_emotion(
    content: dict[str, Any], answers: NDArray[np.int64], name: str, notes: list[str]
) -> dict[str, Any]:
    """Four answers as one class; samples with none or several are left out, and counted."""
    single = answers.sum(1) == 1
    content["classification_labels"] = [EMOTIONS[k] for k in answers[single].argmax(1)]
    if not single.all():
        notes.append(
            f"{name}: {int((~single).sum())} of {len(single)} samples have no or several of"
            f" {', '.join(EMOTIONS)} and were left out"
        )
        for key, values in content.items():
            if isinstance(values, np.ndarray) and len(values) == len(single):
                content[key] = values[single]
        content["id"] = [x for x, kept in zip(content["id"], single, strict=True) if kept]
    return content


def joined_ids(values: Any, where: str) -> list[str]:
    """A column of ids as texts. Raises BenchmarkError where it is no column."""
    rows = np.atleast_1d(values) if isinstance(values, np.ndarray) else values
    if not isinstance(rows, np.ndarray | list | tuple):
        raise BenchmarkError(f"{where}: must be one id per sample, is {type(values).__name__}.")
    return [_joined_id(row, where) for row in rows]


def _joined_id(value: Any, where: str) -> str:
    """An id as one text; MulT's are rows of (video, start, end)."""
    parts = value if isinstance(value, np.ndarray | list | tuple) else [value]
    return ID_JOINT.join(columns.texts(list(parts), where))
