"""``benchmark evaluate``: anyone's trained model under every protocol."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark import completion
from benchmark.errors import BenchmarkError
from benchmark.hygiene import one_line
from benchmark.options import DATA_DIR, RUNS_DIR
from benchmark.strangers import strangers

if TYPE_CHECKING:
    from benchmark.evaluation import Evaluation


def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            help="my_module:predict, a callable on a batch; or a run, or how its id begins.",
            metavar="MODULE:NAME",
            autocompletion=completion.run_ids,
        ),
    ],
    dataset: Annotated[
        str,
        typer.Option(help="Data set: benchmark list datasets.", autocompletion=completion.dataset),
    ] = "synthetic",
    name: Annotated[str | None, typer.Option(help="What tables call the model.")] = None,
    version: Annotated[str, typer.Option(help="Which of your versions it is.")] = "1",
    seed: Annotated[int, typer.Option(help="Tells trainings of one version apart.")] = 0,
    protocol: Annotated[
        str,
        typer.Option(
            help="all, clean, or some of I, II, III, grid.",
            autocompletion=completion.listed(completion.protocols),
        ),
    ] = "all",
    draws: Annotated[int, typer.Option(min=1, help="Corruption draws.")] = 3,
    noise_rules: Annotated[str, typer.Option(help="Separated by commas.")] = "seed_a1",
    citation: Annotated[str, typer.Option(help="Whose model it is, for its card.")] = "",
    data_dir: DATA_DIR = None,
    runs_dir: RUNS_DIR = Path("runs"),
    device: Annotated[
        str | None, typer.Option(help="Where the batches are (default: where the model is).")
    ] = None,
) -> None:
    """Evaluate a trained model, whoever trained it: it is then in every table of the runs folder.

    predict(batch) takes batch.text, batch.audio, batch.vision of (B, T, d) and batch.masks, and
    returns (B,) sentiments or (B, C) logits. docs/own-model.md says the rest.
    Example: benchmark evaluate my_module:predict --dataset mosi --name "My model"
    """
    from rich.console import Console
    from rich.progress import Progress

    from benchmark.evaluation import evaluate as evaluated

    given = named(target, runs_dir)
    with Progress(transient=True, console=Console(stderr=True)) as shown:
        task = shown.add_task("predicting", total=None)
        result = evaluated(
            given,
            dataset=dataset,
            data_dir=data_dir,
            name=name,
            version=version,
            seed=seed,
            protocol=protocol,
            device=device,
            citation=citation,
            report=lambda done, total: shown.update(task, completed=done, total=total),
            draws=draws,
            noise_rules=[rule.strip() for rule in noise_rules.split(",")],
        )
    record = result.save(runs_dir)
    show(result)
    typer.echo(f"record   {record.path}: benchmark report --runs-dir {runs_dir} shows it")


def named(target: str, runs_dir: Path) -> Any:
    """What ``module:name`` names, the working folder's modules included; or a run's checkpoint.

    A run is named by its folder, or by its id in ``runs_dir`` or how that begins.

    Raises:
        BenchmarkError: where it cannot be had.
    """
    module, colon, attribute = target.partition(":")
    if not colon:
        from benchmark.checkpoint import load_checkpoint
        from benchmark.records import RunStore

        if Path(target).is_dir():
            return load_checkpoint(target)
        store = RunStore(runs_dir)
        try:
            return load_checkpoint(store.trained(store.find(target)).path)
        except BenchmarkError as error:
            raise BenchmarkError(
                f"'{one_line(target, 80)}' is neither module:name, as in my_module:predict, nor the"
                f" folder or id of a run: {error}"
            ) from None
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        with strangers(lambda why: BenchmarkError(f"cannot get '{one_line(target, 80)}': {why}")):
            found: Any = import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
    finally:
        if here in sys.path:  # the module may have taken it out
            sys.path.remove(here)
    return found


def show(result: Evaluation) -> None:
    """The overview in the primary metric."""
    from benchmark.metrics import PRIMARY
    from benchmark.questions import overview
    from benchmark.readouts import answers_in, headline_value, questions_in, summarise

    metric, frame = PRIMARY[result.table.task], summarise(result.table)
    answers = answers_in(frame, metric)
    typer.echo(f"{result.spec.title} on {result.spec.dataset}, test {metric}")
    for headline in overview(questions_in(frame)):
        value = headline_value(answers, headline)
        typer.echo(f"  {headline.title:<20} {'–' if value is None else f'{value:.3f}'}")
