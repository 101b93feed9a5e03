"""``benchmark show MODEL``: its card, and its settings with defaults, meanings, search space.

Of a run: :mod:`benchmark.commands.show_run`.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import completion
from benchmark.options import RUNS_DIR

if TYPE_CHECKING:
    from benchmark.screen import Rows
    from protocols.settings import Settings


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RUN",
            help="A model (benchmark list models), or a run, by how its id begins (list runs).",
            autocompletion=completion.models_and_runs,
        ),
    ],
    every: Annotated[
        bool,
        typer.Option("--all", help="Also the settings that all models share; all of a run's."),
    ] = False,
    runs_dir: RUNS_DIR = Path("runs"),
) -> None:
    """A model's card and settings: the keys that --set takes. Or a run: what it is and scores.

    Example: benchmark show qamoe
    """
    from benchmark.records import RunStore
    from benchmark.registry import model_names

    if name not in model_names() and re.fullmatch("[0-9a-f]{1,12}", name):
        from benchmark.commands.show_run import show_run

        show_run(name, RunStore(runs_dir), every)
    else:
        _show_model(name, every)


def _show_model(model: str, every: bool) -> None:
    from rich.padding import Padding

    from benchmark.cards import card_facts, deviations, shown
    from benchmark.config import EvaluationConfig, TrainingConfig
    from benchmark.hygiene import terminal
    from benchmark.registry import model_class, model_facts
    from protocols.regimes import Regime

    kind, card = model_class(model), model_facts(model)
    console = terminal(highlight=False, markup=False)
    console.print(f"{card['title']} ({model})", style="bold")
    for what, text in card_facts(card):
        console.print(f"{what}: {text}")
    if departures := deviations(card):
        console.print("departs from the original:")
        for one in departures:
            console.print(Padding(f"- {one}", (0, 0, 0, 2)))
    groups: dict[str, type[Settings]] = {"model": kind.Config}
    if every:
        groups |= {"training": TrainingConfig, "regime": Regime, "evaluation": EvaluationConfig}
    for section, settings in groups.items():
        console.print()
        console.print(_settings(section, settings))
    console.print("\npresets (--preset)", style="bold")
    for name, preset in {**kind.presets}.items():
        changes = {
            f"{section}.{key}": value
            for section, values in (("model", preset.model), ("training", preset.training))
            for key, value in values.items()
        }
        listed = ", ".join(f"{key}={shown(value)}" for key, value in changes.items())
        console.print(f"  {name}: {listed or 'the defaults'}")
        for what, text in card_facts(asdict(preset.card)) if preset.card else ():
            console.print(f"    {what}: {text}")
        for one in preset.card.deviations if preset.card else ():
            console.print(f"    - {one}")
    console.print("\nsearch space (benchmark search)", style="bold")
    for key, choices in kind.search_space.items():
        console.print(f"  {key}: {shown(list(choices))}")
    if not every:
        console.print("\nThe settings that all models share: --all")


def _settings(section: str, kind: type[Settings]) -> Rows:
    from benchmark.cards import setting_rows
    from benchmark.screen import Rows

    table = Rows("setting (--set)", "default", "values", "meaning")
    for row in setting_rows(kind, section):
        table.add(row.name, row.default, row.values, row.meaning)
    return table
