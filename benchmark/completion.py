"""What the shell's completion offers: between two key presses, so nothing heavy is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

Complete = Callable[[str], list[str]]


def listed(names: Callable[[], Iterable[str]]) -> Complete:
    """Offers names for the last of several with commas: none twice, and "all" alone."""

    def complete(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        there = {*before.split(","), *(["all"] if comma else [])}
        rest = [name for name in names() if name not in there]
        return [before + comma + name for name in rest if name.startswith(begun)]

    return complete


def model(incomplete: str) -> list[str]:
    """A registered model."""
    from benchmark.registry import model_names

    return [name for name in model_names() if name.startswith(incomplete)]


def models() -> list[str]:
    """Every registered model, and "all"."""
    return [*model(""), "all"]


def dataset(context: typer.Context, incomplete: str) -> list[str]:
    """A built-in data set, or one of the data folder."""
    from benchmark.data.registry import imported_names, registered

    folder = context.params.get("data_dir")
    names = [*registered(), *imported_names(Path(folder) if folder else None)]
    return [name for name in names if name.startswith(incomplete)]


def card(context: typer.Context, incomplete: str) -> list[str]:
    """What `benchmark data show` takes: a known data set, or one of the data folder."""
    from benchmark.data.cards import known_cards

    known = [name for name in known_cards() if name.startswith(incomplete)]
    return sorted({*known, *dataset(context, incomplete)})


def plans() -> list[str]:
    """Every named plan."""
    from benchmark.planfile import plan_names

    return plan_names()


def protocols() -> list[str]:
    """What --protocol takes."""
    return ["clean", "I", "II", "III", "grid", "all"]


def objectives() -> list[str]:
    """What a search optimises."""
    return ["grid", "clean", "I", "II", "III"]


def devices() -> list[str]:
    """What --device takes."""
    return ["auto", "cpu", "cuda"]


def regimes() -> list[str]:
    """The kinds of training."""
    from protocols.regimes import REGIME_KINDS

    return list(REGIME_KINDS)


def models_and_runs(context: typer.Context, incomplete: str) -> list[str]:
    """What `benchmark show` takes."""
    return model(incomplete) + run_ids(context, incomplete)


def run_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The runs in the runs folder."""
    folder = Path(context.params.get("runs_dir") or "runs")
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    known = re.compile("[0-9a-f]{12}")
    return sorted(name for name in names if known.fullmatch(name) and name.startswith(incomplete))
