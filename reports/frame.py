"""The tidy frame of answers: what a report prints, as data.

A row for each system, question, metric and quantity; :data:`COLUMNS`:

===============================  ==================================================================
kind                             "system"; "specialists", several systems of which each answers at
                                 the level that it was trained for; "floor", a constant prediction,
                                 the same under every condition; "published", a model of a paper;
                                 "cost", a model that was measured with ``benchmark efficiency``
system, label                    key and name; a published model, floor or cost has its name only
model, training                  the model's title, and what it was trained on
quantity                         "value" of one condition, the name of the mean over several
                                 ("Grid mean"), or what else is made of the metric, below
protocol, noise_rule,            the condition (:class:`benchmark.questions.Question`); of a mean
missing_rule, intensity, rate,   what its conditions share, and "" or NaN for the rest; of a floor
available, joint                 "" and NaN
metric                           its name in :mod:`benchmark.metrics`, or one of reliability
value, std, low, high            mean and standard deviation over seeds, 95 % interval, in the
                                 metric's raw unit
reference                        what the value is the difference to: another system's name
p, holm                          two-sided p of no difference, and after Holm's correction over the
                                 tests of the metric
verdict                          "better", "worse"; "supported", "contradicted"; "undecided"
n, seeds, per_seed               how many seeds were asked everything, which, and their values; of
                                 what several systems make together 0 and none
published, difference, source    what a paper prints, value minus that, and the paper's table
undefined                        why a value or an interval is none
===============================  ==================================================================

Quantities beside values and means:

================================  =================================================================
Area in λ, Area in η, Drop at …,  of a grid; the worst cell's condition is in the row, the steepest
Worst cell, Steepest step,        step's is the cell that it leads to, its reference the one that it
Non-monotone steps                starts at
Difference                        to the reference model under the same training
Regret                            of one checkpoint to the specialists of each level; more is worse
Gate on − off                     of a cell, with a band that holds all cells at once; of the grid
Cells better, Cells worse         how many, by that band
Where it is missing, ρ(r, λ),     of the metrics r_text, r_audio and r_vision, the reliability
AUROC                             scores; their means are values
The mechanism                     a verdict only: :mod:`reports.reliability.claims`
Expert n, seed s                  of routing_text, routing_audio and routing_vision: its mean weight
                                  in that training; experts of two trainings are not the same
================================  =================================================================

The metrics of costs are the names of :data:`reports.costs.COSTS`, their quantity is the device.
The metrics of log-variances are in :func:`reports.reliability.uncertainty.worths`. Where two tables
of the paper print a number for one answer (Tables 5 and 6) there is a row for each, and
``quantity`` of the second says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from benchmark.metrics import METRICS
from benchmark.questions import KEYS
from benchmark.records import RunRecord
from reports.answer import Answer, Asked
from reports.answers import Answers
from reports.beside import NOT_STATED, TRAINED, ablation_printed, printed, table_of
from reports.costs import COSTS, label_of, place_of
from reports.results import System, results_of
from reports.sources import Sources
from reports.specialists import PER_INTENSITY, PER_RATE, Specialists
from reports.subjects import Subject
from reports.views import DROP, RISES, SELECTIONS, STEEPEST, VALUE, view

COLUMNS = (
    *("kind", "system", "label", "model", "training", "quantity", *KEYS, "metric"),
    *("value", "std", "low", "high", "reference", "p", "holm", "verdict", "n", "seeds", "per_seed"),
    *("published", "difference", "source", "undefined"),
)

SURFACES = ("system", "label", "metric", "noise_rule", "missing_rule", "intensity", "rate", "value")

ABLATION = "value (Table 6)"


def frame_of(records: Sequence[RunRecord]) -> pd.DataFrame:
    """Everything that a report on these runs prints, as one tidy frame; columns as the module says.

    But for costs, which are measured apart from runs.

    Args:
        records: evaluated runs on one content: any models, trainings, settings and seeds. They are
            grouped into systems, runs that differ in nothing but the seed.

    Raises:
        BenchmarkError: where the runs cannot be compared.
    """
    return frame(Sources.of(results_of(records)))


def frame(sources: Sources) -> pd.DataFrame:
    """Every number of a report; columns as the module says."""
    answers = sources.answers
    rows = [*_measured(answers), *_floors(answers), *_published(answers), *_costs(sources)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def landscapes(answers: Answers) -> pd.DataFrame:
    """The surfaces behind the landscapes: the mean over seeds at λ = 0, 0.1, …, 0.7 and at 57 rates
    η, exact at each; a row for each system, metric, pair of rules and (λ, η)."""
    parts = [
        pd.DataFrame(
            {
                **{"system": system.key, "label": system.label, "metric": metric},
                **{"noise_rule": noise, "missing_rule": missing},
                "intensity": np.repeat(one.intensities, len(one.rates)),
                "rate": np.tile(one.rates, len(one.intensities)),
                "value": one.values.ravel(),
            }
        )
        for (metric, noise, missing), found in answers.surfaces.items()
        for system, one in found
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(SURFACES))


def _measured(answers: Answers) -> Iterator[dict[str, Any]]:
    subjects: dict[str, Subject] = {s.key: s for s in answers.results.systems}
    subjects |= {group.key: group for group in answers.measured.specialists}
    about = {key: _about(subject) for key, subject in subjects.items()}
    keys = cache(_keys)  # there are many more answers than conditions
    for key, answer in answers.rows.items():
        subject, asked, metric = subjects[key.subject], key.asked, key.metric
        plain = key.quantity == VALUE
        row = {
            **about[key.subject],
            "quantity": answers.measured.means.get(asked, VALUE) if plain else key.quantity,
            **keys((answer.at,) if answer.at else asked),
            **_numbers(answer),
        }
        table = table_of(asked, answers.results.aligned)
        yield {**row, "metric": metric, **_beside(answer.value, answer.published, metric, table)}
        if plain and isinstance(subject, System) and len(asked) == 1:
            other = ablation_printed(answers.paper, subject, asked, metric)
            if other is not None:
                beside = _beside(answer.value, other, metric, "table6")
                yield {**row, "metric": metric, **beside, "quantity": ABLATION}


def _about(subject: Subject) -> dict[str, Any]:
    return {
        "kind": "specialists" if isinstance(subject, Specialists) else "system",
        **{"system": subject.key, "label": subject.label, "model": subject.title},
        "training": subject.training,
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
        **{"reference": answer.reference, "p": answer.p, "holm": answer.holm},
        "verdict": answer.verdict,
        "n": len(answer.seeds),
        "seeds": list(answer.seeds),
        "per_seed": list(answer.per_seed),
        "undefined": _why(answer),
    }


def _why(answer: Answer) -> str:
    if not answer.per_seed:  # of the mean over seeds
        return ""
    if any(map(math.isnan, answer.per_seed)):
        pairs = zip(answer.seeds, answer.per_seed, strict=True)
        lost = [str(seed) for seed, value in pairs if math.isnan(value)]
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
    **{"reference": "", "p": math.nan, "holm": math.nan, "verdict": ""},
    **{"n": 0, "seeds": [], "per_seed": [], "undefined": ""},
}


_ANYWHERE: dict[str, Any] = {**dict.fromkeys(KEYS, ""), "intensity": math.nan, "rate": math.nan}


def _floors(answers: Answers) -> Iterator[dict[str, Any]]:
    for floor in answers.floors:
        about = {"kind": "floor", "system": "", "label": floor.label, "model": "", "training": ""}
        lost = product((DROP, STEEPEST, RISES), SELECTIONS[answers.results.task].grid)
        for quantity, metric in (*product((VALUE,), floor.metrics), *lost):
            value = floor.value(metric, quantity)
            numbers = {**_NOT_RUN, "value": value, **_beside(value, None, metric, "")}
            yield {**about, "quantity": quantity, **_ANYWHERE, "metric": metric, **numbers}


def _published(answers: Answers) -> Iterator[dict[str, Any]]:
    """Every model that a paper has numbers of, under each condition that was asked here."""
    paper, aligned = answers.paper, answers.results.aligned
    trainings = (*TRAINED, NOT_STATED, PER_RATE, PER_INTENSITY)
    every = dict.fromkeys(key.asked for key in answers.measured.rows if key.quantity == VALUE)
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
                            "quantity": answers.measured.means.get(asked, VALUE),
                            **_keys(asked),
                            **{"metric": metric, **_NOT_RUN},
                            **_beside(math.nan, value, metric, table),
                        }


def _costs(sources: Sources) -> Iterator[dict[str, Any]]:
    paper, found = sources.paper, sources.efficiency
    for one, cost in product(found, COSTS):
        value, printed_as = cost.of(one), cost.published(paper, one)
        if value is not None:
            about = {"kind": "cost", "system": "", "label": label_of(one), "model": one.title}
            numbers = {**_NOT_RUN, "value": value}
            if printed_as is not None:
                beside = {"published": printed_as, "difference": value - printed_as}
                numbers |= {**beside, "source": "Table 9"}
            yield _cost(about, place_of(one), cost.name, numbers)
    for title, cost in product(paper.efficiency if found else (), COSTS):
        printed_as = paper.efficiency[title].get(cost.printed)
        if printed_as is not None:
            about = {"kind": "published", "label": f"published: {title}", "model": title}
            numbers = {**_NOT_RUN, "published": printed_as, "source": "Table 9"}
            yield _cost({**about, "system": ""}, "", cost.name, numbers)


def _cost(about: dict[str, Any], place: str, name: str, numbers: dict[str, Any]) -> dict[str, Any]:
    return {**about, "training": "", "quantity": place, **_ANYWHERE, "metric": name, **numbers}
