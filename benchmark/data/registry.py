"""Data sets by name: registered ones (entry points) first, then the imported ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError, unknown
from benchmark.plugins import Plugin, plugins
from benchmark.strangers import strangers

if TYPE_CHECKING:  # listing names must not cost an import of torch
    from benchmark.data.dataset import Dataset

VARIABLE = "BENCHMARK_DATA_DIR"


def registered() -> dict[str, Plugin]:
    """By name what declares a data set that needs no import, a ``data_dir -> Dataset``."""
    return plugins("dataset")


def find_data_dir(data_dir: Path | None) -> Path | None:
    """``data_dir``, or the folder that the environment variable names, or None."""
    if data_dir is None and os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    return data_dir


def need_data_dir(data_dir: Path | None) -> Path:
    """The folder of imported data sets; BenchmarkError where none is named."""
    found = find_data_dir(data_dir)
    if found is None:
        raise BenchmarkError(
            f"no data folder: give --data-dir DIR, or set {VARIABLE}, the folder that imported data"
            " sets are kept in."
        )
    return found


def imported_names(data_dir: Path | None) -> list[str]:
    """Names of the imported data sets; none where the folder does not exist."""
    folder = find_data_dir(data_dir)
    if folder is None or not folder.is_dir():
        return []
    found = (p.parent.name for p in folder.glob("*/manifest.json"))
    return sorted(name for name in found if not name.startswith("."))


def load_dataset(name: str, data_dir: Path | None = None) -> Dataset:
    """The data set ``name``, on the CPU.

    Raises:
        BenchmarkError: unknown, with the near matches among registered and imported names.
    """
    points = registered()
    folder = find_data_dir(data_dir)
    if name in points:
        return _made(points[name], folder)
    names = imported_names(folder)
    if folder is None or name not in names:
        raise unknown("data set", name, [*points, *names], _hint(folder, names))
    from benchmark.data.store import load

    return load(folder, name)


def _made(plugin: Plugin, folder: Path | None) -> Dataset:
    """What anybody's function makes. Raises BenchmarkError where it makes none."""
    from benchmark.data.dataset import Dataset

    make = plugin.load()
    with strangers(plugin.broken):
        made = make(folder)
    if not isinstance(made, Dataset):
        raise plugin.broken(f"it makes a {type(made).__name__}, not a Dataset")
    return made


def _hint(folder: Path | None, names: list[str]) -> str:
    if folder is None:
        return f"Imported data sets are found with --data-dir DIR (or {VARIABLE})."
    how = "Import one with 'benchmark data import PATH --name NAME'."
    if not folder.is_dir():
        return f"The data folder {folder} does not exist. {how}"
    return "" if names else f"The data folder {folder} holds no imported data set. {how}"
