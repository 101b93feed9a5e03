"""Questions as weights on the rows of a prediction table: which rows, and how much of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmark.questions import Question, rows_of
from benchmark.table import PredictionTable, RowIndex
from protocols.expectation import availability_weights
from protocols.modalities import Modality

Array = NDArray[np.float64]


def weighted_rows(table: PredictionTable, question: Question) -> list[tuple[list[int], Array]]:
    """For each corruption draw that matters, the rows that a question mixes and their weights.

    Returns:
        (M rows, (M, N) weights that sum to 1 for each sample) by draw.

    Raises:
        KeyError: where the table does not cover the question.
    """
    rows = mixed_rows(table.index, table.present, question)
    found = []
    for draw, (of_draw, masks) in enumerate(zip(*rows, strict=True)):
        if question.joint:
            rates = table.joint_levels[question.joint, draw][1]
            shares = _subset_weights(question.missing_rule, rates, table.present)[masks]
        else:
            share = _shares(question, table.present, masks)[:, None]
            shares = np.broadcast_to(share, (len(masks), len(table.label)))
        found.append((of_draw.tolist(), shares))
    return found


@lru_cache(maxsize=2048)  # all the runs of a report have one index, or a few
def row_weights(
    index: RowIndex, present: tuple[Modality, ...], question: Question
) -> tuple[NDArray[np.intp], Array]:
    """A question as weights on rows of a table: its expectation over draws and what is missing.

    Args:
        index: the table's rows.
        present: the modalities that the data set has.
        question: any but Protocol III's, where each sample has weights of its own.

    Returns:
        The rows and their weights, which sum to 1; a row may come more than once.

    Raises:
        KeyError: where the table does not cover the question.
    """
    rows, masks = mixed_rows(index, present, question)
    shares = _shares(question, present, masks[0])
    return rows.ravel(), np.tile(shares, len(rows)) / len(rows)


@dataclass(frozen=True)
class Level:
    """Questions that mix the same rows, as those of one noise level.

    Attributes:
        places: (Q,) where the questions are among those that were asked.
        rows: (M,) the table's rows that they mix.
        weights: (P, M) a line for each question and corruption draw.
        starts, draws: (Q,) where a question's lines start, and how many they are.
    """

    places: NDArray[np.intp]
    rows: NDArray[np.intp]
    weights: Array
    starts: NDArray[np.intp]
    draws: NDArray[np.intp]

    @cached_property
    def shares(self) -> Array:
        """(Q, M) what each question has of each row, over its draws."""
        return self.mean(self.weights)

    def mean(self, of_lines: Array) -> Array:
        """(P, ...) to (Q, ...): a mean over draws."""
        sums = np.add.reduceat(of_lines, self.starts)
        return np.asarray(sums / self.draws.reshape(-1, *[1] * (sums.ndim - 1)))


@lru_cache(maxsize=256)
def levels_of(
    index: RowIndex, present: tuple[Modality, ...], questions: tuple[Question, ...]
) -> list[Level]:
    """Every question but Protocol III's, beside those that mix its rows. May raise KeyError."""
    mixed = {p: mixed_rows(index, present, q) for p, q in enumerate(questions) if not q.joint}
    groups: list[tuple[set[int], list[int]]] = []
    for place in sorted(mixed, key=lambda place: -mixed[place][0].size):
        own = set(mixed[place][0].ravel().tolist())
        for rows, places in groups:
            if own <= rows:
                places.append(place)
                break
        else:
            groups.append((own, [place]))
    return [
        _level(questions, present, np.array(places), np.array(sorted(rows)), mixed)
        for rows, places in groups
    ]


def _level(
    questions: Sequence[Question],
    present: tuple[Modality, ...],
    places: NDArray[np.intp],
    rows: NDArray[np.intp],
    mixed: Mapping[int, tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> Level:
    lines: list[Array] = []
    for place in places.tolist():
        of_draws, masks = mixed[place]
        for of_draw in of_draws:
            lines.append(np.zeros(len(rows)))
            at = np.searchsorted(rows, of_draw)
            lines[-1][at] = _shares(questions[place], present, masks[0])
    draws = np.array([len(mixed[place][0]) for place in places.tolist()])
    return Level(places, rows, np.stack(lines), np.cumsum(draws) - draws, draws)


@lru_cache(maxsize=8192)
def mixed_rows(
    index: RowIndex, present: tuple[Modality, ...], question: Question
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(D, M) rows by draw and subset, and their (D, M) availability masks. May raise KeyError."""
    draws = rows_of(question, index.draws.get((question.noise_rule, question.joint), 0), present)
    if not draws:
        raise KeyError(question)
    rows = np.array([[index.rows[condition] for condition in one] for one in draws])
    return rows, np.array([[condition.mask for condition in one] for one in draws])


def _shares(question: Question, present: tuple[Modality, ...], masks: NDArray[np.intp]) -> Array:
    """(M,) the probability of each subset; 1 of the only one where nothing is random."""
    if not question.missing_rule:
        return np.ones(1)
    rate = np.array([question.rate])
    return _subset_weights(question.missing_rule, rate, present)[masks, 0]


def _subset_weights(
    missing_rule: str, rates: NDArray[np.floating], present: tuple[Modality, ...]
) -> Array:
    """The probability of each availability subset at each rate: (E,) -> (8, E) by bit mask."""
    return _weights_at(missing_rule, rates.tobytes(), rates.dtype.str, present)


@lru_cache(maxsize=1024)  # all the runs of a report ask for the same few
def _weights_at(
    missing_rule: str, rates: bytes, dtype: str, present: tuple[Modality, ...]
) -> Array:
    found = np.frombuffer(rates, dtype=dtype)
    by_rate = availability_weights(missing_rule, found, present)  # type: ignore[arg-type]
    return np.ascontiguousarray(by_rate.T)
