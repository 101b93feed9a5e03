"""``benchmark run``: plan, train, evaluate, track."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.errors import BenchmarkError
from benchmark.options import DATA_DIR, RUNS_DIR, TRACKING_URI

if TYPE_CHECKING:
    from benchmark.plan import PlanConfig

SECTIONS = ("model", "training", "regime", "evaluation")


def run(
    dataset: Annotated[str | None, typer.Option(help="Data set (default synthetic).")] = None,
    models: Annotated[str | None, typer.Option(help="Names with commas, or all.")] = None,
    protocol: Annotated[str | None, typer.Option(help="I, II, III, grid or all.")] = None,
    regime: Annotated[
        str | None,
        typer.Option(help="clean, spectrum, missing, noise; with commas (default clean,spectrum)."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Integers with commas (default 1111).")] = None,
    preset: Annotated[str | None, typer.Option(help="paper (default), official, ...")] = None,
    epochs: Annotated[int | None, typer.Option(help="Short for training.epochs.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="One setting: model.topk=4, training.learning_rate=1e-3, regime.rate=0.3, "
            "evaluation.draws=1. Repeatable.",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with the same keys.")] = None,
    data_dir: DATA_DIR = None,
    runs_dir: RUNS_DIR = Path("runs"),
    tracking_uri: TRACKING_URI = None,
    experiment: Annotated[
        str | None, typer.Option(help="MLflow experiment (default: the data set's name).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time (default: one per CPU core, one on a GPU)."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads per run.")] = 1,
    dry_run: Annotated[bool, typer.Option(help="Show the plan and an estimate.")] = False,
) -> None:
    """Train and evaluate models under degraded inputs; finished runs are never repeated.

    Example: benchmark run --dataset mosi --data-dir data --models qamoe,mult --protocol III
    --seeds 1111,1112,1113
    """
    given = {
        "dataset": dataset,
        "models": _names(models),
        "protocol": protocol,
        "regimes": _names(regime),
        "seeds": _seeds(seeds),
        "preset": preset,
    }
    request = read_request(config, given, settings or [], epochs)
    from benchmark.environment import choose_device
    from benchmark.executor import Execution, default_workers  # torch: not for --help
    from benchmark.session import Session

    chosen = choose_device(device)
    how = Execution(
        dataset=request.dataset,
        data_dir=data_dir,
        runs_dir=runs_dir,
        device=str(chosen),
        workers=workers or default_workers(chosen),
        threads=threads,
    )
    session = Session(request, how)
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


def read_request(
    path: Path | None, given: dict[str, Any], settings: list[str], epochs: int | None
) -> PlanConfig:
    """The request: the file, then what the command line gives, then ``--set`` and ``--epochs``.

    Raises:
        BenchmarkError: for a file that cannot be read, or a key or value that does not fit.
    """
    from benchmark.config import build
    from benchmark.plan import PlanConfig

    values = _read_file(path) if path else {}
    values |= {key: value for key, value in given.items() if value is not None}
    for section in SECTIONS:
        if not isinstance(values.setdefault(section, {}), dict):
            raise BenchmarkError(
                f"{path}: '{section}' must hold settings, one 'name: value' a line"
            )
    for setting in settings:
        section, key, value = parse_setting(setting)
        values[section] = {**values[section], key: value}
    if epochs is not None:
        values["training"] = {**values["training"], "epochs": epochs}
    request = build(PlanConfig, values, str(path) if path else "the request")
    if not request.models or request.models == ("all",):
        from benchmark.registry import model_names

        request = request.model_copy(update={"models": tuple(model_names())})
    return request


def parse_setting(text: str) -> tuple[str, str, Any]:
    """``model.topk=4`` to ("model", "topk", 4); values are YAML. Raises BenchmarkError."""
    import yaml

    from benchmark.errors import unknown

    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise BenchmarkError(f"--set {text}: write it as section.name=value, as in model.topk=4")
    if section not in SECTIONS:
        raise unknown("section in --set", section, SECTIONS)
    try:
        return section, key, _number(yaml.safe_load(value))
    except yaml.YAMLError as error:
        raise BenchmarkError(f"--set {text}: the value is no YAML: {error}") from None


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _read_file(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BenchmarkError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path} is no YAML file: {error}") from None
    if not isinstance(values, dict):
        raise BenchmarkError(f"{path} must hold lines of name: value")
    return values


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(seed) for seed in text.split(","))
    except ValueError:
        raise BenchmarkError(f"--seeds {text}: integers separated by commas") from None
