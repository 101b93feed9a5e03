"""Write the report of one data set: every table and figure, and one page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.hygiene import printable
from reports.figures.drawing import drawn, load_fonts
from reports.figures.look import Look
from reports.figures.style import drawing
from reports.frame import frame, landscapes
from reports.pictures import with_intervals, without_intervals
from reports.reliability.audit_table import audit_tables
from reports.reliability.tables import mechanism_tables
from reports.results import Results
from reports.sources import Links, Sources
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
from reports.web import INDEX
from reports.web.heatmap import boards
from reports.web.leaderboard import leaderboard_tables
from reports.web.page import Contents, page

TABLES, FIGURES = "tables", "figures"
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


def write(sources: Sources, folder: Path, links: Links, look: Look) -> ReportPaths:
    """Write the report of one data set into a folder. Raises BenchmarkError where it cannot.

    Args:
        sources: what it is made of.
        folder: where it goes.
        links: says run id -> its address in MLflow.
        look: how wide figures are, and what is on them.
    """
    results = sources.results
    try:
        for part in (TABLES, FIGURES):
            (folder / part).mkdir(parents=True, exist_ok=True)
        figures = folder / FIGURES
        with drawing(look.width):
            load_fonts(look)
            _ = sources.answers.measured.rows  # on all cores; figures are drawn beside the rest
            _ = sources.answers.surfaces  # once, not in every process that draws
            with drawn(without_intervals(sources, look), figures, look=look) as first:
                makers = (*TABLE_MAKERS, *WHERE_ASKED)
                tables = [table for make in makers for table in make(sources)]
                with drawn(with_intervals(sources, look), figures, look=look) as others:
                    grids = grid_tables(sources)
                    leaders = leaderboard_tables(sources)
                    data = folder / ANSWERS
                    frame(sources).to_parquet(data, index=False)
                    landscapes(sources.answers).to_parquet(folder / LANDSCAPES, index=False)
                    table_files = _write_tables([*leaders, *tables, *grids], folder / TABLES)
                    maps = boards(sources)
                    addresses = links()
                    pictures = [*first(), *others()]
        index = folder / INDEX
        shown = Contents(leaders, maps, pictures, tables, grids)
        index.write_text(printable(page(results, shown, addresses)), encoding="utf-8")
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
