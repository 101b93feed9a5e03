"""The triangle of uneven sensors: a metric wherever one lost modality may fall.

Every point is a (η_t, η_a, η_v) that sums to 1: on average one modality is lost. At a corner it is
always the same, in the middle each as often. Data of two modalities have a line instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.tri import Triangulation, TriContourSet

from protocols.modalities import MODALITIES, Modality
from reports.figures.layout import (
    Frame,
    Heading,
    Legend,
    axes_at,
    new_figure,
    size_of,
    whole_words,
)
from reports.figures.look import PAGE, Look
from reports.figures.scale import MANY_LINES, round_levels
from reports.figures.style import INK, colour_map, line_styles, points, shrink, subtitle
from reports.results import Results, System
from reports.statistics.inference import Array
from reports.uneven import Rates, covered, means_at
from reports.views import View, view

STEPS = 24
"""Exact values along an edge; between them they are interpolated."""
_SIDE, _ACROSS, _DOWN, _COLUMNS, _LEAST, _ROOMY, _BAR = 2.5, 3.15, 3.35, 4, 1.1, 1.15, 0.85


def rates_between(present: Sequence[Modality], steps: int = STEPS) -> list[Rates]:
    """Every (η_t, η_a, η_v) with sum 1 on a grid of the present modalities."""
    found = []
    for first in range(steps + 1):
        for second in range(steps + 1 - first) if len(present) == 3 else (steps - first,):
            shares = (first, second, steps - first - second)
            rates = {m: share / steps for m, share in zip(present, shares, strict=False)}
            text, audio, vision = (rates.get(m, 0.0) for m in MODALITIES)
            found.append((text, audio, vision))
    return found


def uneven_figure(
    results: Results, metric: str, systems: Sequence[System] = (), look: Look = PAGE
) -> Figure | None:
    """A triangle for each system, or a line; None where no run has every subset."""
    systems = [system for system in systems or results.systems if covered(system)]
    if not systems or len(results.present) < 2:
        return None
    rates = rates_between(results.present)
    scale = view(metric).scale
    values = {system.key: scale * means_at(system, metric, rates) for system in systems}
    draw = _triangles if len(results.present) == 3 else _lines
    return draw(results, systems, view(metric), np.array(rates), values, look)


def _triangles(
    results: Results,
    systems: Sequence[System],
    shown: View,
    rates: Array,
    values: dict[str, Array],
    look: Look,
) -> Figure:
    across = min(len(systems), _COLUMNS)
    if look.width is not None:
        across = max(1, min(across, int((look.width - 0.7) / _LEAST)))
    lines = math.ceil(len(systems) / across)
    width = look.width or max(_ACROSS * across + 0.8, 6.5)
    step = (width - _BAR) / across if look.width else _ACROSS
    side = min(_SIDE, step - (0.22 if look.width else 0.5))
    titles = [whole_words(system.label, int(15 * step / shrink())) for system in systems]
    more = (max(map(len, titles)) - 1) * points(9) * 1.2 / 72  # there is room for a line
    down = side * 0.94 + (_DOWN - _SIDE * 0.94) * shrink() + more
    facts = f"{subtitle(results, systems)} · corner: that modality is always missing"
    head = Heading(f"One modality lost, unevenly: {shown.heading}", facts, width, look.titles)
    height = head.band + down * lines + 0.15
    figure = new_figure(width, height)
    everything = np.concatenate(list(values.values()))
    steps, ticks = round_levels(everything, shown, MANY_LINES)
    for place, system in enumerate(systems):
        line, column = divmod(place, across)
        left = (0.1 if look.width else 0.3) + step * column
        bottom = height - head.band - down * (line + 1) + 0.3
        axis = axes_at(figure, left, bottom, side, side * 0.94)
        drawn = _triangle(axis, shown, rates, values[system.key], steps)
        top = 1 + (0.25 if side > _ROOMY else 0.36) / (side * 0.94)  # clear of the corner's words
        axis.set_title("\n".join(titles[place]), fontsize=points(9), loc="left", y=top)
    bar = axes_at(figure, width - _BAR * shrink(), 0.45, 0.12, min(down * lines - 0.7, 2.4))
    figure.colorbar(drawn, cax=bar, ticks=ticks).set_label(shown.unit)
    if not shown.higher_is_better:
        bar.invert_yaxis()  # good is up, as on landscapes
    head.put_on(figure)
    return figure


def _triangle(axis: Axes, shown: View, rates: Array, values: Array, steps: Array) -> TriContourSet:
    corners = np.array([[0.5, math.sqrt(0.75)], [0.0, 0.0], [1.0, 0.0]])  # text, audio, vision
    x, y = (rates @ corners).T
    colours = colour_map(shown.higher_is_better)
    drawn = axis.tricontourf(Triangulation(x, y), values, levels=steps, cmap=colours)
    drawn.set_edgecolor("face")  # no white hairlines between the steps in a PDF
    halo = [withStroke(linewidth=2.2, foreground="white")]
    middle = np.abs(rates - 1 / 3).sum(axis=1).argmin()
    marks = [
        ("no t", int(rates[:, 0].argmax()), (0, 6)),
        ("no a", int(rates[:, 1].argmax()), (16 * shrink(), -6)),
        ("no v", int(rates[:, 2].argmax()), (-16 * shrink(), -6)),
        ("", int(middle), (0, 5)),
    ]
    between = "  " if size_of(axis)[0] > _ROOMY else "\n"
    for name, place, shift in marks:
        text = f"{name}{between}{values[place]:.{shown.decimals}f}".strip()
        axis.plot(x[place], y[place], "o", color=INK, markersize=3.5, clip_on=False)
        axis.annotate(
            text,
            (x[place], y[place]),
            shift,
            textcoords="offset points",
            ha="center",
            va="top" if shift[1] < 0 else "bottom",
            linespacing=1.0,
            fontsize=points(9),
            path_effects=halo,
            annotation_clip=False,
        )
    axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 0.9), aspect="equal")
    axis.set_axis_off()
    return drawn


def _lines(
    results: Results,
    systems: Sequence[System],
    shown: View,
    rates: Array,
    values: dict[str, Array],
    look: Look,
) -> Figure:
    first, second = results.present
    width = look.width or 6.5
    title = f"One modality lost, unevenly: {shown.heading}"
    head = Heading(title, subtitle(results, systems), width, look.titles)
    legend = Legend([system.label for system in systems], width)
    frame = Frame(0.7 * shrink(), legend.height + 0.5 * shrink(), 0.15, head.band, (0, 0))
    figure = new_figure(width, frame.below + frame.above + min(2.8, 0.6 * width))
    axis = frame.panels(figure, 1, 1)[0, 0]
    styles = line_styles(systems)
    share = rates[:, MODALITIES.index(second)]
    order = np.argsort(share)
    for system in systems:
        style = {**styles[system.key], "markevery": STEPS // 4, "markersize": 4.5}
        axis.plot(share[order], values[system.key][order], label=system.label, **style)
    axis.set(xlabel=f"no {first}  ←  η of {second}  →  no {second}")
    axis.set_ylabel(shown.unit)
    axis.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    legend.put_on(figure, axis)
    head.put_on(figure)
    return figure
