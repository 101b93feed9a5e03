"""``benchmark run``: plan, train, evaluate, track."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import completion
from benchmark.commands.interrupts import interruptible
from benchmark.commands.request import find_plan, names, read_request, seeds_of
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
    PRESET,
    RUNS,
    RUNS_DIR,
    SET,
    THREADS,
    TRACKING_URI,
    WORKERS,
    Executor,
)

if TYPE_CHECKING:
    from benchmark.diagnostics.kept import Diagnosis
    from benchmark.execution.executor import Cluster, Execution


def run(
    dataset: DATASET = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Names with commas, or all (default: those that benchmark list models marks).",
            rich_help_panel=RUNS,
            autocompletion=completion.listed(completion.models),
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Of clean, I, II, III, grid, with commas; or all, the default.",
            rich_help_panel=RUNS,
            autocompletion=completion.listed(completion.protocols),
        ),
    ] = None,
    regime: Annotated[
        str | None,
        typer.Option(
            help="clean, spectrum, missing-0.3, noise-0.3; with commas (default clean,spectrum).",
            rich_help_panel=RUNS,
            autocompletion=completion.listed(completion.regimes),
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Integers and ranges with commas: 1-5,9 (default 1111).", rich_help_panel=RUNS
        ),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            help="A named plan, paper/table6 say; paper is all of its plans: benchmark list plans.",
            rich_help_panel=RUNS,
            autocompletion=completion.listed(completion.plans),
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A plan file of your own.", rich_help_panel=RUNS)
    ] = None,
    preset: PRESET = None,
    epochs: EPOCHS = None,
    settings: SET = None,
    data_dir: DATA_DIR = None,
    runs_dir: RUNS_DIR = Path("runs"),
    tracking_uri: TRACKING_URI = None,
    experiment: EXPERIMENT = None,
    device: DEVICE = "auto",
    workers: WORKERS = None,
    threads: THREADS = 1,
    diagnose: Annotated[
        str | None,
        typer.Option(
            help="Keep apart, for the report: selection (every epoch's test predictions), "
            "reliability (predictions with given scores); with a comma for both.",
            rich_help_panel=RUNS,
        ),
    ] = None,
    executor: EXECUTOR = Executor.local,
    address: ADDRESS = None,
    gpus_per_run: GPUS_PER_RUN = None,
    cpus_per_run: CPUS_PER_RUN = 1.0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show the plan and an estimate.", rich_help_panel=RUNS),
    ] = False,
) -> None:
    """Train and evaluate models under degraded inputs; finished runs are never repeated.

    Example: benchmark run --dataset mosi --data-dir data --models qamoe,mult --protocol I,III
    --seeds 1111-1113

    What the command line says overrides the plan; of a plan with several products --models and
    --regime choose a part.
    """
    given = {
        "dataset": dataset,
        "models": names(models),
        "protocol": protocol,
        "regimes": names(regime),
        "seeds": seeds_of(seeds),
        "preset": preset,
    }
    where = str(config) if config else plan or "the request"
    request = read_request(find_plan(plan, config), given, settings or [], epochs, where)
    if models is None and plan is None and config is None:
        said = ", ".join(request.models)
        typer.echo(f"models {said}: the usual ones; --models all is every one that is installed")
    from benchmark.execution.session import Session  # torch: not for --help

    cluster = cluster_of(executor, address, cpus_per_run, gpus_per_run, device)
    how = execution_of(request.dataset, data_dir, runs_dir, device, workers, threads, cluster)
    session = Session(request, how, diagnoses_named(diagnose))
    if dry_run:
        session.show_plan()
        return
    with interruptible():
        succeeded = session.carry_out(tracking_uri, experiment)
    if not succeeded:
        raise typer.Exit(1)


def diagnoses_named(text: str | None) -> tuple[Diagnosis, ...]:
    """Diagnostics by their names, with commas. Raises BenchmarkError for an unknown one."""
    from benchmark.diagnostics.kept import DIAGNOSES
    from benchmark.errors import unknown

    chosen = []
    for name in names(text) or ():
        if name not in DIAGNOSES:
            raise unknown("diagnostic", name, DIAGNOSES)
        chosen.append(name)
    return tuple(dict.fromkeys(d for d in DIAGNOSES if d in chosen))


def cluster_of(
    executor: Executor, address: str | None, cpus: float, gpus: float | None, device: str
) -> Cluster | None:
    """Where runs are done; None for this machine. Raises BenchmarkError for what clashes."""
    from benchmark.execution.executor import Cluster

    if executor is Executor.local:
        if gpus is not None:
            raise BenchmarkError("--gpus-per-run is for --executor ray; --workers says how many")
        return None
    if gpus and device == "cpu":
        raise BenchmarkError("--device cpu uses no GPU: leave --gpus-per-run out")
    return Cluster(address, cpus, (1.0 if device == "cuda" else 0.0) if gpus is None else gpus)


def execution_of(
    dataset: str,
    data_dir: Path | None,
    runs_dir: Path,
    device: str,
    workers: int | None,
    threads: int,
    cluster: Cluster | None,
) -> Execution:
    """How to carry out a plan. On a cluster the device and the room are its own."""
    from benchmark.environment import choose_device
    from benchmark.execution.executor import Execution, default_workers

    if cluster is None:
        chosen = choose_device(device)
        name, count = str(chosen), workers or default_workers(chosen)
    else:
        name, count = ("cuda" if cluster.gpus else "cpu"), workers or sys.maxsize
    return Execution(dataset, data_dir, runs_dir, name, count, threads, cluster=cluster)
