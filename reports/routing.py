"""Which experts a model asks, by the condition of its input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmark.mixtures import row_weights
from benchmark.questions import Question
from benchmark.readouts import covers
from benchmark.records import RunRecord
from protocols.availability import mask_of, name_of
from protocols.modalities import MODALITIES, Modality
from reports.answer import Answer, Found, Key, answer
from reports.results import Results, System

INTENSITIES = (0.3, 0.7)


def contexts(present: Sequence[Modality], noise_rule: str) -> dict[str, Question]:
    """Clean; noise at two intensities; each modality missing, and all but each."""
    full = mask_of(tuple(present))
    found = {"clean": (0.0, full)} | {f"noise λ = {x:g}": (x, full) for x in INTENSITIES}
    if len(present) > 1:
        found |= {f"{m} missing": (0.0, full & ~mask_of((m,))) for m in present}
    if len(present) > 2:
        found |= {f"{m} alone": (0.0, mask_of((m,))) for m in present}
    return {
        name: Question("II", noise_rule, intensity=x, available=name_of(mask))
        for name, (x, mask) in found.items()
    }


def noise_rules(results: Results) -> list[str]:
    """The noise rules whose noise is a context."""
    rules = sorted({rule for (rule,) in results.variants("II", "noise_rule")})
    return rules or sorted({rule for (rule,) in results.variants("grid", "noise_rule")})


def routed(system: System) -> list[RunRecord]:
    """The runs with routing. Each is read alone: experts have no order that two trainings share."""
    return [record for record in system.records if record.table.routing is not None]


def routings(results: Results) -> Found:
    """The mean routing weight of each expert of each run for each modality, in every context."""
    found: Found = {}
    for system in results.systems:
        runs = routed(system)
        for rule in noise_rules(results) if runs else ():
            for question in contexts(results.present, rule).values():
                for record in runs:
                    if covers(record.table, [question]):
                        found |= _weights(system, record, question)
    return found


def _weights(system: System, record: RunRecord, question: Question) -> Found:
    table, seeds = record.table, (record.spec.seed,)
    assert table.routing is not None
    rows, weights = row_weights(table.index, table.present, question)
    mean = np.tensordot(weights, table.routing[rows], axes=1).astype(np.float64)
    return {
        _key(system, question, m, expert, record.spec.seed): answer(
            [weight], seeds, (np.nan, np.nan)
        )
        for m in table.present
        for expert, weight in enumerate(mean[MODALITIES.index(m)].tolist())
    }


def experts(
    known: Mapping[Key, Answer], system: System, question: Question, modality: Modality, seed: int
) -> list[float]:
    """The weights of a modality's experts in a context; empty where there are none."""
    found: list[float] = []
    while one := known.get(_key(system, question, modality, len(found), seed)):
        found.append(one.value)
    return found


def _key(system: System, question: Question, modality: Modality, expert: int, seed: int) -> Key:
    quantity = f"Expert {expert + 1}, seed {seed}"
    return Key(system.key, (question,), f"routing_{modality}", quantity)
