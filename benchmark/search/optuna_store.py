"""Studies in their storage, Optuna: the only module that imports it.

What a trial is and who works on it is decided in :mod:`benchmark.search.study`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from benchmark.errors import BenchmarkError
from benchmark.search.space import Choices, Range, Space
from benchmark.tracking.place import without_password

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

JOURNAL = "optuna.journal"
"""The default storage: a file of this name in the runs folder, for all of its studies."""

STARTUP_TRIALS = 5
"""Trials with a whole curve before any is pruned."""


def open_storage(url: str | None, runs_dir: Path) -> optuna.storages.BaseStorage:
    """A storage.

    Args:
        url: an Optuna storage URL; None for the journal file.
        runs_dir: where the journal and its lock are.

    Raises:
        BenchmarkError: where it cannot be opened.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    if url is not None:
        with reaching(url):
            return optuna.storages.get_storage(url)
    path = runs_dir / JOURNAL
    lock = FileLock(runs_dir / ".locks" / JOURNAL)
    with lock:
        _mend(path)
    backend = optuna.storages.journal.JournalFileBackend(str(path), _JournalLock(lock))
    return optuna.storages.JournalStorage(backend)


@contextmanager
def reaching(url: str | None) -> Iterator[None]:
    """What goes wrong within, on the way to a storage, is a BenchmarkError of one line."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, ImportError, ValueError, OSError) as error:
        first = f"--storage {url} cannot be opened: {str(error).splitlines()[0]}"
        raise BenchmarkError(without_password(first)) from None


def open_study(
    storage: optuna.storages.BaseStorage,
    name: str,
    grid: bool,
    minimise: bool,
    warmup: int,
) -> optuna.Study:
    """The study of a name, made where there is none.

    Args:
        storage: where it is.
        name: its name.
        grid: whether it is a grid's, whose points are queued and wanted whole; else a trial that
            is worse than half of the others is pruned.
        minimise: whether a smaller objective is better.
        warmup: epochs before which no trial is pruned.
    """
    import optuna

    pruner: optuna.pruners.BasePruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, warmup)
    if grid:
        pruner = optuna.pruners.NopPruner()
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="minimize" if minimise else "maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(constant_liar=True),
        pruner=pruner,
    )


def delete_study(storage: optuna.storages.BaseStorage, name: str) -> None:
    """Forget a study."""
    import optuna

    optuna.delete_study(study_name=name, storage=storage)


def distributions(space: Space) -> dict[str, optuna.distributions.BaseDistribution]:
    """A search space as Optuna has it."""
    return {name: _distribution(dimension) for name, dimension in space.items()}


def _distribution(dimension: Choices | Range) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    low, high, log, step = dimension.low, dimension.high, dimension.log, dimension.step
    if dimension.integer:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=step)


def set_attribute(study: optuna.Study, number: int, key: str, value: Any) -> None:
    """A user attribute of an unfinished trial, whichever process works on it."""
    storage = study._storage
    trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    storage.set_trial_user_attr(trial_id, key, value)


def end_trial(study: optuna.Study, number: int, state: str, value: float | None) -> None:
    """End a trial as COMPLETE, PRUNED or FAIL."""
    from optuna.trial import TrialState

    study.tell(number, value, TrialState[state])


def draw(study: optuna.Study, folder: Path, objective: str) -> list[Path]:
    """Optuna's figures of a study, as far as its trials allow.

    Args:
        study: the study.
        folder: where the PNG files go.
        objective: the objective's name, for the axes.

    Returns:
        Parallel coordinates, slices and history with two trials or more, and importances where
        several settings were searched and the trials differ.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.visualization import matplotlib as figures

    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if len(done) < 2:
        return []
    drawn: dict[str, Callable[[], Any]] = {
        "parallel_coordinates": lambda: figures.plot_parallel_coordinate(
            study, target_name=objective
        ),
        "slices": lambda: figures.plot_slice(study, target_name=objective),
        "history": lambda: figures.plot_optimization_history(study, target_name=objective),
    }
    if len(done[0].params) > 1 and len({trial.value for trial in done}) > 1:
        drawn["importances"] = lambda: figures.plot_param_importances(
            study, PedAnovaImportanceEvaluator(), target_name=objective
        )
    paths = []
    for name, plot in drawn.items():
        with plt.rc_context({"figure.figsize": (9, 5), "savefig.bbox": "tight"}):
            plot()
            if name == "slices":
                _apart(plt.gcf())
            paths.append(folder / f"{name}.png")
            plt.savefig(paths[-1], dpi=110)
            plt.close("all")
    return paths


def _apart(figure: Figure) -> None:
    """Give every slice the room that its names take, and no more: Optuna sets all in one row."""
    figure.set_size_inches(max(9.0, 2.2 * len(figure.axes)), 4.5)
    for axes in figure.axes:
        axes.tick_params(axis="x", labelrotation=30)
        for label in axes.get_xticklabels(which="both"):
            label.set(horizontalalignment="right", rotation_mode="anchor")
        axes.set_xlabel(axes.get_xlabel().replace(".", ".\n", 1))
    figure.set_layout_engine("constrained")


def _mend(path: Path) -> None:
    """Cut off a last line that a full disk or a kill left incomplete: it would spoil the next."""
    if path.is_file() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        os.truncate(path, content.rfind(b"\n") + 1)


class _JournalLock:
    """The journal's lock, which the system frees when its holder dies; Optuna's own does not."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()
