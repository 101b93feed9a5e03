"""The tidy frame of answers: what a report prints, as data.

A row for each system, question and metric:

===============================  ==================================================================
kind                             "system"; "specialists", several systems of which each answers at
                                 the level that it was trained for; "floor", a constant prediction,
                                 the same under every condition; "published", a model of a paper
system, label                    key and name; of a published model its name only
model, training                  the model's title, and what it was trained on
quantity                         "value" of one condition; else the name of the mean over several
protocol, noise_rule,            the condition (:class:`benchmark.questions.Question`); of a mean
missing_rule, intensity, rate,   what its conditions share, and "" or NaN for the rest; of a floor
available, joint                 "" and NaN
metric                           its name in :mod:`benchmark.metrics`
value, std, low, high            mean and standard deviation over seeds, 95 % interval, in the
                                 metric's raw unit
n, seeds, per_seed               how many seeds were asked everything, which, and their values
published, difference, source    what a paper prints, value minus that, and the paper's table
undefined                        why a value or an interval is none
===============================  ==================================================================

Of a grid there are also its areas, the relative drop at the most degraded cell, its worst cell, the
steepest step (at the cell that it leads to) and the number of non-monotone steps.

Where two tables of the paper print a number for one answer (Tables 5 and 6) there is a row for
each, and ``quantity`` of the second says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from benchmark.metrics import METRICS
from benchmark.questions import KEYS, Question
from protocols.conditions import LEVELS
from reports.answer import Answer
from reports.answers import Answers, Asked
from reports.beside import NOT_STATED, TRAINED, ablation_printed, printed, table_of
from reports.specialists import PER_INTENSITY, PER_RATE, Specialists
from reports.statistics.summaries import Place
from reports.subjects import Subject
from reports.views import view

COLUMNS = (
    *("kind", "system", "label", "model", "training", "quantity", *KEYS, "metric"),
    *("value", "std", "low", "high", "n", "seeds", "per_seed"),
    *("published", "difference", "source", "undefined"),
)

VALUE = "value"
ABLATION = "value (Table 6)"


def frame(answers: Answers) -> pd.DataFrame:
    """Every answer; columns as the module says."""
    rows = [*_measured(answers), *_summaries(answers), *_floors(answers), *_published(answers)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _measured(answers: Answers) -> Iterator[dict[str, Any]]:
    subjects: dict[str, Subject] = {s.key: s for s in answers.results.systems}
    subjects |= {group.key: group for group in answers.specialists}
    ablated = {s.key: s for s in answers.results.systems}
    for (key, asked, metric), answer in answers.rows.items():
        subject = subjects[key]
        kind = "specialists" if isinstance(subject, Specialists) else "system"
        about = {
            **{"kind": kind, "system": key, "label": subject.label, "model": subject.title},
            **{"training": subject.training, "quantity": answers.means.get(asked, VALUE)},
            **_keys(asked),
            **_numbers(answer),
        }
        table = table_of(asked, answers.results.aligned)
        yield {**about, "metric": metric, **_beside(answer.value, answer.published, metric, table)}
        if key in ablated and len(asked) == 1:
            other = ablation_printed(answers.paper, ablated[key], asked, metric)
            if other is not None:
                beside = _beside(answer.value, other, metric, "table6")
                yield {**about, "metric": metric, **beside, "quantity": ABLATION}


def _summaries(answers: Answers) -> Iterator[dict[str, Any]]:
    systems = {system.key: system for system in answers.results.systems}
    for (key, noise, missing, metric), found in answers.summaries.items():
        system = systems[key]
        count = Answer(float(found.rises), None, math.nan, math.nan, found.worst.seeds, ())
        quantities: dict[str, tuple[Answer, Place | None]] = {
            "Area in λ": (found.area_in_intensity, None),
            "Area in η": (found.area_in_rate, None),
            f"Drop at ({LEVELS[-1]:g}, {LEVELS[-1]:g})": (found.drop, None),
            "Worst cell": (found.worst, found.worst_at),
            "Steepest step": (found.loss, found.step.end),
            "Non-monotone steps": (count, None),
        }
        for quantity, (answer, place) in quantities.items():
            x, rate = (math.nan, math.nan) if place is None else (LEVELS[i] for i in place)
            asked = (Question("grid", noise, missing, x, rate),)
            yield {
                **{"kind": "system", "system": key, "label": system.label, "model": system.title},
                **{"training": system.training, "quantity": quantity},
                **_keys(asked),
                **_numbers(answer),
                **{"metric": metric, **_beside(answer.value, None, metric, "")},
            }


def _keys(asked: Asked) -> dict[str, Any]:
    """What conditions share; "" or NaN for the rest."""
    found: dict[str, Any] = {}
    for key in KEYS:
        first, *others = {getattr(question, key) for question in asked}
        found[key] = (math.nan if isinstance(first, float) else "") if others else first
    return found


def _numbers(answer: Answer) -> dict[str, Any]:
    return {
        "value": answer.value,
        "std": math.nan if answer.std is None else answer.std,
        "low": answer.low,
        "high": answer.high,
        "n": len(answer.seeds),
        "seeds": list(answer.seeds),
        "per_seed": list(answer.per_seed),
        "undefined": _why(answer),
    }


def _why(answer: Answer) -> str:
    if not answer.per_seed:  # of the mean over seeds
        return ""
    pairs = zip(answer.seeds, answer.per_seed, strict=True)
    lost = [str(seed) for seed, value in pairs if math.isnan(value)]
    if lost:
        return f"undefined for seed {', '.join(lost)}"
    return "undefined for slightly other samples: no interval" if math.isnan(answer.low) else ""


def _beside(value: float, printed_as: float | None, metric: str, table: str) -> dict[str, Any]:
    if printed_as is None:
        return {"published": math.nan, "difference": math.nan, "source": ""}
    raw = printed_as / view(metric).scale
    source = f"Table {table.removeprefix('table')}"
    return {"published": raw, "difference": value - raw, "source": source}


_NOT_RUN: dict[str, Any] = {
    **{"value": math.nan, "std": math.nan, "low": math.nan, "high": math.nan},
    **{"n": 0, "seeds": [], "per_seed": [], "undefined": ""},
}


def _floors(answers: Answers) -> Iterator[dict[str, Any]]:
    anywhere = {**dict.fromkeys(KEYS, ""), "intensity": math.nan, "rate": math.nan}
    for floor in answers.floors:
        about = {"kind": "floor", "system": "", "label": floor.label, "model": "", "training": ""}
        for metric, value in floor.metrics.items():
            numbers = {**_NOT_RUN, "value": value, **_beside(value, None, metric, "")}
            yield {**about, "quantity": VALUE, **anywhere, "metric": metric, **numbers}


def _published(answers: Answers) -> Iterator[dict[str, Any]]:
    """Every model that a paper has numbers of, under each condition that was asked here."""
    paper, aligned = answers.paper, answers.results.aligned
    trainings = (*TRAINED, NOT_STATED, PER_RATE, PER_INTENSITY)
    every = dict.fromkeys(asked for _, asked, _ in answers.rows)
    for asked in every:
        table = table_of(asked, aligned)
        for title in paper.models(table):
            for training in trainings:
                for metric in METRICS[answers.results.task]:
                    value = printed(paper, title, training, asked, metric, aligned)
                    if value is not None:
                        yield {
                            **{"kind": "published", "system": "", "model": title},
                            **{"label": f"published: {title} · {training}", "training": training},
                            "quantity": answers.means.get(asked, VALUE),
                            **_keys(asked),
                            **{"metric": metric, **_NOT_RUN},
                            **_beside(math.nan, value, metric, table),
                        }
