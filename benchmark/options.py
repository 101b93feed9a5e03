"""The options that several commands share: one name, one environment variable, one meaning."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Executor(StrEnum):
    """Where runs are done."""

    local = "local"
    ray = "ray"


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
CARD = Annotated[
    Path | None, typer.Option(help="Your data card (YAML: title, licence, splits, ...).")
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
PRESET = Annotated[str | None, typer.Option(help="paper (default), official, ...")]
EPOCHS = Annotated[int | None, typer.Option(help="Short for training.epochs.")]
EXPERIMENT = Annotated[
    str | None, typer.Option(help="MLflow experiment (default: the data set's name).")
]
DEVICE = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
WORKERS = Annotated[
    int | None,
    typer.Option(min=1, help="Runs at a time (default: one per CPU core, one on a GPU)."),
]
THREADS = Annotated[int, typer.Option(min=1, help="CPU threads per run.")]
EXECUTOR = Annotated[
    Executor, typer.Option(help="local: processes of this machine; ray: a Ray cluster.")
]
ADDRESS = Annotated[
    str | None,
    typer.Option(
        envvar="BENCHMARK_RAY_ADDRESS",
        help="Of the Ray cluster: auto or HOST:PORT (default: one of this machine alone).",
    ),
]
CPUS_PER_RUN = Annotated[float, typer.Option(min=0, help="CPUs of the cluster for each run.")]
GPUS_PER_RUN = Annotated[
    float | None,
    typer.Option(min=0, help="GPUs for each run, 0.25 say (default: 1 with --device cuda)."),
]
