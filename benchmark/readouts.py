"""Every protocol, read off the prediction table: arithmetic only, no model, no GPU.

A question is a set of weights on rows of the table (:mod:`benchmark.mixtures`). A missing rule at
rate η weighs the availability subsets, so means are exact expectations over what is missing, and F1
and Corr those of the weighted (sample, subset) pairs. Values, intervals and surfaces all come from
these weights and from :func:`benchmark.metrics.columns`; with several corruption draws a metric is
computed per draw and averaged.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.metrics import MEANS, METRICS, columns, combine, family, slopes
from benchmark.mixtures import Level, levels_of, mixed_rows, weighted_rows
from benchmark.questions import KEYS, Headline, Question, protocol_questions
from benchmark.table import PredictionTable

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
    for place, question in enumerate(questions):
        if question.joint:
            found[place] = combine(metric, sample_terms(table, metric, question).sum(axis=1)).mean()
    sums = _row_sums(table, metric)
    for level in levels_of(table.index, table.present, tuple(questions)):
        found[level.places] = level.mean(combine(metric, level.weights @ sums[level.rows]))
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
            mixed_rows(table.index, table.present, question)
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
        found = columns(metric, table.prediction[rows], table.label)
        whole = weights.sum(axis=0)  # 1, up to rounding
        mixed = [(weights * x).sum(axis=0) if x.ndim > 1 else whole * x for x in found]
        draws.append(np.stack(mixed, axis=-1))
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
    found = np.empty((len(questions), len(table.label)))
    for place, question in enumerate(questions):
        if question.joint:
            own = linearised(metric, sample_terms(table, metric, question))
            found[place] = own.mean(axis=0)
    levels = levels_of(table.index, table.present, tuple(questions))
    if not levels:
        return found
    if metric in MEANS:
        for level in levels:
            of_level = columns(metric, table.prediction[level.rows], table.label)
            found[level.places] = _of_mean(level, *of_level)
        return found
    of_levels = [columns(metric, table.prediction[one.rows], table.label) for one in levels]
    means, squares = map(np.concatenate, zip(*map(_moments, levels, of_levels), strict=True))
    slope = slopes(metric, means, np.sqrt(squares))
    constant = combine(metric, means) - (slope * means).sum(axis=-1)
    lines = np.cumsum([len(level.weights) for level in levels])
    for level, of_level, end in zip(levels, of_levels, lines.tolist(), strict=True):
        among = slice(end - len(level.weights), end)
        shares = level.mean(level.weights[:, None] * slope[among, :, None])  # (Q, K, M)
        rows, labels = ([p for p, x in enumerate(of_level) if x.ndim == n] for n in (2, 1))
        of_labels = shares[:, labels].sum(axis=-1) @ np.stack([of_level[p] for p in labels])
        total = of_labels + level.mean(constant[among, None])
        for place in rows:
            total += shares[:, place] @ of_level[place]
        found[level.places] = total
    return found


def _of_mean(level: Level, terms: Array, weight: Array) -> Array:
    """(Q, N) :func:`linear_terms` of a metric that is a mean, where they are known: nothing but
    its own terms, where all samples weigh alike."""
    size = weight.mean() or np.nan
    own = level.shares @ terms / size
    return np.asarray(own + own.mean(axis=-1, keepdims=True) * (1 - weight / size))


def _moments(level: Level, of_level: Sequence[Array]) -> tuple[Array, Array]:
    """(P, K) the means of a level's terms, and of their squares."""
    means, squares = np.empty((2, len(level.rows), len(of_level)))
    for place, one in enumerate(of_level):
        means[:, place], squares[:, place] = np.add.reduce(one, axis=-1), np.vecdot(one, one)
    size = of_level[0].shape[-1]
    return level.weights @ (means / size), level.weights @ squares / size


def linearised(metric: str, of_samples: Array) -> Array:
    """(..., N, K) terms to (..., N): the metric of their means plus each sample's influence."""
    means = of_samples.mean(axis=-2)
    slope = slopes(metric, means, np.sqrt((of_samples**2).mean(axis=-2)))
    constant = combine(metric, means) - (slope * means).sum(axis=-1)
    return np.asarray((of_samples @ slope[..., None])[..., 0] + constant[..., None])


def _row_sums(table: PredictionTable, metric: str) -> Array:
    """(R, K) the terms of every row, summed over samples."""
    kept, name = table.sums, family(metric)
    if name not in kept:
        sums = (one.sum(axis=-1) for one in columns(metric, table.prediction, table.label))
        kept[name] = np.stack(np.broadcast_arrays(*sums), axis=-1)
    return kept[name]
