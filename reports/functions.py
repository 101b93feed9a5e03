"""What reports offer as ``benchmark.<name>``: the entry-point group ``benchmark.functions``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError, unknown
from benchmark.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from benchmark.records import RunRecord


def results(runs_dir: str | Path = "runs", dataset: str | None = None) -> pd.DataFrame:
    """Every answer of the records in a folder as one tidy frame: what a report prints, as data.

    A row for each system, condition and metric: ``dataset`` and the columns of
    :mod:`reports.frame`. A record that cannot be believed is left out with a warning.

    Args:
        runs_dir: the runs folder.
        dataset: only this data set.

    Raises:
        BenchmarkError: where there are no records, or runs cannot be compared.
    """
    import pandas as pd

    from benchmark.records import RunStore
    from reports.frame import frame
    from reports.results import load
    from reports.sources import Sources

    found = []
    for one in load(RunStore(Path(runs_dir)), dataset):
        for run_id, why in one.problems.items():
            warnings.warn(f"left out: run {run_id}: {why}", stacklevel=2)
        rows = frame(Sources.of(one))
        rows.insert(0, "dataset", one.dataset)
        found.append(rows)
    return pd.concat(found, ignore_index=True)


def landscape(records: Sequence[RunRecord], metric: str) -> Figure:
    """A metric over noise intensity and missing rate, a panel for each system.

    Args:
        records: evaluated runs on one data set; those that differ in their seed alone are one
            system.
        metric: its name.

    Raises:
        BenchmarkError: for a metric that the task does not have, or where no run has the grid.
    """
    from reports.figures.landscapes import combined_figure
    from reports.figures.scale import common_scale, in_units
    from reports.figures.style import drawing
    from reports.floors import floors
    from reports.results import results_of
    from reports.surface import surfaces

    results = results_of(records)
    if metric not in METRICS[results.task]:
        raise unknown(f"metric of {results.task}", metric, METRICS[results.task])
    variants = results.variants("grid", "noise_rule", "missing_rule")
    if not variants:
        raise BenchmarkError("no landscape: evaluate with protocol='all', or 'grid'")
    found = in_units(surfaces(results, metric, *variants[0]), metric)
    with drawing():
        return combined_figure(results, found, common_scale(metric, found, floors(results)))
