"""What reports offer as ``benchmark.<name>``: the entry-point group ``benchmark.functions``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.errors import BenchmarkError, unknown
from benchmark.metrics import METRICS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmark.records import RunRecord


def landscape(records: Sequence[RunRecord], metric: str) -> Figure:
    """A metric over noise intensity and missing rate, a panel for each system.

    Args:
        records: evaluated runs on one data set; those that differ in their seed alone are one
            system.
        metric: its name.

    Raises:
        BenchmarkError: for a metric that the task does not have, or where no run has the grid.
    """
    from reports.figures.landscapes import combined_figure, common_scale, surfaces
    from reports.figures.style import drawing
    from reports.floors import floors
    from reports.results import results_of

    results = results_of(records[0].spec.dataset, records)
    if metric not in METRICS[results.task]:
        raise unknown(f"metric of {results.task}", metric, METRICS[results.task])
    variants = results.variants("grid", "noise_rule", "missing_rule")
    if not variants:
        raise BenchmarkError("no landscape: evaluate with protocol='all', or 'grid'")
    found = surfaces(results, metric, *variants[0])
    with drawing():
        return combined_figure(results, found, common_scale(metric, found, floors(results)))
