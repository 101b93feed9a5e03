"""Submissions -> entries: what each one's predictions give, beside what it claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.errors import BenchmarkError
from benchmark.packs.card import Facts, System
from benchmark.packs.opening import Pack, opened
from benchmark.packs.verify import NUMBERS, Finding, Verified, verify
from benchmark.systems import slug
from reports.results import Results, results_of
from reports.sources import Sources

RANKED = ("records", "data", "metrics", "checkpoint")
"""What must not fail for a submission's numbers to stand in a list; a claim may."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A system of a submission. Equal to itself only.

    Attributes:
        key: short and unique in a list; part of addresses.
        label: unique in a list.
        pack: the submission's title.
        source: where it is from.
        sha256: what pins it.
        system: what its card says.
        facts: what its submitter says.
        level: how far it was verified.
        findings: all that was looked at.
        results: its own runs alone; None where there are none, or they cannot be believed.
    """

    key: str
    label: str
    pack: str
    source: str
    sha256: str
    system: System
    facts: Facts
    level: str
    findings: tuple[Finding, ...]
    results: Results | None

    @property
    def failures(self) -> list[Finding]:
        """What does not stand."""
        return [finding for finding in self.findings if finding.verdict == "fails"]

    @property
    def paper_url(self) -> str:
        """Where the paper is, where the card says it by an address."""
        return self.facts.paper if is_safe(self.facts.paper) else ""

    @property
    def wrong_claims(self) -> bool:
        """Whether a claim is not what its predictions give."""
        return any(finding.what == "claims" for finding in self.failures)


def read_entries(
    sources: Iterable[str], data_dir: Path | None, share: float, keep: ExitStack
) -> tuple[list[Entry], dict[str, str]]:
    """Open and verify submissions.

    Args:
        sources: where they are.
        data_dir: where imported data sets are.
        share: the share of the samples that checkpoints are asked anew.
        keep: holds the opened packs, whose tables are read later.

    Returns:
        The entries, and source -> why it could not be opened.
    """
    found: list[Entry] = []
    problems: dict[str, str] = {}
    for source in sources:
        try:
            pack = keep.enter_context(opened(source))
            verified = verify(pack, data_dir, share)
        except BenchmarkError as error:
            problems[source] = str(error)
            continue
        found += [_entry(pack, system, verified) for system in pack.card.systems]
    return _told_apart(found), problems


def _entry(pack: Pack, system: System, verified: Verified) -> Entry:
    findings = tuple(f for f in verified.findings if f.system == system.name)
    sound = not any(f.verdict == "fails" and f.what in RANKED for f in findings)
    records = pack.records(system)
    return Entry(
        key=slug(f"{system.name} {system.dataset}")[:80],
        label=system.name,
        pack=pack.card.title,
        source=pack.source,
        sha256=pack.sha256,
        system=system,
        facts=pack.card.facts,
        level=verified.levels[system.name],
        findings=findings,
        results=results_of(records, system.dataset) if sound and records else None,
    )


def _told_apart(entries: Sequence[Entry]) -> list[Entry]:
    """The same with keys and labels that differ: of what reads alike by the pack's hash."""
    alike = pd.Series([(one.label, one.system.data_sha256) for one in entries]).duplicated(False)
    return [
        replace(one, label=f"{one.label} ({one.sha256[:6]})", key=f"{one.key}-{one.sha256[:6]}")
        if again
        else one
        for one, again in zip(entries, alike, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Listed:
    """The submissions on one content of data. Equal to itself only.

    Attributes:
        dataset: what most call it.
        data_sha256: its hash.
        ranked: whose predictions are compared.
        claimed: those that have numbers only.
        refused: entry -> why it is in no list.
        together: the results of all that are ranked, under the entries' names.
    """

    dataset: str
    data_sha256: str
    ranked: tuple[Entry, ...]
    claimed: tuple[Entry, ...]
    refused: Mapping[Entry, str]
    together: Results | None


def listed(entries: Sequence[Entry]) -> list[Listed]:
    """The lists, one for each content of data; what cannot be compared is refused, and why."""
    found = []
    for data in dict.fromkeys(entry.system.data_sha256 for entry in entries):
        own = [entry for entry in entries if entry.system.data_sha256 == data]
        refused = {e: _why(e.failures) for e in own if any(f.what in RANKED for f in e.failures)}
        sound = [entry for entry in own if entry.results is not None]
        sound.sort(key=lambda entry: entry.level == NUMBERS)  # what was checked is the measure
        for entry in sound[1:]:
            if not _same_samples(sound[0], entry):
                refused[entry] = "its test samples or labels are not those of the other submissions"
        ranked = tuple(entry for entry in sound if entry not in refused)
        claimed = tuple(e for e in own if e.results is None and e not in refused)
        names = [entry.system.dataset for entry in own]
        name = max(dict.fromkeys(names), key=names.count)
        found.append(Listed(name, data, ranked, claimed, refused, _together(name, ranked)))
    return found


def _why(failures: Sequence[Finding]) -> str:
    return "; ".join(f"{one.what}: {one.detail}" for one in failures if one.what in RANKED)


def _same_samples(one: Entry, other: Entry) -> bool:
    first, second = (e.results.records[0].table for e in (one, other) if e.results is not None)
    return first.sample_ids == second.sample_ids and np.array_equal(first.label, second.label)


def _together(name: str, entries: Sequence[Entry]) -> Results | None:
    systems, frames = [], []
    for entry in entries:
        assert entry.results is not None
        (system,) = entry.results.systems
        systems.append(replace(system, key=entry.key, label=entry.label))
        frames.append(entry.results.frame.assign(system=entry.key))
    if not systems:
        return None
    frame = pd.concat(frames, ignore_index=True)
    first = entries[0].system.data_sha256
    return Results(name, first, tuple(systems), frame, {})


def is_safe(url: str) -> bool:
    """Whether it is an address that runs nothing where it is followed."""
    return url.startswith(("https://", "http://"))


def sources_of(listing: Listed) -> Sources | None:
    """What tables and landscapes of a list are made of."""
    return None if listing.together is None else Sources.of(listing.together)
