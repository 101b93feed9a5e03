"""What the shell's completion offers: between two key presses, so nothing heavy is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

Complete = Callable[[str], list[str]]


def listed(names: Callable[[], Iterable[str]]) -> Complete:
    """Offers names for the last of several with commas."""

    def complete(incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",")
        return [before + comma + name for name in names() if name.startswith(begun)]

    return complete


def models() -> list[str]:
    """Every registered model, and "all"."""
    from benchmark.registry import model_names

    return [*model_names(), "all"]


def datasets() -> list[str]:
    """The built-in data sets and those of the usual data folder."""
    from benchmark.data.registry import imported_names, registered

    return [*registered(), *imported_names(None)]


def plans() -> list[str]:
    """Every named plan."""
    from benchmark.planfile import plan_names

    return plan_names()


def protocols() -> list[str]:
    """What --protocol takes."""
    return ["clean", "I", "II", "III", "grid", "all"]


def regimes() -> list[str]:
    """The kinds of training."""
    from protocols.regimes import REGIME_KINDS

    return list(REGIME_KINDS)


def models_and_runs(context: typer.Context, incomplete: str) -> list[str]:
    """What `benchmark show` takes."""
    from benchmark.registry import model_names

    models = [name for name in model_names() if name.startswith(incomplete)]
    return models + run_ids(context, incomplete)


def run_ids(context: typer.Context, incomplete: str) -> list[str]:
    """The runs in the runs folder."""
    folder = Path(context.params.get("runs_dir") or "runs")
    names = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    known = re.compile("[0-9a-f]{12}")
    return sorted(name for name in names if known.fullmatch(name) and name.startswith(incomplete))
