"""What of a submission stands: its files, its data, its numbers, its claims, its checkpoint.

Three levels, named in every table:

``numbers only``
    The claims are numbers; nothing here could be held against the data.
``predictions checked``
    Sample ids, labels and content are those of the data set here, and every metric and claim is
    what the predictions give.
``checkpoint re-evaluated``
    On this machine the checkpoint gave these predictions, for some of the samples or all.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.checkpoint import load_checkpoint
from benchmark.data.dataset import Dataset
from benchmark.data.manifest import read_manifest
from benchmark.data.registry import find_data_dir, imported_names, load_dataset, registered
from benchmark.errors import BenchmarkError
from benchmark.packs.card import System, measured, stands
from benchmark.packs.opening import Pack
from benchmark.predict import fill_table
from benchmark.readouts import summarise
from benchmark.records import DamagedError, RunRecord
from benchmark.registry import model_facts, model_names
from benchmark.table import PredictionTable
from protocols.draws import joint_levels

Level = Literal["numbers only", "predictions checked", "checkpoint re-evaluated"]
NUMBERS: Level = "numbers only"
CHECKED: Level = "predictions checked"
REEVALUATED: Level = "checkpoint re-evaluated"
Verdict = Literal["stands", "fails", "not checked"]

TOLERANCE = 1e-4
"""Between a prediction here and there, relative above 1: processors round differently."""
FEWEST = 16
"""Samples of a part that is evaluated anew."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: of which system, what, how it came out, and the detail."""

    system: str
    what: str
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class Verified:
    """What stands of a submission.

    Attributes:
        findings: everything that was looked at.
        levels: system's name -> how far it was verified.
    """

    findings: tuple[Finding, ...]
    levels: dict[str, Level]

    @property
    def failures(self) -> list[Finding]:
        """What does not stand."""
        return [finding for finding in self.findings if finding.verdict == "fails"]


def verify(
    pack: Pack,
    data_dir: Path | None = None,
    share: float = 0.0,
    seed: int | None = None,
) -> Verified:
    """Look at everything of a submission that can be looked at here.

    Args:
        pack: an opened submission, whose files have the hashes that its card states.
        data_dir: where imported data sets are.
        share: the share of the samples that checkpoints are asked anew: 0 none, 1 all.
        seed: chooses them; by default the system's chance, which no submitter can foresee.
    """
    findings: list[Finding] = []
    levels: dict[str, Level] = {}
    chance = random.Random(seed) if seed is not None else random.SystemRandom()
    known: dict[tuple[str, str], Dataset | BenchmarkError | None] = {}
    for system in pack.card.systems:
        key = (system.dataset, system.data_sha256)
        if key not in known:
            known[key] = _data(*key, data_dir)
        found = list(_of_system(pack, system, known[key], share, chance))
        findings += found
        levels[system.name] = _level(found)
    return Verified(tuple(findings), levels)


def _level(found: Sequence[Finding]) -> Level:
    verdicts = {finding.what: finding.verdict for finding in found}
    failed = {what for what, verdict in verdicts.items() if verdict == "fails"}
    if failed - {"claims"} or verdicts.get("data") != "stands":
        return NUMBERS
    return REEVALUATED if verdicts.get("checkpoint") == "stands" else CHECKED


def _of_system(
    pack: Pack,
    system: System,
    data: Dataset | BenchmarkError | None,
    share: float,
    chance: random.Random,
) -> Iterator[Finding]:
    def finding(what: str, problems: Sequence[str], fine: str) -> Finding:
        verdict: Verdict = "fails" if problems else "stands"
        return Finding(system.name, what, verdict, "; ".join(problems[:5]) or fine)

    records = pack.records(system)
    if not records:
        yield Finding(system.name, "claims", "not checked", "the pack has no predictions")
        return
    problems = list(_record_problems(system, records))
    runs = f"{len(records)} run{'' if len(records) == 1 else 's'}"
    yield finding("records", problems, f"{runs}, each of the identity that it is named by")
    if problems:
        return
    if data is None:
        why = f"there is no data set here with the content {system.data_sha256[:12]}"
        yield Finding(system.name, "data", "not checked", why)
    elif isinstance(data, BenchmarkError):
        yield Finding(system.name, "data", "fails", str(data))
    else:
        problems = [p for record in records for p in _data_problems(record, data)]
        size = len(data.splits["test"])
        yield finding(
            "data", problems, f"ids and labels of {size} samples are those of {data.name}"
        )
    problems = [p for record in records for p in _metric_problems(record)]
    yield finding("metrics", problems, "each is what the predictions give")
    yield finding("claims", list(_claim_problems(system, records)), _claimed(system))
    yield _checkpoints(pack, system, data, share, chance)


def _record_problems(system: System, records: Sequence[RunRecord]) -> Iterator[str]:
    """Whether the records read, and are one system's on the data that the card says."""
    try:
        for record in records:
            spec = record.spec
            _ = record.environment, record.table, record.metrics, record.history
            if (spec.dataset, spec.data_sha256) != (system.dataset, system.data_sha256):
                yield f"{record.run_id} is of other data than the card says"
            if record.table.outdated:
                yield f"{record.run_id} has rows by another version of the protocols: not read"
        if len({record.spec.apart_from() for record in records}) > 1:
            yield "the runs differ in more than their seed: they are no one system"
        if tuple(record.spec.seed for record in records) != system.seeds:
            yield "the seeds are not those of the card"
    except DamagedError as error:
        yield f"{error.path.parent.name}: {error.brief}"


def _data(name: str, sha256: str, data_dir: Path | None) -> Dataset | BenchmarkError | None:
    """The data set of that content; the error where only its name is here; None without it."""
    folder = find_data_dir(data_dir)
    imported = imported_names(folder)
    assert folder is not None or not imported
    hashes = {one: read_manifest(folder / one).sha256 for one in imported} if folder else {}
    same = [one for one in imported if hashes[one] == sha256]
    if same:
        return load_dataset(same[0], folder)
    if name in registered():
        found = load_dataset(name, folder)
        if found.sha256 == sha256:
            return found
        hashes[name] = found.sha256
    if name not in hashes:
        return None
    return BenchmarkError(
        f"made on other data than the '{name}' here: content {sha256[:12]}, here "
        f"{hashes[name][:12]}"
    )


def _data_problems(record: RunRecord, data: Dataset) -> Iterator[str]:
    table, test = record.table, data.splits["test"]
    run = record.run_id
    assert test.samples.label is not None
    if table.sample_ids != test.sample_ids:
        yield f"{run}: the sample ids are not those of the test split"
        return
    label = test.samples.label.cpu().numpy().astype(np.float64)
    wrong = np.flatnonzero(table.label != label)
    if len(wrong):
        first = int(wrong[0])
        yield (
            f"{run}: {len(wrong)} labels are not the data set's, the first of sample "
            f"'{table.sample_ids[first]}': {table.label[first]:g}, not {label[first]:g}"
        )
    if not np.array_equal(table.available, test.samples.available.cpu().numpy()):
        yield f"{run}: what samples lack by nature is not the data set's"
    if (table.present, table.task) != (data.spec.present, data.spec.task):
        yield f"{run}: modalities or task are not the data set's"
    for (joint, draw), levels in table.joint_levels.items():
        drawn = joint_levels(joint, draw, "test", table.sample_ids)  # type: ignore[arg-type]
        if not np.array_equal(levels, torch.stack(drawn).numpy()):
            yield f"{run}: the samples' λ and η of Protocol III are not those of draw {draw}"


def _metric_problems(record: RunRecord) -> Iterator[str]:
    """``metrics.json`` beside what the table gives."""
    again, kept = summarise(record.table), record.metrics
    if list(again.columns) != list(kept.columns) or len(again) != len(kept):
        yield f"{record.run_id}: metrics.json has other rows or columns than the predictions give"
        return
    for name in again.select_dtypes("number").columns:
        close = np.isclose(again[name], kept[name], rtol=0, atol=1e-9, equal_nan=True)
        if not close.all():
            row = int(np.flatnonzero(~close)[0])
            yield (
                f"{record.run_id}: {name} of {int((~close).sum())} conditions is not what the "
                f"predictions give, the first {kept[name][row]:.6f}, not {again[name][row]:.6f}"
            )


def _claim_problems(system: System, records: Sequence[RunRecord]) -> Iterator[str]:
    numbers = measured(records)
    for name, claim in sorted(system.claims.items()):
        if name not in numbers:
            yield f"{name} {claim:g} is claimed, and nothing measures it"
        elif not stands(claim, numbers[name]):
            yield f"{name}: claimed {claim:g}, the predictions give {numbers[name]:.6f}"


def _claimed(system: System) -> str:
    return f"all {len(system.claims)} are what the predictions give" if system.claims else "none"


def _checkpoints(
    pack: Pack,
    system: System,
    data: Dataset | BenchmarkError | None,
    share: float,
    chance: random.Random,
) -> Finding:
    """Ask the checkpoints anew, where all that it takes is here."""
    registered_name = pack.records(system)[0].spec.model
    if share <= 0:
        why = "not asked for"
    elif not isinstance(data, Dataset):
        why = "the data are not here"
    elif not pack.has_checkpoints(system):
        why = "the pack has none"
    elif registered_name not in model_names():
        why = f"the model '{registered_name}' is not installed here"
    else:
        try:
            pack.fetch_checkpoints(system)
            total = len(data.splits["test"])
            count = min(total, max(FEWEST, round(share * total)))
            asked = sorted(chance.sample(range(total), count))
            problems = [p for r in pack.records(system) for p in _differences(r, data, asked)]
        except BenchmarkError as error:
            problems, count, total = [str(error)], 0, 0
        if problems:
            return Finding(system.name, "checkpoint", "fails", "; ".join(problems[:5]))
        part = "all" if count == total else f"{count} of {total} samples, chosen at random,"
        detail = f"{part} under every condition: the same predictions here"
        return Finding(system.name, "checkpoint", "stands", detail)
    return Finding(system.name, "checkpoint", "not checked", why)


def _differences(record: RunRecord, data: Dataset, asked: Sequence[int]) -> Iterator[str]:
    """Where a checkpoint's answers for some samples are not the table's."""
    kept, now = record.environment["model"], model_facts(record.spec.model)
    if kept["version"] != now["version"] or (
        now["version"] is None and kept["source_sha256"] != now["source_sha256"]
    ):
        raise BenchmarkError(
            f"{record.spec.model} is another version here: nothing to compare with"
        )
    checkpoint = load_checkpoint(record.path)
    test = data.splits["test"]
    table = record.table
    data.require(table.conditions)
    part = test.select(torch.tensor(asked))
    again = fill_table(
        checkpoint.model,
        part,
        data.spec,
        data.sigma_ref,
        table.conditions,
        centre=data.centre_for(c.noise_rule for c in table.conditions),
    )
    for name in ("prediction", "log_variance", "reliability"):
        there, here = _values(table, name, asked), _values(again, name, range(len(asked)))
        if (there is None) != (here is None):
            yield f"{record.run_id}: {name} is there in one of both only"
        elif there is not None and here is not None:
            error = np.abs(there - here) / np.maximum(1.0, np.abs(here))
            if error.max() > TOLERANCE:
                row, sample = np.unravel_index(int(error.argmax()), error.shape)[:2]
                yield (
                    f"{record.run_id}: {name} of {int((error > TOLERANCE).sum())} is not the "
                    f"checkpoint's, worst for sample '{part.sample_ids[int(sample)]}' under "
                    f"{table.conditions[int(row)]}: {there[row, sample]}, here {here[row, sample]}"
                )


def _values(
    table: PredictionTable, name: str, samples: Sequence[int] | range
) -> NDArray[np.float64] | None:
    found = getattr(table, name)
    return None if found is None else np.asarray(found[:, list(samples)], dtype=np.float64)
