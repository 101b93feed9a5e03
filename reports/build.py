"""Write a whole report: every table and figure, and one page that shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.efficiency.measure import Efficiency, kept
from benchmark.errors import BenchmarkError
from benchmark.records import RunStore
from reports.cards import CardLookup, installed
from reports.figures.curves import curve_groups, curves_figure
from reports.figures.drawing import start_writing
from reports.figures.landscapes import combined_figure, common_scale, surfaces
from reports.figures.paper import difference_figures, routing_figures, sensitivity_figures
from reports.figures.style import drawing
from reports.reliability.claims import noise_rules
from reports.reliability.figure import has_panel, reliability_figure
from reports.reliability.tables import mechanism_tables
from reports.results import Results, load
from reports.tables.conditions import condition_tables
from reports.tables.differences import difference_tables
from reports.tables.efficiency import efficiency_tables
from reports.tables.grid import grid_tables
from reports.tables.measure import Measure
from reports.tables.regret import regret_tables
from reports.tables.render import RENDERERS
from reports.tables.robustness import Sources, clean_tables, main_tables, table_name
from reports.tables.summary import summary_tables
from reports.tables.table import Table
from reports.tables.variants import variant_tables
from reports.views import SELECTIONS, view
from reports.web.heatmap import boards
from reports.web.leaderboard import leaderboard_tables
from reports.web.page import Contents, Picture, page

INDEX, TABLES, FIGURES = "index.html", "tables", "figures"

TABLE_MAKERS = (
    main_tables,
    clean_tables,
    condition_tables,
    variant_tables,
    summary_tables,
    difference_tables,
    regret_tables,
    mechanism_tables,
    efficiency_tables,
)
"""The tables of a report, in the page's order; the main one is the first of the first."""


@dataclass(frozen=True)
class ReportPaths:
    """What was written for one data set.

    Attributes:
        results: what it was written of.
        folder: where everything is.
        index: the page.
        tables: a file for each table and form.
        figures: a file for each figure and form.
        main: the main table.
        headline: the combined landscape as PNG; None where no run covers the grid.
    """

    results: Results
    folder: Path
    index: Path
    tables: tuple[Path, ...]
    figures: tuple[Path, ...]
    main: Table
    headline: Path | None


def build(
    store: RunStore,
    dataset: str | None,
    out: Path,
    cards: CardLookup = installed,
    links: Mapping[str, str] | None = None,
    only: Mapping[str, str] | None = None,
) -> list[ReportPaths]:
    """Write the reports of one data set, or of every one that has records.

    Args:
        store: the runs.
        dataset: a data set's name, or None for all.
        out: each report goes into a folder of its data set's name in here.
        cards: where the titles of models come from.
        links: run id -> its address in MLflow.
        only: the runs that it is about, as for :func:`reports.results.load`.

    Raises:
        BenchmarkError: where there is nothing to report, runs cannot be compared, or the folder
            cannot be written to.
    """
    measured = kept(store)
    return [
        write(results, out / results.dataset, links or {}, measured)
        for results in load(store, dataset, cards, only)
    ]


def write(
    results: Results,
    folder: Path,
    links: Mapping[str, str],
    efficiency: Sequence[Efficiency] = (),
) -> ReportPaths:
    """Write the report of one data set into a folder. Raises BenchmarkError where it cannot."""
    sources = Sources.of(results, efficiency)
    try:
        for part in (TABLES, FIGURES):
            (folder / part).mkdir(parents=True, exist_ok=True)
        with drawing():
            pending = start_writing(_figures(sources), folder / FIGURES)
            tables = [table for make in TABLE_MAKERS for table in make(sources)]
            grids = grid_tables(sources)
            leaders = leaderboard_tables(sources)
            table_files = _write_tables([*leaders, *tables, *grids], folder / TABLES)
            pictures = [figure.wait() for figure in pending]
        index = folder / INDEX
        shown = Contents(leaders, boards(sources), pictures, tables, grids, folder / FIGURES)
        index.write_text(page(results, shown, links), encoding="utf-8")
    except OSError as error:
        raise BenchmarkError(
            f"cannot write the report to {folder}: {error.strerror or error}. "
            "Name another folder with --out."
        ) from None
    figure_files = tuple(folder / FIGURES / f"{p.name}{s}" for p in pictures for s in p.suffixes)
    headline = next((p for p in pictures if p.headline), None)
    return ReportPaths(
        results,
        folder,
        index,
        table_files,
        figure_files,
        tables[0],
        folder / FIGURES / f"{headline.name}.png" if headline else None,
    )


def _write_tables(tables: Sequence[Table], folder: Path) -> tuple[Path, ...]:
    files = []
    for table in tables:
        for suffix, render in RENDERERS.items():
            files.append(folder / f"{table.name}{suffix}")
            files[-1].write_text(render(table), encoding="utf-8")
    return tuple(files)


def _figures(everything: Sources) -> Iterable[tuple[Picture, Figure]]:
    """Every figure, each drawn only when it is asked for, so that one is in memory at a time."""
    sources = everything.compared
    results = sources.results
    for variant in results.variants("grid", "noise_rule", "missing_rule"):
        metrics = SELECTIONS[results.task].grid
        found = {metric: surfaces(results, metric, *variant) for metric in metrics}
        scales = {m: common_scale(m, found[m], sources.floors) for m in metrics}
        for metric in metrics:
            title = f"Figures 3 and 6: reliability landscapes, {view(metric).title}"
            name = table_name("figures3-6-landscapes", *variant, view(metric).title)
            picture = Picture(name, title, LANDSCAPE_CAPTION, metric == metrics[0])
            yield picture, combined_figure(results, found[metric], scales[metric])
        for training, part in curve_groups(results):
            name = table_name("degradation", *variant, *([training] if training else []))
            title = f"Degradation curves{': ' if training else ''}{training}"
            yield (
                Picture(name, title, CURVES_CAPTION),
                curves_figure(Measure(part), sources.floors, *variant),
            )
    yield from difference_figures(sources)
    yield from sensitivity_figures(everything)
    yield from routing_figures(sources)
    for rule in noise_rules(results):
        for system in has_panel(results):
            drawn = reliability_figure(everything.results, system, rule)
            if drawn is not None:
                name = table_name("reliability", rule, system.key)
                yield Picture(name, f"Reliability: {system.label}", RELIABILITY_CAPTION), drawn


LANDSCAPE_CAPTION = (
    "Mean over seeds at noise intensity λ and missing rate η. Along η the values are exact at "
    "every rate (the expectation over what is missing); along λ they are exact at 0, 0.1, …, 0.7 "
    "and interpolated between (monotone cubic). The star is at λ = 0.3, η = 0.2. All systems "
    "share one colour scale for each metric; bright is good. A dashed line, where there is one, "
    "is where the system is only as good as the best constant prediction."
)
RELIABILITY_CAPTION = (
    "Scores under noise: r_m with everything available. Scores by availability: without noise, "
    "over the subsets that have modality m and those that lack it. Risk–coverage: the error of "
    "the samples that are kept as the least certain by the log-variance are refused, beside the "
    "best possible and a random order. Calibration: ten bins of equal weight for each seed; on "
    "the dotted line predicted and observed error agree. Gate on − off: against the same model "
    "trained without the gate, where there is one; purple is where the gate helps, and a sign "
    "stands where a 95 % band over all cells at once excludes zero."
)
CURVES_CAPTION = (
    "Left: noise intensity λ with nothing missing. Right: missing rate η without noise (the "
    "expectation over what is missing). Lines are means over seeds, bars 95 % bootstrap intervals "
    "over test samples and seeds together, the dotted line is the best constant prediction."
)
