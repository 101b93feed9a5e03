"""Degradation curves: a metric along λ with everything available, and along η without noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.questions import Question
from protocols.conditions import LEVELS
from reports.answers import Answers
from reports.figures.landscapes import ETA, LAMBDA
from reports.figures.layout import Frame, Heading, Legend, new_figure, size_of
from reports.figures.look import PAGE, Look
from reports.figures.style import MUTED, line_styles, shrink, subtitle
from reports.results import Results, System
from reports.tables.robustness import full_name
from reports.views import SELECTIONS, View, view

_WIDTH, _NARROW = 9.6, 7.0
"""Inches: the page's figures, and below what there is little room for words."""

_FLOOR = "best floor"
MOST_CURVES = 6


def curve_groups(results: Results) -> list[tuple[str, Results]]:
    """What shares a figure: everything, or where that is too much the systems of one training.

    Returns:
        (the training's name, or "" for everything; the systems).
    """
    if len(results.systems) <= MOST_CURVES:
        return [("", results)]
    trainings = dict.fromkeys(system.training for system in results.systems)
    return [
        (training, results.only([s for s in results.systems if s.training == training]))
        for training in trainings
    ]


def curves_figure(
    answers: Answers,
    results: Results,
    noise_rule: str,
    missing_rule: str,
    metrics: Sequence[str] = (),
    look: Look = PAGE,
) -> Figure:
    """A row of panels for each metric: along λ at η = 0, and along η at λ = 0."""
    metrics = metrics or SELECTIONS[results.task].grid
    full = full_name(results)
    width = look.width or _WIDTH
    narrow = width < _NARROW
    apart = "\n" if narrow else "  "
    paths = (
        (
            f"{LAMBDA}{apart}(nothing missing)",
            [Question("II", noise_rule, "", x, 0.0, full) for x in LEVELS],
        ),
        (f"{ETA}{apart}(no noise)", [Question("I", "", missing_rule, 0.0, x) for x in LEVELS]),
    )
    facts = subtitle(results, results.systems) + " · band: 95 % interval"
    head = Heading("Degradation along one axis", facts, width, look.titles)
    legend = Legend([*(system.label for system in results.systems), _FLOOR], width)
    below = legend.height + (0.6 if narrow else 0.45) * shrink()
    frame = Frame(0.65 * shrink(), below, 0.1, head.band, (0.15, 0.2))
    height = max(1.1, 0.28 * width) if look.width else 2.7
    figure = new_figure(width, frame.below + frame.above + height * len(metrics))
    axes = frame.panels(figure, len(metrics), 2, sharex=True, sharey="row")
    for row, metric in zip(axes, metrics, strict=True):
        for axis, (_, questions) in zip(row, paths, strict=True):
            _panel(axis, answers, results.systems, view(metric), questions)
        row[0].set_ylabel(view(metric).unit)
    for axis, (title, _) in zip(axes[-1], paths, strict=True):
        axis.set_xlabel(title)
    legend.put_on(figure, axes[0, 0])
    head.put_on(figure)
    return figure


def _panel(
    axis: Axes,
    answers: Answers,
    systems: Sequence[System],
    shown: View,
    questions: Sequence[Question],
) -> None:
    styles = line_styles(systems)
    for system in systems:
        style = styles[system.key]
        found = [answers.get(system, (question,), shown.name) for question in questions]
        known = [one for one in found if one is not None]
        if len(known) == len(questions):
            mean = shown.scale * np.array([one.value for one in known])
            low, high = (
                shown.scale * np.array(ends)
                for ends in zip(*((one.low, one.high) for one in known), strict=True)
            )
            axis.fill_between(LEVELS, low, high, color=style["color"], alpha=0.13, linewidth=0)
            line: dict[str, Any] = {"linewidth": 1.6 * shrink(), "markersize": 4.5 * shrink()}
            axis.plot(LEVELS, mean, label=system.label, **line, **style)
    best = max if shown.higher_is_better else min
    if answers.floors:
        value = best(floor.metrics[shown.name] for floor in answers.floors) * shown.scale
        axis.axhline(value, color=MUTED, linewidth=1.1, linestyle=(0, (1, 2)), label=_FLOOR)
    axis.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    width, _ = size_of(axis)
    axis.set_xticks(
        np.array(LEVELS),
        [f"{x:g}" if width > 2 or i % 2 == 0 else "" for i, x in enumerate(LEVELS)],
    )
    axis.margins(x=0.02)
