"""``benchmark search``: tune a model's settings on the validation split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark import completion
from benchmark.commands.interrupts import interruptible
from benchmark.commands.request import find_plan, names, read_request, seeds_of
from benchmark.commands.run import cluster_of, execution_of
from benchmark.errors import BenchmarkError
from benchmark.options import (
    ADDRESS,
    CPUS_PER_RUN,
    DATA_DIR,
    DATASET,
    DEVICE,
    EPOCHS,
    EXECUTOR,
    EXPERIMENT,
    GPUS_PER_RUN,
    PLACES,
    PRESET,
    RUNS,
    RUNS_DIR,
    SET,
    SETTINGS,
    THREADS,
    TRACKING_URI,
    WORKERS,
    Executor,
)


def search(
    model: Annotated[
        str | None,
        typer.Option(
            help="The model to tune.",
            rich_help_panel=RUNS,
            autocompletion=completion.model,
        ),
    ] = None,
    dataset: DATASET = None,
    regime: Annotated[
        str | None,
        typer.Option(
            help="clean, spectrum (default), missing-0.3 or noise-0.3.",
            rich_help_panel=RUNS,
            autocompletion=completion.listed(completion.regimes),
        ),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            help="What to optimise on validation: grid, clean, I, II or III.",
            rich_help_panel=RUNS,
            autocompletion=completion.listed(completion.objectives),
        ),
    ] = "grid",
    space: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of the search space (default: the model's own, benchmark show MODEL).",
            rich_help_panel=RUNS,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Trials in all (default: a small grid's points, else 30).",
            rich_help_panel=RUNS,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds of each trial, averaged: 1-3 (default 1111).", rich_help_panel=RUNS
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file with the keys of benchmark run.", rich_help_panel=SETTINGS),
    ] = None,
    preset: PRESET = None,
    epochs: EPOCHS = None,
    settings: SET = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Optuna storage URL (default: a journal file in the runs folder).",
            rich_help_panel=PLACES,
        ),
    ] = None,
    forget: Annotated[
        bool,
        typer.Option(
            "--no-resume",
            help="Forget the study's trials first, instead of going on with it.",
            rich_help_panel=RUNS,
        ),
    ] = False,
    data_dir: DATA_DIR = None,
    runs_dir: RUNS_DIR = Path("runs"),
    tracking_uri: TRACKING_URI = None,
    experiment: EXPERIMENT = None,
    device: DEVICE = "auto",
    workers: WORKERS = None,
    threads: THREADS = 1,
    executor: EXECUTOR = Executor.local,
    address: ADDRESS = None,
    gpus_per_run: GPUS_PER_RUN = None,
    cpus_per_run: CPUS_PER_RUN = 1.0,
) -> None:
    """Tune a model on validation. A trial is a run: what is trained already is not trained again.

    A space of up to 64 points is searched as a grid, any other by TPE, where trials that are worse
    than half of the others are stopped early. The same command goes on where it was stopped, also
    from several terminals at once.

    Example: benchmark search --model qamoe --dataset mosi --data-dir data --trials 15
    """
    given: dict[str, Any] = {
        "dataset": dataset,
        "models": names(model),
        "regimes": names(regime) or (None if config else ("spectrum",)),
        "seeds": seeds_of(seeds),
        "preset": preset,
    }
    if model is None and config is None:
        raise BenchmarkError("name the model to tune: --model qamoe, say")
    from benchmark.planfile import read_plan

    where = str(config) if config else "the request"
    request = read_request(find_plan(None, config), given, settings or [], epochs, where)
    values = read_plan(space) if space else None
    from benchmark.search.objective import objective_named
    from benchmark.search.request import plan_search
    from benchmark.search.session import SearchSession

    cluster = cluster_of(executor, address, cpus_per_run, gpus_per_run, device)
    how = execution_of(request.dataset, data_dir, runs_dir, device, workers, threads, cluster)
    name = str(space) if space else "the search space"
    plan = plan_search(request, objective_named(objective), values, how, name)
    with interruptible():
        session = SearchSession(plan, how, trials, storage, not forget, tracking_uri, experiment)
        found = session.carry_out()
    if not found:
        raise typer.Exit(1)
