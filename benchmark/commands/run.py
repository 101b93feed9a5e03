"""``benchmark run``: plan, train, evaluate, track."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark import completion
from benchmark.errors import BenchmarkError
from benchmark.options import (
    ADDRESS,
    CPUS_PER_RUN,
    DATA_DIR,
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
    from benchmark.plan import PlanConfig, Product

MOST_SEEDS = 1000
"""Of one range; a longer one is a slip."""


def run(
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Data set (default synthetic): benchmark list datasets.",
            rich_help_panel=RUNS,
            autocompletion=completion.listed(completion.datasets),
        ),
    ] = None,
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
        bool, typer.Option(help="Show the plan and an estimate.", rich_help_panel=RUNS)
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
    try:
        succeeded = session.carry_out(tracking_uri, experiment)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on from the last complete epochs", err=True)
        raise typer.Exit(130) from None
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


def find_plan(name: str | None, config: Path | None) -> dict[str, Any]:
    """The content of a named plan or of a file; nothing where neither is given."""
    from benchmark.planfile import named_plan, read_plan

    if name and config:
        raise BenchmarkError("--plan and --config are both plans: give one of them")
    if name:
        return named_plan(name)
    return read_plan(config) if config else {}


def read_request(
    plan: dict[str, Any],
    given: dict[str, Any],
    settings: list[str],
    epochs: int | None,
    where: str = "the plan",
) -> PlanConfig:
    """The request: the plan, then what the command line gives, then ``--set`` and ``--epochs``.

    Raises:
        BenchmarkError: for a key or value that does not fit.
    """
    from benchmark.config import build
    from benchmark.plan import PlanConfig, Product

    overrides = {key: value for key, value in given.items() if value is not None}
    parsed = [parse_setting(setting) for setting in settings]
    if epochs is not None:
        parsed.append(("training", "epochs", epochs))
    runs = plan.get("runs", ())
    if not isinstance(runs, list | tuple) or not all(isinstance(run, dict) for run in runs):
        raise BenchmarkError(f"{where}: 'runs' must be a list of products, each with its keys")
    for place, run in enumerate(runs, 1):
        build(Product, run, f"{where}, entry {place} of its runs")
    chosen = {key: overrides.pop(key) for key in ("models", "regimes") if runs and key in overrides}
    values = _overridden(plan, overrides, parsed, where)
    if runs:
        shared = {key: value for key, value in overrides.items() if key in Product.model_fields}
        values["runs"] = [_overridden(run, shared, parsed, where) for run in runs]
    request = build(PlanConfig, values, where)
    if not runs:
        return request.model_copy(update={"models": _models(request.models)})
    products = [p.model_copy(update={"models": _models(p.models)}) for p in request.runs]
    return request.model_copy(update={"runs": _narrowed(products, **chosen)})


def _overridden(
    values: dict[str, Any],
    overrides: dict[str, Any],
    parsed: list[tuple[str, str, Any]],
    where: str,
) -> dict[str, Any]:
    from benchmark.plan import SECTIONS

    joined = {**values, **overrides}
    for section in SECTIONS:
        if not isinstance(joined.get(section, {}), dict):
            raise BenchmarkError(
                f"{where}: '{section}' must hold settings, one 'name: value' a line"
            )
    for section, key, value in parsed:
        joined[section] = {**joined.get(section, {}), key: value}
    return joined


def _models(models: tuple[str, ...]) -> tuple[str, ...]:
    from benchmark.registry import sound_models, usual_models

    if models == ("all",):
        return tuple(sound_models())
    return models or tuple(usual_models())


def _narrowed(
    products: list[Product], models: tuple[str, ...] = (), regimes: tuple[str, ...] = ()
) -> tuple[Product, ...]:
    """The part of the products that is about some of their models and regimes.

    An installed model that no product names joins those that have no settings of a model.

    Raises:
        BenchmarkError: for one that no product has.
    """
    from benchmark.errors import unknown

    def keep(found: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
        named = {*wanted, *(name for name in found if name.partition("-")[0] in wanted)}
        return tuple(name for name in found if not wanted or name in named)

    named = {name for product in products for name in product.models}
    guests = tuple(name for name in models if name not in named and name in _models(("all",)))
    products = [
        product
        if product.model
        else product.model_copy(update={"models": (*product.models, *guests)})
        for product in products
    ]
    wanted = {"models": () if models == ("all",) else models, "regimes": regimes}
    for key, names in wanted.items():
        known = {name for product in products for name in getattr(product, key)}
        for name in names:
            if not keep(tuple(known), (name,)):
                raise unknown(f"{key[:-1]} in this plan", name, known)
    parts = [
        product.model_copy(
            update={key: keep(getattr(product, key), names) for key, names in wanted.items()}
        )
        for product in products
    ]
    return tuple(part for part in parts if part.models and part.regimes)


def parse_setting(text: str) -> tuple[str, str, Any]:
    """``model.topk=4`` to ("model", "topk", 4); values are YAML. Raises BenchmarkError."""
    from benchmark.errors import unknown
    from benchmark.hygiene import cut
    from benchmark.plan import SECTIONS
    from benchmark.yamlfile import parse_yaml

    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise BenchmarkError(
            f"--set {cut(text, 80)}: write it as section.name=value, as in model.topk=4"
        )
    if section not in SECTIONS:
        raise unknown("section in --set", section, SECTIONS)
    return section, key, parse_yaml(value, f"--set {cut(name, 80)}")


def names(text: str | None) -> tuple[str, ...] | None:
    """Names separated by commas; None for None."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def seeds_of(text: str | None) -> tuple[int, ...] | None:
    """Integers and ranges of them, "1-5,9"; None for None. Raises BenchmarkError."""
    from benchmark.hygiene import cut

    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, re.ASCII)
        if not match:
            raise BenchmarkError(
                f"--seeds {cut(text, 80)}: integers and ranges with commas, as in 1-5,9"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + MOST_SEEDS:
            raise BenchmarkError(
                f"--seeds {cut(part, 80)}: a range goes up, over at most {MOST_SEEDS} seeds"
            )
        found += range(first, last + 1)
    return tuple(found)
