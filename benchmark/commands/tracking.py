"""``benchmark ui`` and ``benchmark sync``: look at the tracking store, rebuild it from records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.errors import BenchmarkError
from benchmark.hygiene import message
from benchmark.options import RUNS_DIR, TRACKING_URI


def ui(
    runs_dir: RUNS_DIR = Path("runs"),
    tracking_uri: TRACKING_URI = None,
    host: Annotated[
        str, typer.Option(help="Address to serve on; the default is this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve on.")] = 5000,
) -> None:
    """Open the MLflow UI on the tracking store. Ctrl-C stops it."""
    from benchmark.tracking.server import serve_ui

    serve_ui(_store(runs_dir, tracking_uri), host, port, typer.echo)


def sync(runs_dir: RUNS_DIR = Path("runs"), tracking_uri: TRACKING_URI = None) -> None:
    """Make MLflow equal to the records: adds what it lacks, ends what is over."""
    from benchmark.records import RunStore
    from benchmark.tracking.sync import sync as rebuild

    if not runs_dir.is_dir():
        raise BenchmarkError(f"there is no runs folder {runs_dir}: name it with --runs-dir")
    uri = _store(runs_dir, tracking_uri)
    report = rebuild(RunStore(runs_dir), uri, say=typer.echo)
    for problem in report.problems:
        typer.echo(message(problem), err=True)
    typer.echo(f"{uri}: {report}")
    if report.problems:
        raise typer.Exit(1)


def _store(runs_dir: Path, uri: str | None) -> str:
    from benchmark.tracking.place import check_uri, default_uri

    if uri == "none":
        raise BenchmarkError("--tracking-uri none: there is no store to look at or to rebuild")
    if uri is not None:
        check_uri(uri)
    return uri or default_uri(runs_dir)
