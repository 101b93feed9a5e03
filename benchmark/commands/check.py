"""``benchmark check model NAME``: does a model keep the contract, and what does it cost?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import completion
from benchmark.options import DATA_DIR, PRESET

if TYPE_CHECKING:
    from benchmark.contract_cases import Case

app = typer.Typer(help="Does a model keep the contract?", no_args_is_help=True)

TIMED = 5
SHOWN = 3
"""Problems of one check that are printed."""


@app.callback()
def check() -> None:
    """Does a model keep the contract?"""  # a callback keeps the word "model" in the command


@app.command()
def model(
    name: Annotated[
        str,
        typer.Argument(help="As in `benchmark list models`.", autocompletion=completion.model),
    ],
    preset: PRESET = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Try it on samples of this data set, not on small random ones.",
            autocompletion=completion.dataset,
        ),
    ] = None,
    data_dir: DATA_DIR = None,
) -> None:
    """Check a model against the contract, one line for each check; exit code 1 where one fails.

    Example: benchmark check model mult --preset official
    """
    from benchmark.config import build
    from benchmark.contract import findings
    from benchmark.contract_cases import case_on, cases
    from benchmark.data.registry import load_dataset
    from benchmark.plan import preset_named
    from benchmark.registry import model_class
    from benchmark.systems import shown

    kind = model_class(name)
    chosen = preset_named(name, kind, preset or "paper")
    config = build(kind.Config, {**chosen.model, **kind.trial}, f"{name}'s model")
    if kind.trial:
        print(f"note at its own size this would take hours: with {shown(kind.trial)}")
    tried = cases(kind, config)
    if dataset is not None:
        tried = {dataset: case_on(kind, config, load_dataset(dataset, data_dir))}
    failed = 0
    for finding in findings(kind, tried):
        print(f"{'FAIL' if finding.problems else 'ok  '} {finding.check}")
        for problem in finding.problems[:SHOWN]:
            print(f"     {problem}")
        if len(finding.problems) > SHOWN:
            print(f"     and {len(finding.problems) - SHOWN} more")
        failed += bool(finding.problems)
    if failed:
        raise typer.Exit(1)
    print(f"cost {costs(next(iter(tried.values())))}")


def costs(case: Case) -> str:
    """Parameters, and milliseconds for a batch of the case's samples: the median of a few."""
    import torch

    from benchmark.contract_cases import total_loss
    from benchmark.interface import count_parameters

    model = case.model()

    def step() -> None:
        total_loss(model.train(), case.samples).backward()

    @torch.inference_mode()
    def predict() -> None:
        model.eval()(case.samples)

    return (
        f"{count_parameters(model):,} parameters; for {len(case.samples)} samples"
        f" {_milliseconds(step):.1f} ms a step without the optimiser,"
        f" {_milliseconds(predict):.1f} ms a prediction"
    )


def _milliseconds(run: Callable[[], None]) -> float:
    seconds = []
    for _ in range(TIMED + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[1:])  # the first one warms up
