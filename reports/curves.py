"""Degradation curves: a metric along λ with everything available, and along η without noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from protocols.conditions import LEVELS
from reports.figures import ETA, LAMBDA
from reports.floors import Floor
from reports.measure import Measure, Question
from reports.points import Point
from reports.robustness import full_name
from reports.style import MUTED, Heading, line_styles, new_figure, subtitle
from reports.views import SELECTIONS, View, view

_WIDTH = 9.6


def curves_figure(
    measure: Measure, floors: Sequence[Floor], noise_rule: str, missing_rule: str
) -> Figure:
    """A row of panels for each metric: along λ at η = 0, and along η at λ = 0."""
    results = measure.results
    metrics = SELECTIONS[results.task].grid
    full = full_name(results)
    paths = (
        (
            f"{LAMBDA}  (nothing missing)",
            [Point("II", noise_rule, "", x, 0.0, full) for x in LEVELS],
        ),
        (f"{ETA}  (no noise)", [Point("I", "", missing_rule, 0.0, x) for x in LEVELS]),
    )
    note = (
        " · band: lowest to highest seed" if any(len(s.seeds) > 1 for s in results.systems) else ""
    )
    head = Heading("Degradation along one axis", subtitle(results, results.systems) + note, _WIDTH)
    figure = new_figure(_WIDTH, 2.9 * len(metrics))  # its height is set when the legend is known
    axes = figure.subplots(len(metrics), 2, sharex=True, sharey="row", squeeze=False)
    for row, metric in zip(axes, metrics, strict=True):
        for axis, (_, points) in zip(row, paths, strict=True):
            _panel(axis, measure, floors, view(metric), points)
        row[0].set_ylabel(view(metric).unit)
    for axis, (title, _) in zip(axes[-1], paths, strict=True):
        axis.set_xlabel(title)
    handles, names = axes[0, 0].get_legend_handles_labels()
    widest = 0.75 + max(map(len, names)) / 16  # inches, at about 16 characters to the inch
    columns = max(1, min(int(_WIDTH / widest), math.ceil(len(names) / 2)))
    rows = math.ceil(len(names) / columns)
    figure.set_figheight(2.9 * len(metrics) + 0.5 + 0.2 * rows + head.band)
    figure.legend(
        handles, names, loc="outside lower left", ncols=columns, fontsize=9, handlelength=3.4
    )
    head.put_on(figure)
    return figure


def _panel(
    axis: Axes, measure: Measure, floors: Sequence[Floor], shown: View, points: Sequence[Point]
) -> None:
    systems = measure.results.systems
    styles = line_styles(systems)
    for system in systems:
        style = styles[system.key]
        found = [measure.per_seed(system, Question(shown.name, (p,))) * shown.scale for p in points]
        if all(len(values) for values in found):
            mean = [values.mean() for values in found]
            axis.plot(LEVELS, mean, label=system.label, linewidth=1.7, markersize=4.5, **style)
            low, high = [v.min() for v in found], [v.max() for v in found]
            axis.fill_between(LEVELS, low, high, color=style["color"], alpha=0.13, linewidth=0)
    best = max if shown.higher_is_better else min
    if floors:
        value = best(floor.metrics[shown.name] for floor in floors) * shown.scale
        axis.axhline(value, color=MUTED, linewidth=1.1, linestyle=(0, (1, 2)), label="best floor")
    axis.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_xticks(np.array(LEVELS))
    axis.margins(x=0.02)
