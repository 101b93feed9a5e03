"""``benchmark open``: the report's page in a browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from benchmark import completion
from benchmark.errors import BenchmarkError


def open_(
    dataset: Annotated[
        str | None,
        typer.Argument(
            help="Which data set's page (default: the latest).", autocompletion=completion.dataset
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The report's folder.")] = Path("report"),
) -> None:
    """Open the report's page in the browser; where there is none, say where the page is.

    Example: benchmark open
    """
    page = page_in(out, dataset)
    typer.echo(f"page  {page.resolve()}")
    if not webbrowser.open(page.resolve().as_uri()):
        typer.echo("there is no browser here: copy the page to where one is; it is one file")


def page_in(out: Path, dataset: str | None) -> Path:
    """The page of a report: of this data set, or the one made last.

    Raises:
        BenchmarkError: where there is none.
    """
    from reports.web import INDEX

    pages = {path.parent.name: path for path in out.glob(f"*/{INDEX}")}
    if dataset is not None and dataset not in pages and pages:
        from benchmark.errors import unknown

        raise unknown("data set in the report", dataset, pages)
    if not pages:
        raise BenchmarkError(f"there is no page in {out}: `benchmark report --out {out}` makes it")
    return pages[dataset] if dataset else max(pages.values(), key=lambda path: path.stat().st_mtime)
