"""The options that several commands share: one name, one environment variable, one meaning."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from benchmark import completion

RUNS = "What to run"
SETTINGS = "With which settings"
MACHINE = "On which machine"
PLACES = "Folders and tracking"
"""The groups that ``--help`` shows options in."""


class Executor(StrEnum):
    """Where runs are done."""

    local = "local"
    ray = "ray"


class Task(StrEnum):
    """Which labels to take."""

    auto = "auto"
    regression = "regression"
    classification = "classification"


DATASET = Annotated[
    str | None,
    typer.Option(
        help="Data set (default synthetic): benchmark list datasets.",
        rich_help_panel=RUNS,
        autocompletion=completion.dataset,
    ),
]
DATA_DIR = Annotated[
    Path | None,
    typer.Option(
        envvar="BENCHMARK_DATA_DIR",
        help="Folder of the imported data sets.",
        show_default=False,
        rich_help_panel=PLACES,
    ),
]
CARD = Annotated[
    Path | None, typer.Option(help="Your data card (YAML: title, licence, splits, ...).")
]
REPLACE = Annotated[bool, typer.Option("--replace", help="Overwrite other data of that name.")]
RUNS_DIR = Annotated[
    Path,
    typer.Option(
        envvar="BENCHMARK_RUNS_DIR",
        help="Where the records and the store are.",
        rich_help_panel=PLACES,
    ),
]
TRACKING_URI = Annotated[
    str | None,
    typer.Option(
        envvar="BENCHMARK_TRACKING_URI",
        help="MLflow store; by default SQLite in the runs folder; 'none' leaves MLflow alone.",
        rich_help_panel=PLACES,
    ),
]
PRESET = Annotated[
    str | None,
    typer.Option(
        help="paper (default), official, ...: benchmark show MODEL.", rich_help_panel=SETTINGS
    ),
]
EPOCHS = Annotated[
    int | None, typer.Option(help="Short for training.epochs.", rich_help_panel=SETTINGS)
]
SET = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting: model.topk=4, training.learning_rate=1e-3, regime.rate=0.3,"
        " evaluation.draws=1. Every key: benchmark show MODEL --all. Repeatable.",
        rich_help_panel=SETTINGS,
    ),
]
EXPERIMENT = Annotated[
    str | None,
    typer.Option(help="MLflow experiment (default: the data set's name).", rich_help_panel=PLACES),
]
DEVICE = Annotated[
    str,
    typer.Option(
        help="auto, cpu or cuda.",
        rich_help_panel=MACHINE,
        autocompletion=completion.listed(completion.devices),
    ),
]
WORKERS = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Runs at a time (default: one per CPU core, one on a GPU).",
        rich_help_panel=MACHINE,
    ),
]
THREADS = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="CPU threads per run.", rich_help_panel=MACHINE),
]
EXECUTOR = Annotated[
    Executor,
    typer.Option(
        metavar="local|ray",
        help="local: processes of this machine; ray: a Ray cluster.",
        rich_help_panel=MACHINE,
    ),
]
ADDRESS = Annotated[
    str | None,
    typer.Option(
        envvar="BENCHMARK_RAY_ADDRESS",
        help="Of the Ray cluster: auto or HOST:PORT (default: one of this machine alone).",
        rich_help_panel=MACHINE,
    ),
]
CPUS_PER_RUN = Annotated[
    float,
    typer.Option(
        metavar="N", min=0, help="CPUs of the cluster for each run.", rich_help_panel=MACHINE
    ),
]
GPUS_PER_RUN = Annotated[
    float | None,
    typer.Option(
        metavar="N",
        min=0,
        help="GPUs for each run, 0.25 say (default: 1 with --device cuda).",
        rich_help_panel=MACHINE,
    ),
]
