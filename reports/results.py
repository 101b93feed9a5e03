"""Records -> systems and one tidy frame: where every table and figure begins.

A *system* is what one row of a table is about: runs that differ in nothing but their seed. Two
settings of one model are two systems, so that their numbers never share a cell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark.errors import BenchmarkError
from benchmark.hygiene import command_line
from benchmark.questions import KEYS, Headline, Question, overview
from benchmark.readouts import questions_in, summarise, with_missing_rules
from benchmark.records import RunRecord, RunStore
from benchmark.records.underway import under_way
from benchmark.systems import run_title, systems
from protocols.modalities import Modality, Task
from protocols.regimes import LEVEL_OF, REGIME_KINDS, Regime
from protocols.rules import MissingRule
from reports.comparable import require_one_content, require_one_source


@dataclass(frozen=True, eq=False)
class System:
    """Runs that differ only in the seed. A system is equal to itself only.

    Attributes:
        key: short, unique and stable; part of file names.
        label: the name in tables, unique within a report.
        changes: the settings that are not the preset's.
        title: the model's, as tables print it.
        source: how well the original is known.
        regime: the training regime.
        records: the runs, ordered by seed.
    """

    key: str
    label: str
    changes: Mapping[str, Any]
    title: str
    source: str
    regime: Regime
    records: tuple[RunRecord, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, ascending."""
        return tuple(record.spec.seed for record in self.records)

    @property
    def plain(self) -> bool:
        """Whether every setting is its preset's; else no published number is about it."""
        return not self.changes

    @property
    def training(self) -> str:
        """How the runs were trained, as tables name it."""
        return self.regime.name

    def runs_at(self, question: Question) -> tuple[RunRecord, ...]:
        """The runs that answer for a condition: the same ones for every condition."""
        return self.records

    def is_variant_of(self, other: System) -> bool:
        """Whether it is the other one with some settings changed."""
        mine, plain = self.records[0].spec, other.records[0].spec
        same = (mine.model, mine.preset) == (plain.model, plain.preset)
        return same and self.training == other.training and other.plain and not self.plain


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that a report on one data set is made of. Equal to itself only.

    Attributes:
        dataset: its name.
        data_sha256: its hash, the same for every run.
        systems: ordered by model title, then by regime.
        frame: a row per run and condition: run_id, system, model, title, source, regime, preset,
            seed, dataset, data_sha256, the columns of :data:`KEYS`, and the metrics.
        problems: run id -> why a run is not among the systems.
        one_plan: whether the runs are those of one plan, whose variants are what it compares.
    """

    dataset: str
    data_sha256: str
    systems: tuple[System, ...]
    frame: pd.DataFrame
    problems: Mapping[str, str]
    one_plan: bool = False

    @property
    def records(self) -> list[RunRecord]:
        """Every run of every system."""
        return [record for system in self.systems for record in system.records]

    @property
    def task(self) -> Task:
        """Regression or classification."""
        return self.records[0].spec.task

    @property
    def present(self) -> tuple[Modality, ...]:
        """The modalities that the data set has."""
        return self.records[0].table.present

    @property
    def label(self) -> np.ndarray:
        """(N,) test labels."""
        return self.records[0].table.label

    @property
    def synthetic(self) -> bool:
        """Whether the data are generated; then every table and figure says so."""
        return any(record.environment.get("synthetic", False) for record in self.records)

    @cached_property
    def aligned(self) -> bool | None:
        """Whether all modalities have the same steps; None where no record says it."""
        said = {r.environment["aligned"] for r in self.records if "aligned" in r.environment}
        return said.pop() if len(said) == 1 else None

    @cached_property
    def questions(self) -> list[Question]:
        """What some run was asked, each once, in the order of the runs."""
        return questions_in(self.frame.drop_duplicates(list(KEYS)))

    @cached_property
    def overview(self) -> list[Headline]:
        """The numbers that sum a system up, as far as some run was evaluated."""
        return overview(self.questions)

    @cached_property
    def versions(self) -> Mapping[tuple[str, str], frozenset[str]]:
        """(noise rule, joint) of rows -> the versions of what made them, in any of the runs."""
        found = defaultdict(set)
        for table in (record.table for record in self.records):
            for condition, version in zip(table.conditions, table.versions, strict=True):
                if condition in table.index.rows:
                    found[condition.noise_rule, condition.joint].add(version)
        return {kind: frozenset(versions) for kind, versions in found.items()}

    @cached_property
    def compared(self) -> Results:
        """The systems that tables of models compare: no variant of another one, no specialist.

        A report of one plan compares its variants too. A specialist was trained for one level
        (``missing-0.3``); without any other system the specialists are what there is to compare.
        """
        general = [s for s in self.systems if s.regime.kind not in LEVEL_OF]
        found = general or self.systems
        if self.one_plan:
            return self.only(found)
        return self.only([s for s in found if not any(map(s.is_variant_of, self.systems))])

    def only(self, systems: Sequence[System]) -> Results:
        """The same of some of the systems."""
        kept = self.frame["system"].isin([s.key for s in systems])
        return replace(self, systems=tuple(systems), frame=self.frame[kept])

    def variants(self, protocol: str, *columns: str) -> list[tuple[str, ...]]:
        """The combinations of key columns under which a protocol was evaluated."""
        asked = [question for question in self.questions if question.protocol == protocol]
        return sorted({tuple(getattr(one, column) for column in columns) for one in asked})


def load(
    store: RunStore,
    dataset: str | None = None,
    only: Mapping[str, str] | None = None,
    data_sha256: str | None = None,
    one_plan: bool = False,
) -> list[Results]:
    """Read the records of a store: one :class:`Results` for each data set.

    Args:
        store: the runs.
        dataset: only this data set; None for all that have records.
        only: the runs that the report is about -> what is known to be wrong with a run, or "".
            None for all runs of the store.
        data_sha256: the content that ``dataset`` is known to have, where no record is called so.
        one_plan: whether ``only`` are the runs of one plan.

    Raises:
        BenchmarkError: where there are no records, or runs on data of one name but different
            content.
    """
    survey = store.survey(tables=True)
    records = [record for record in survey.records if record.is_evaluated()]
    problems = {run_id: error.brief for run_id, error in survey.problems.items()}
    begun = under_way(store)
    problems |= {
        run_id: f"{run_title(run.spec)}: {run.state}" if run.spec else run.state
        for run_id, run in begun.items()
    }
    if only is not None:
        records = [record for record in records if record.run_id in only]
        done = {record.run_id for record in records}
        problems = {
            run_id: problems.get(run_id) or known or "no record: deleted, or not run yet"
            for run_id, known in only.items()
            if run_id not in done
        }
    by_name = _by_name(records, dataset, data_sha256)
    names = sorted(by_name) if dataset is None else [dataset]
    if not by_name or not set(names) <= set(by_name):
        raise _nothing(store, dataset, sorted(by_name), problems)
    found = []
    for name in names:
        data = by_name[name][0].spec.data_sha256
        others = {i for i, run in begun.items() if run.spec and run.spec.data_sha256 != data}
        own = {run_id: why for run_id, why in problems.items() if run_id not in others}
        found.append(replace(results_of(by_name[name], name, own), one_plan=one_plan))
    return found


def _by_name(
    records: Sequence[RunRecord], asked: str | None, asked_sha256: str | None
) -> dict[str, list[RunRecord]]:
    """The records by data set. What two names have the same content of is one data set.

    It goes by the asked name where that is one of its names or has its content, else by its first.
    """
    names: dict[str, set[str]] = defaultdict(set)
    for record in records:
        names[record.spec.data_sha256].add(record.spec.dataset)
    found: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        content = record.spec.data_sha256
        wanted = asked is not None and (asked in names[content] or content == asked_sha256)
        found[asked if wanted and asked else min(names[content])].append(record)
    return found


def _nothing(
    store: RunStore, dataset: str | None, known: Sequence[str], problems: Mapping[str, str]
) -> BenchmarkError:
    wanted = f"of data set '{dataset}' " if dataset and known else ""
    have = f" There are records of: {', '.join(known)}." if known else ""
    broken = "".join(f"\n  {run_id}: {why}" for run_id, why in problems.items())
    name = ["--dataset", dataset] if dataset else []
    command = command_line("benchmark", "run", *name, "--runs-dir", store.root)
    return BenchmarkError(
        f"no records {wanted}in {store.root}.{have} Make some with: {command}"
        + (f"\nRuns that cannot be used:{broken}" if problems else "")
    )


def results_of(
    records: Sequence[RunRecord], name: str = "", problems: Mapping[str, str] | None = None
) -> Results:
    """The results of evaluated runs on one content.

    Args:
        records: the runs.
        name: what the data set is called; by default as its first run calls it.
        problems: run id -> why a run is not among them.

    Raises:
        BenchmarkError: where the runs cannot be compared.
    """
    name = name or records[0].spec.dataset
    require_one_content(name, records)
    by_id = {record.run_id: record for record in records}
    found = []
    for system_name, specs in systems([record.spec for record in records]).items():
        runs = [by_id[spec.run_id] for spec in sorted(specs, key=lambda spec: spec.seed)]
        require_one_source(system_name.label, runs)
        first = runs[0].spec
        found.append(
            System(
                system_name.key,
                system_name.label,
                first.changes or {},
                first.title,
                first.source,
                first.regime,
                tuple(runs),
            )
        )
    ordered = tuple(sorted(found, key=_order))
    rules = sorted({s.regime.missing_rule for s in ordered if s.regime.kind == "missing"})
    frame = _frame([(system, record) for system in ordered for record in system.records], rules)
    content = records[0].spec.data_sha256
    return Results(name, content, ordered, frame, problems or {})


def _order(system: System) -> tuple[Any, ...]:
    regime = system.regime
    kind = (*REGIME_KINDS, "elsewhere").index(regime.kind)
    return system.title.lower(), kind, regime.rate, regime.intensity, system.label


def _frame(runs: Sequence[tuple[System, RunRecord]], rules: Sequence[MissingRule]) -> pd.DataFrame:
    """A row per run and condition; ``rules``: the missing rules that specialists trained under."""
    found = []
    for _, record in runs:
        metrics = record.metrics if record.metrics_are_current() else summarise(record.table)
        found.append(with_missing_rules(metrics, record.table, rules))
    facts = pd.DataFrame([_facts(system, record) for system, record in runs])
    metrics = pd.concat(found, ignore_index=True)
    rest = [column for column in metrics.columns if column not in KEYS]
    sizes = [len(one) for one in found]
    repeated = facts.loc[np.repeat(facts.index, sizes)].reset_index(drop=True)
    return pd.concat([repeated, metrics[[*KEYS, *rest]]], axis=1)


def _facts(system: System, record: RunRecord) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "system": system.key,
        "model": record.spec.model,
        "title": system.title,
        "source": system.source,
        "regime": record.spec.regime.name,
        "preset": record.spec.preset,
        "seed": record.spec.seed,
        "dataset": record.spec.dataset,
        "data_sha256": record.spec.data_sha256,
    }
