"""Make a submission of runs: the same runs and facts always give the same bytes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.files import replace_file
from benchmark.packs.card import CARD, FORMAT, NOT_STATED, Card, Facts, File, System, measured
from benchmark.records import (
    CHECKPOINT,
    CONFIG,
    ENVIRONMENT,
    HISTORY,
    INPUTS,
    METRICS,
    PREDICTIONS,
    RunRecord,
)
from benchmark.systems import systems

INSIDE = "inside"
"""Checkpoints are in the pack, not at an address."""
PLAIN = (CONFIG, ENVIRONMENT, HISTORY, METRICS, PREDICTIONS)
SELECTED = {
    "mae": "the epoch with the lowest validation MAE",
    "acc": "the epoch with the highest validation accuracy",
}
_DATE = (1980, 1, 1, 0, 0, 0)
_DECIMALS = 4


def files_of(
    records: Sequence[RunRecord], title: str, facts: Facts, checkpoints: str = ""
) -> dict[str, bytes]:
    """A submission's files by name, the card first.

    Args:
        records: evaluated runs.
        title: of the submission.
        facts: what the records do not say.
        checkpoints: "inside", or the address of a folder that is laid out as the runs folder is;
            "" leaves them out.

    Raises:
        BenchmarkError: where a record is unsound, or has no checkpoint that was asked for.
    """
    contents: dict[str, bytes] = {}
    elsewhere: dict[str, File] = {}
    for record in records:
        record.look()
        for name in PLAIN:
            if (record.path / name).is_file():
                contents[f"runs/{record.run_id}/{name}"] = (record.path / name).read_bytes()
        if checkpoints and record.trained_here:
            place = f"runs/{record.run_id}/{CHECKPOINT}"
            weights = record.checkpoint()
            contents[f"runs/{record.run_id}/{INPUTS}"] = _inputs(record)
            if checkpoints == INSIDE:
                contents[place] = weights
            else:
                url = f"{checkpoints.rstrip('/')}/{record.run_id}/{CHECKPOINT}"
                elsewhere[place] = _file(weights, url)
    card = Card(
        format=FORMAT,
        title=title,
        systems=_systems(records, facts),
        facts=facts,
        files={**{name: _file(x) for name, x in contents.items()}, **elsewhere},
    )
    return {CARD: card.to_bytes(), **dict(sorted(contents.items()))}


def write(files: dict[str, bytes], out: Path) -> None:
    """Write a submission: a zip where the name ends so, else a folder.

    Raises:
        BenchmarkError: where the folder holds something else, or cannot be written to.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".zip":
            replace_file(out, zipped(files))
            return
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise BenchmarkError(f"{out} is there already and not empty: name another --out")
        for name, content in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            replace_file(out / name, content)
    except OSError as error:
        raise BenchmarkError(f"cannot write {out}: {error.strerror or error}") from None


def zipped(files: dict[str, bytes]) -> bytes:
    """Files as a zip: stored, not compressed, as what compresses differs between machines."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name, _DATE)
            member.create_system, member.external_attr = 3, 0o100644 << 16
            archive.writestr(member, content)
    return buffer.getvalue()


def _systems(records: Sequence[RunRecord], facts: Facts) -> tuple[System, ...]:
    by_id = {record.run_id: record for record in records}
    found = []
    for data in dict.fromkeys(record.spec.data_sha256 for record in records):
        specs = [record.spec for record in records if record.spec.data_sha256 == data]
        for name, members in systems(specs).items():
            runs = [by_id[spec.run_id] for spec in sorted(members, key=lambda spec: spec.seed)]
            found.append(_system(name.label, runs, facts))
    return tuple(found)


def _system(name: str, runs: Sequence[RunRecord], facts: Facts) -> System:
    first = runs[0].spec
    numbers = measured(runs)
    unknown = sorted(set(facts.claims) - set(numbers))
    if unknown:
        raise BenchmarkError(
            f"nothing to claim {', '.join(unknown)} of in {name}; its numbers are "
            f"{', '.join(numbers)}"
        )
    trained = first.training is not None
    return System(
        name=name,
        dataset=first.dataset,
        data_sha256=first.data_sha256,
        runs=tuple(record.run_id for record in runs),
        seeds=tuple(record.spec.seed for record in runs),
        parameters=runs[0].environment.get("parameters"),
        training_data=facts.training_data
        or (f"the train split of {first.dataset}" if trained else NOT_STATED),
        selection=facts.selection
        or (SELECTED[first.training.select_on] if first.training else NOT_STATED),
        model=runs[0].environment["model"],
        claims=facts.claims or {k: round(x, _DECIMALS) for k, x in numbers.items()},
    )


def _inputs(record: RunRecord) -> bytes:
    _ = record.inputs  # raises where it is absent or damaged
    return (record.path / INPUTS).read_bytes()


def _file(content: bytes, url: str = "") -> File:
    return File(bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), url=url)
