"""The options that several commands share: one name, one environment variable, one meaning."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Task(StrEnum):
    """Which labels to take."""

    auto = "auto"
    regression = "regression"
    classification = "classification"


DATA_DIR = Annotated[
    Path | None,
    typer.Option(
        envvar="BENCHMARK_DATA_DIR", help="Folder of the imported data sets.", show_default=False
    ),
]
RUNS_DIR = Annotated[
    Path, typer.Option(envvar="BENCHMARK_RUNS_DIR", help="Where the records and the store are.")
]
TRACKING_URI = Annotated[
    str | None,
    typer.Option(
        envvar="BENCHMARK_TRACKING_URI",
        help="MLflow store; by default SQLite in the runs folder; 'none' leaves MLflow alone.",
    ),
]
