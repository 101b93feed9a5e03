"""``benchmark report``: tables and figures from records."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import completion
from benchmark.options import DATA_DIR, RUNS_DIR, TRACKING_URI

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from benchmark.screen import Rows
    from reports.uneven import Rates
    from reports.write import ReportPaths


def report(
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set (default: every one that has records).",
            autocompletion=completion.dataset,
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="Only the runs of this MLflow experiment or plan (paper/table6, say); variants of"
            " a system are then compared like systems."
        ),
    ] = None,
    runs_dir: RUNS_DIR = Path("runs"),
    from_mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Of the runs in this MLflow store; records that --runs-dir lacks are fetched.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("report"),
    missing_rates: Annotated[
        list[str] | None,
        typer.Option(
            metavar="T,A,V",
            help="Answer for sensors that fail at these rates too: 0.5,0.1,0. Repeatable.",
        ),
    ] = None,
    figure_width: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTH",
            help="Figures for print: column (3.03 inches), text (6.3), or inches. No letter is "
            "smaller than 7 points.",
        ),
    ] = None,
    untitled: Annotated[
        bool,
        typer.Option(
            "--no-figure-titles", help="Figures without their titles: a paper's caption says them."
        ),
    ] = False,
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help="Of figures: png, pdf, svg.")
    ] = "png,pdf",
    models: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Models on figures (default: the best where many are)."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="LIST", help="Metrics on figures (default: mae,acc7 or acc)."),
    ] = None,
    data_dir: DATA_DIR = None,
    tracking_uri: TRACKING_URI = None,
) -> None:
    """Make tables and figures from the records. Trains nothing; takes seconds.

    Example: benchmark report --dataset synthetic --out report
    """
    from benchmark.errors import BenchmarkError
    from benchmark.hygiene import terminal
    from benchmark.records import RunStore
    from benchmark.screen import of_runs, say_next
    from benchmark.tracking.parents import kept_plans
    from benchmark.tracking.place import StoreError
    from reports.attach import attach
    from reports.build import build
    from reports.choice import Only, links_of, of_experiment
    from reports.choice import from_mlflow as fetched
    from reports.figures.look import Look, suffixes_of, width_of

    console = terminal()
    store = RunStore(runs_dir)

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    only: Only | None = None
    fails: list[StoreError] = []
    if from_mlflow is not None:
        tracking_uri = "none"  # that store is read, nothing is written to it
        only, ask = fetched(from_mlflow, experiment, store, say)
    else:
        ask = links_of(store, tracking_uri)
        if experiment is not None:
            only = of_experiment(store, experiment, dataset)

    @cache  # it is asked only once: it may take seconds, also to fail
    def links() -> Mapping[str, str]:
        try:
            return ask()
        except StoreError as error:
            fails.append(error)
            return {}

    rates = [rates_of(text) for text in missing_rates or ()]
    content = content_of(dataset, data_dir)
    look = Look(
        None if figure_width is None else width_of(figure_width),
        not untitled,
        listed(models),
        listed(metrics),
        suffixes_of(listed(formats)),
    )
    reports = build(store, dataset, out, links, only, content, rates, look, experiment is not None)
    for built in reports:
        show(built, console)
    try:
        if fails:
            raise fails[0]
        for built in reports:
            attach(built, store, tracking_uri, say)
    except BenchmarkError as error:
        say(f"the report is not in MLflow: {error}")
    for problem in kept_plans(store)[1]:
        console.print(problem, style="yellow", markup=False, soft_wrap=True)
    runs, place = of_runs(runs_dir), [] if out == Path("report") else ["--out", out]
    say_next(
        console,
        (["benchmark", "open", *place], "the page, in a browser"),
        (["benchmark", "audit"], "the paper's printed numbers, recomputed"),
        (["benchmark", "pack", "all", "--out", "mine.zip", *runs], "a submission to verify"),
    )


def listed(text: str | None) -> tuple[str, ...]:
    """The words between commas."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def rates_of(text: str) -> Rates:
    """``0.5,0.1,0`` as η_t, η_a, η_v. Raises BenchmarkError for anything else."""
    from benchmark.errors import BenchmarkError
    from benchmark.hygiene import cut

    try:
        text_rate, audio, vision = (float(part) for part in text.split(","))
    except ValueError:
        text_rate = audio = vision = -1.0
    if not all(0 <= rate <= 1 for rate in (text_rate, audio, vision)):
        raise BenchmarkError(
            f"--missing-rates {cut(text, 80)}: three rates between 0 and 1 with commas, of text, "
            "audio and vision"
        )
    return text_rate, audio, vision


def content_of(dataset: str | None, data_dir: Path | None) -> str | None:
    """The hash of an imported data set: its runs may have been made under another name."""
    from benchmark.data.manifest import read_manifest
    from benchmark.data.registry import find_data_dir, imported_names

    folder = find_data_dir(data_dir)
    if folder is None or dataset not in imported_names(folder):
        return None
    return read_manifest(folder / dataset).sha256


def show(built: ReportPaths, console: Console) -> None:
    """The main numbers, what is wrong, and where the files are."""
    results = built.results
    console.print()
    console.print(summary_table(built))
    for run_id, why in sorted(results.problems.items()):
        console.print(f"not in the report: {run_id}: {why}", style="yellow", markup=False)
    console.print(f"report   {built.index}", markup=False, soft_wrap=True)
    if built.headline:
        console.print(f"picture  {built.headline}", markup=False, soft_wrap=True)
    tables, figures = len({p.stem for p in built.tables}), len({p.stem for p in built.figures})
    kinds = ", ".join(sorted({p.suffix[1:] for p in built.figures}))
    console.print(
        f"files    {tables} tables (md, tex, csv, html), {figures} figures "
        f"({kinds}) "
        f"in {built.folder}",
        markup=False,
        soft_wrap=True,
    )


def summary_table(built: ReportPaths) -> Rows:
    """The main table's headline metrics, narrow enough for a terminal."""
    from rich.text import Text

    from benchmark.screen import Column, Rows
    from reports.captions import data_sentence
    from reports.views import SELECTIONS, view

    main = built.main
    wanted = {view(metric).heading for metric in SELECTIONS[built.results.task].grid}
    places = [i for i, column in enumerate(main.columns) if column.title in wanted]
    heads = [f"{main.columns[i].group}\n{main.columns[i].title}" for i in places]
    table = Rows(
        main.corner,
        *(Column(head, number=True) for head in heads),
        title=f"{main.title}. {data_sentence(built.results)} Mean ± std over seeds.",
    )
    styles = {"best": "bold", "second": "underline"}
    for line in main.lines:
        if line.kind in ("measured", "floor"):
            cells = [Text(line.texts[i].text, styles.get(line.texts[i].mark, "")) for i in places]
            floor = line.kind == "floor"
            label = line.label.partition(" (")[0] if floor else line.label
            table.add(label, *cells, style="dim" if floor else "")
    return table
