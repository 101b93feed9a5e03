"""Every protocol, read off the prediction table: arithmetic only, no model, no GPU.

A question is a set of weights on rows of the table. A missing rule at rate η weighs the
availability subsets, so means are exact expectations over what is missing, and F1 and Corr those of
the weighted (sample, subset) pairs. Values, intervals and surfaces all come from these weights and
from :func:`benchmark.metrics.terms`; with several corruption draws a metric is computed per draw
and averaged.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import METRICS, combine, family, slopes, terms
from benchmark.questions import KEYS, Headline, Question, protocol_questions, rows_of
from benchmark.table import PredictionTable, RowIndex
from protocols.expectation import availability_weights
from protocols.modalities import Modality

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Metrics = dict[str, float]


def values(table: PredictionTable, metric: str, questions: Sequence[Question]) -> Array:
    """A metric's value for each question, a mean over draws: (Q,); NaN where it is undefined.

    Raises:
        KeyError: where the table does not cover a question.
    """
    found = np.empty(len(questions))
    joint = np.array([bool(q.joint) for q in questions], dtype=bool)
    for place, question in enumerate(questions):
        if question.joint:
            found[place] = combine(metric, sample_terms(table, metric, question).sum(axis=1)).mean()
    level = tuple(q for q in questions if not q.joint)
    if level:
        weights, starts = _mixtures(table.index, table.present, level)
        by_draw = combine(metric, weights @ _row_sums(table, metric))
        draws = np.diff(starts, append=len(weights))
        found[~joint] = np.add.reduceat(by_draw, starts) / draws
    return found


def read(table: PredictionTable, question: Question) -> Metrics:
    """All metrics of one question. Raises KeyError where the table does not cover it."""
    return {m: float(values(table, m, [question])[0]) for m in METRICS[table.task]}


def summarise(
    table: PredictionTable, missing_rules: Sequence[str] = ("bernoulli",)
) -> pd.DataFrame:
    """Everything that the table can be asked, tidy: a row per question, a column per metric.

    Key columns: :data:`benchmark.questions.KEYS`.
    """
    return _frame(table, answered_by(table, missing_rules))


def with_missing_rules(
    summary: pd.DataFrame, table: PredictionTable, missing_rules: Sequence[str]
) -> pd.DataFrame:
    """A table's summary with Protocol I under further missing rules, where it has Protocol I."""
    import pandas as pd

    known = set(questions_in(summary))
    further = [q for q in answered_by(table, missing_rules) if q.protocol == "I" and q not in known]
    return pd.concat([summary, _frame(table, further)], ignore_index=True) if further else summary


def answered_by(table: PredictionTable, missing_rules: Sequence[str]) -> list[Question]:
    """The questions that a table covers."""
    groups = protocol_questions(table.noise_rules, tuple(missing_rules), table.present)
    return [question for group in groups if covers(table, group) for question in group]


def covers(table: PredictionTable, questions: Iterable[Question]) -> bool:
    """Whether the table has every row that the questions mix."""
    try:
        for question in questions:
            _rows(table.index, table.present, question)
    except KeyError:
        return False
    return True


def questions_in(frame: pd.DataFrame) -> list[Question]:
    """The questions of a tidy frame, row by row."""
    columns = (
        frame[key].to_numpy(dtype=object).tolist() for key in KEYS
    )  # an array is slow to walk
    return [Question(*key) for key in zip(*columns, strict=True)]


def answers_in(frame: pd.DataFrame, metric: str) -> Mapping[Question, float]:
    """A metric's value for each question of a tidy frame of one run."""
    return dict(zip(questions_in(frame), frame[metric].astype(float), strict=True))


def headline_value(answers: Mapping[Question, float], headline: Headline) -> float | None:
    """The mean over a headline's questions; None where one was not asked, NaN where undefined."""
    found = [answers.get(question) for question in headline.questions]
    return None if None in found else float(np.mean(np.array(found, dtype=np.float64)))


def spread(values: Sequence[float | None], digits: int = 3) -> str:
    """Mean ± standard deviation over the runs that have a value; "–" without any, or where one is
    undefined."""
    known = [value for value in values if value is not None]
    if not known or not all(map(math.isfinite, known)):
        return "–"
    deviation = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{deviation}"


def _frame(table: PredictionTable, questions: Sequence[Question]) -> pd.DataFrame:
    import pandas as pd  # a quarter of a second: not for a list

    keys = pd.DataFrame(questions, columns=list(KEYS))
    metrics = {m: values(table, m, questions) for m in METRICS[table.task]}
    return pd.concat([keys, pd.DataFrame(metrics)], axis=1)


# What the statistics of a report start from: the terms of each sample.


def sample_terms(table: PredictionTable, metric: str, question: Question) -> Array:
    """What each sample adds to a metric, in expectation over what is missing.

    Returns:
        (D, N, K): one slice for each corruption draw that matters.

    Raises:
        KeyError: where the table does not cover the question.
    """
    draws = []
    for rows, weights in weighted_rows(table, question):
        found = np.ascontiguousarray(terms(metric, table.prediction[rows], table.label))
        draws.append(found[0] if len(rows) == 1 else np.einsum("mn,mnk->nk", weights, found))
    return np.stack(draws)


def linear_terms(table: PredictionTable, metric: str, questions: Sequence[Question]) -> Array:
    """A metric's value for each question plus each sample's influence on it (the delta method).

    To first order a metric is the mean of these over samples, whatever it is of sums, so its error
    over samples is that of a mean. A mean over draws, as the values are.

    Returns:
        (Q, N), whose means over samples are :func:`values`; NaN where that is undefined.

    Raises:
        KeyError: where the table does not cover a question.
    """
    size = len(table.label)
    found = np.empty((len(questions), size))
    joint = np.array([bool(q.joint) for q in questions], dtype=bool)
    for place in np.flatnonzero(joint).tolist():
        found[place] = linearised(metric, sample_terms(table, metric, questions[place])).mean(
            axis=0
        )
    level = tuple(q for q in questions if not q.joint)
    if level:
        weights, starts = _mixtures(table.index, table.present, level)
        draws = np.diff(starts, append=len(weights))[:, None]
        groups = _sharing(table.index, table.present, level)
        used = np.unique(np.concatenate([rows for _, rows, _ in groups]))
        weights = weights[:, used]
        by_row = terms(metric, table.prediction[used], table.label).swapaxes(1, 2)  # (R, K, N)
        by_row = np.ascontiguousarray(by_row, dtype=np.float64)
        sums = weights @ by_row.mean(axis=-1)
        squares = weights @ np.einsum("rkn,rkn->rk", by_row, by_row) / size
        slope = slopes(metric, sums, np.sqrt(squares))
        constant = combine(metric, sums) - (slope * sums).sum(axis=-1)
        of_level = np.repeat(np.add.reduceat(constant, starts)[:, None] / draws, size, axis=1)
        for places, rows, lines in groups:
            some, first = np.searchsorted(used, rows), np.searchsorted(lines, starts[places])
            shares = weights[lines[:, None], some]
            own = np.add.reduceat(shares[:, :, None] * slope[lines, None, :], first)
            own = (own / draws[places, :, None]).reshape(len(places), -1)
            of_level[places] += own @ by_row[some].reshape(-1, size)
        found[~joint] = of_level
    return found


def linearised(metric: str, of_samples: Array) -> Array:
    """(..., N, K) terms to (..., N): the metric of their means plus each sample's influence."""
    means = of_samples.mean(axis=-2)
    slope = slopes(metric, means, np.sqrt((of_samples**2).mean(axis=-2)))
    constant = combine(metric, means) - (slope * means).sum(axis=-1)
    return np.asarray((of_samples @ slope[..., None])[..., 0] + constant[..., None])


def weighted_rows(table: PredictionTable, question: Question) -> list[tuple[list[int], Array]]:
    """For each corruption draw that matters, the rows that a question mixes and their weights.

    Returns:
        (M rows, (M, N) weights that sum to 1 for each sample) by draw.

    Raises:
        KeyError: where the table does not cover the question.
    """
    rows = _rows(table.index, table.present, question)
    found = []
    for draw, (of_draw, masks) in enumerate(zip(*rows, strict=True)):
        if question.joint:
            rates = table.joint_levels[question.joint, draw][1]
            shares = _subset_weights(question.missing_rule, rates, table.present)[:, masks].T
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
    rows, masks = _rows(index, present, question)
    shares = _shares(question, present, masks[0])
    return rows.ravel(), np.tile(shares, len(rows)) / len(rows)


@lru_cache(maxsize=256)
def _mixtures(
    index: RowIndex, present: tuple[Modality, ...], questions: tuple[Question, ...]
) -> tuple[Array, NDArray[np.intp]]:
    """(P, R) weights on the table's rows, a line for each question and draw; where each starts."""
    lines: list[Array] = []
    starts: list[int] = []
    for question in questions:
        rows, masks = _rows(index, present, question)
        starts.append(len(lines))
        for of_draw in rows:
            line = np.zeros(index.size)
            line[of_draw] = _shares(question, present, masks[0])
            lines.append(line)
    return np.stack(lines), np.array(starts)


@lru_cache(maxsize=256)
def _sharing(
    index: RowIndex, present: tuple[Modality, ...], questions: tuple[Question, ...]
) -> list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]]:
    """The places of the questions that mix the same rows, as those of one noise level; these rows;
    and the lines of :func:`_mixtures` for these questions. Ascending all."""
    groups: dict[bytes, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        groups[np.unique(_rows(index, present, question)[0]).tobytes()].append(place)
    weights, starts = _mixtures(index, present, questions)
    of = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(weights)))
    return [
        (np.array(g), np.frombuffer(key, dtype=np.intp), np.flatnonzero(np.isin(of, g)))
        for key, g in groups.items()
    ]


@lru_cache(maxsize=8192)
def _rows(
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
    return _subset_weights(question.missing_rule, rate, present)[0, masks]


def _subset_weights(
    missing_rule: str, rates: NDArray[np.floating], present: tuple[Modality, ...]
) -> Array:
    """The probability of each availability subset at each rate: (E,) -> (E, 8) by bit mask."""
    return _weights_at(missing_rule, rates.tobytes(), rates.dtype.str, present)


@lru_cache(maxsize=1024)  # all the runs of a report ask for the same few
def _weights_at(
    missing_rule: str, rates: bytes, dtype: str, present: tuple[Modality, ...]
) -> Array:
    found = np.frombuffer(rates, dtype=dtype)
    return availability_weights(missing_rule, found, present)  # type: ignore[arg-type]


def _row_sums(table: PredictionTable, metric: str) -> Array:
    """(R, K) the terms of every row, summed over samples."""
    kept, name = table.sums, family(metric)
    if name not in kept:
        kept[name] = terms(metric, table.prediction, table.label).sum(axis=1)
    return kept[name]
