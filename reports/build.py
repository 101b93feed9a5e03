"""Write a whole report: every table and figure, and one page that shows them."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.efficiency.kept import Efficiency, kept
from benchmark.errors import BenchmarkError
from benchmark.files import child
from benchmark.hygiene import printable
from benchmark.records import RunStore
from reports.figures.drawing import drawn
from reports.figures.look import PAGE, Look
from reports.figures.style import drawing
from reports.frame import frame, landscapes
from reports.pictures import with_intervals, without_intervals
from reports.reliability.audit_table import audit_tables
from reports.reliability.tables import mechanism_tables
from reports.results import Results, load
from reports.sources import Sources
from reports.tables.conditions import condition_tables
from reports.tables.differences import difference_tables
from reports.tables.efficiency import efficiency_tables
from reports.tables.families import family_tables
from reports.tables.grid import grid_tables
from reports.tables.regret import regret_tables
from reports.tables.render import RENDERERS
from reports.tables.robustness import clean_tables, main_tables
from reports.tables.selection import selection_tables
from reports.tables.summary import summary_tables
from reports.tables.table import Table
from reports.tables.uneven import uneven_tables
from reports.tables.variants import variant_tables
from reports.uneven import Rates
from reports.web.heatmap import boards
from reports.web.leaderboard import leaderboard_tables
from reports.web.page import Contents, page

INDEX, TABLES, FIGURES = "index.html", "tables", "figures"
ANSWERS, LANDSCAPES = "answers.parquet", "landscapes.parquet"

TABLE_MAKERS = (
    main_tables,
    clean_tables,
    condition_tables,
    variant_tables,
    summary_tables,
    difference_tables,
    regret_tables,
    uneven_tables,
    mechanism_tables,
    efficiency_tables,
)
"""The tables of a report, in the page's order; the main one is the first of the first."""

WHERE_ASKED = (family_tables, audit_tables, selection_tables)
"""Tables of what few runs are asked, after the others."""


@dataclass(frozen=True)
class ReportPaths:
    """What was written for one data set.

    Attributes:
        results: what it was written of.
        folder: where everything is.
        index: the page.
        answers: :func:`reports.frame.frame`, the numbers as data; beside it are the surfaces,
            :func:`reports.frame.landscapes`.
        tables: a file for each table and form.
        figures: a file for each figure and form.
        main: the main table.
        headline: the combined landscape as PNG; None where no run covers the grid.
    """

    results: Results
    folder: Path
    index: Path
    answers: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    main: Table
    headline: Path | None


def build(
    store: RunStore,
    dataset: str | None,
    out: Path,
    links: Mapping[str, str] | None = None,
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
        links: run id -> its address in MLflow.
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
            write(one, child(out, one.dataset, "data set"), links or {}, measured, rates, look)
            for one in load(store, dataset, only, data_sha256, one_plan)
        ]


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


def write(
    results: Results,
    folder: Path,
    links: Mapping[str, str],
    efficiency: Sequence[Efficiency] = (),
    rates: Sequence[Rates] = (),
    look: Look = PAGE,
) -> ReportPaths:
    """Write the report of one data set into a folder. Raises BenchmarkError where it cannot."""
    sources = Sources.of(results, efficiency, rates)
    try:
        for part in (TABLES, FIGURES):
            (folder / part).mkdir(parents=True, exist_ok=True)
        figures = folder / FIGURES
        _ = sources.answers.measured.rows  # on all cores; figures are drawn beside the rest
        with (
            drawing(look.width),
            drawn(without_intervals(sources, look), figures, look=look) as first,
        ):
            tables = [table for make in (*TABLE_MAKERS, *WHERE_ASKED) for table in make(sources)]
            with drawn(with_intervals(sources, look), figures, look=look) as others:
                grids = grid_tables(sources)
                leaders = leaderboard_tables(sources)
                data = folder / ANSWERS
                frame(sources).to_parquet(data, index=False)
                landscapes(sources.answers).to_parquet(folder / LANDSCAPES, index=False)
                table_files = _write_tables([*leaders, *tables, *grids], folder / TABLES)
                maps = boards(sources)
                pictures = [*first(), *others()]
        index = folder / INDEX
        shown = Contents(leaders, maps, pictures, tables, grids)
        index.write_text(printable(page(results, shown, links)), encoding="utf-8")
    except OSError as error:
        raise BenchmarkError(
            f"cannot write the report to {folder}: {error.strerror or error}. "
            "Name another folder with --out."
        ) from None
    figure_files = tuple(figures / f"{p.name}{s}" for p in pictures for s in look.suffixes)
    headline = next((p for p in pictures if p.headline), None)
    return ReportPaths(
        results,
        folder,
        index,
        data,
        table_files,
        figure_files,
        tables[0],
        figures / f"{headline.name}.png" if headline else None,
    )


def _write_tables(tables: Sequence[Table], folder: Path) -> tuple[Path, ...]:
    files = []
    for table in tables:
        for suffix, render in RENDERERS.items():
            files.append(folder / f"{table.name}{suffix}")
            files[-1].write_text(printable(render(table)), encoding="utf-8")
    return tuple(files)
