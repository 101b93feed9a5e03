"""Make reports: of one data set, or of every one that has records."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.efficiency.kept import Efficiency, kept
from benchmark.files import child
from benchmark.records import RunStore
from reports.figures.look import PAGE, Look
from reports.results import Results, load
from reports.sources import Links, Sources
from reports.uneven import Rates

if TYPE_CHECKING:
    from reports.write import ReportPaths


def build(
    store: RunStore,
    dataset: str | None,
    out: Path,
    links: Links = dict,
    only: Mapping[str, str] | None = None,
    data_sha256: str | None = None,
    rates: Sequence[Rates] = (),
    look: Look = PAGE,
    one_plan: bool = False,
) -> list[ReportPaths]:
    """Write the reports of one data set, or of every one that has records.

    Args:
        store: the runs.
        dataset: a data set's name, or None for all.
        out: each report goes into a folder of its data set's name in here.
        links: says run id -> its address in MLflow; asked while figures are drawn.
        only, data_sha256, one_plan: as for :func:`reports.results.load`.
        rates: (η_t, η_a, η_v) to answer for, besides the named ones.
        look: how wide figures are, and what is on them.

    Raises:
        BenchmarkError: where there is nothing to report, runs cannot be compared, or the folder
            cannot be written to.
    """
    measured = kept(store)
    with _uncollected():
        return [
            _report(one, child(out, one.dataset, "data set"), links, measured, rates, look)
            for one in load(store, dataset, only, data_sha256, one_plan)
        ]


def _report(
    results: Results,
    folder: Path,
    links: Links,
    efficiency: Sequence[Efficiency],
    rates: Sequence[Rates],
    look: Look,
) -> ReportPaths:
    sources = Sources.of(results, efficiency, rates)
    sources.answers.measured.begin()
    from reports.write import write  # loads what draws, meanwhile

    return write(sources, folder, links, look)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for cycles to free: nearly all that a report makes stays until its end, and
    to look through it again and again would take a tenth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
