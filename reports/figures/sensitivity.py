"""How a metric depends on one number of the settings: Figure 4, the active experts k."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.answer import Answer
from reports.figures.layout import Frame, Heading, Legend, new_figure
from reports.figures.look import PAGE, Look
from reports.figures.style import series_style, shrink, subtitle
from reports.results import Results, System
from reports.sources import Sources
from reports.tables.robustness import blocks_of
from reports.tables.variants import variants
from reports.views import view

_PANEL = (4.3, 3.0)
"""Width and height of a panel, in inches."""
_LEAST = 2.2
"""Inches: a panel with its names is no narrower."""


@dataclass(frozen=True)
class Sweep:
    """One model under one training at several values of one setting.

    Attributes:
        setting: the setting's name: "model.topk".
        plain: the system at the preset's value.
        systems: value -> system, ascending; the plain one is among them.
    """

    setting: str
    plain: System
    systems: dict[float, System]

    @property
    def name(self) -> str:
        """The setting without its section."""
        return self.setting.split(".")[-1]


def sweeps(results: Results) -> list[Sweep]:
    """Every numeric setting that some model was trained at two or more further values of."""
    found = []
    for settings, systems in variants(results).items():
        if len(settings) > 1:
            continue
        members: dict[str, list[System]] = defaultdict(list)
        for system in systems:
            members[_training(system)].append(system)
        for group in members.values():
            values = {_number(system, settings[0]): system for system in group}
            plain = [system for system in group if system.plain]
            ordered = {v: values[v] for v in sorted(v for v in values if v is not None)}
            if plain and None not in values and len(values) >= 3:
                found.append(Sweep(settings[0], plain[0], ordered))
    return found


def _training(system: System) -> str:
    spec = system.records[0].spec
    return json.dumps([spec.model, spec.preset, system.training])


def _number(system: System, setting: str) -> float | None:
    """The setting's value; None where it is no number."""
    value = system.records[0].spec.setting(setting)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def sensitivity_figure(
    sources: Sources, sweep: Sweep, variant: tuple[str, ...], look: Look = PAGE
) -> Figure:
    """A panel for each headline metric: clean and Protocol III over the setting's values.

    Args:
        sources: everything.
        sweep: what is varied.
        variant: (noise rule, missing rule, joint) of Protocol III; empty where no run has it.
        look: what the figure looks like.
    """
    results = sources.results
    metrics = look.shown_metrics(results)
    systems = list(sweep.systems.values())
    width = look.width or _PANEL[0] * max(2, len(metrics))
    columns = max(1, min(len(metrics), int(width / _LEAST)))
    rows = math.ceil(len(metrics) / columns)
    facts = (
        f"{sweep.plain.label}, otherwise unchanged · {subtitle(results, systems)} · "
        "bar: 95 % interval · points: seeds"
    )
    head = Heading(f"Sensitivity to {_spoken(sweep)}", facts, width, look.titles)
    blocks = blocks_of(results, variant)
    legend = Legend([block for block, _ in blocks], width, handle=3)
    room = shrink()
    below = legend.height + 0.5 * room
    frame = Frame(0.65 * room, below, 0.1, head.band + 0.25 * room, (0.7 * room, 0.75 * room))
    height = 1.9 * rows + 0.75 * room * (rows - 1) if look.width else _PANEL[1] - below
    figure = new_figure(width, height + below + frame.above)
    axes = frame.panels(figure, rows, columns).ravel()
    for spare in axes[len(metrics) :]:
        spare.set_axis_off()
    for axis, metric in zip(axes, metrics, strict=False):
        for place, (block, point) in enumerate(blocks):
            found = [sources.answers.get(system, (point,), metric) for system in systems]
            _draw(axis, found, view(metric).scale, block, place)
        axis.set(xlabel=_spoken(sweep), ylabel=view(metric).unit, title=view(metric).heading)
        positions = np.arange(len(sweep.systems))
        axis.set_xticks(positions, [f"{value:g}" for value in sweep.systems])
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e4e4e4", linewidth=0.7)
        axis.margins(x=0.08)
    legend.put_on(figure, axes[0])
    head.put_on(figure)
    return figure


def _draw(axis: Axes, found: Sequence[Answer | None], scale: float, label: str, place: int) -> None:
    style = series_style(place)
    positions, means, widths = [], [], []
    for position, answer in enumerate(found):
        if answer is None:
            continue
        shifted = position + 0.08 * (2 * place - 1)
        positions.append(shifted)
        means.append(scale * answer.value)
        widths.append(scale * (answer.high - answer.value))
        values = scale * np.array(answer.per_seed)
        axis.plot(
            [shifted] * len(values), values, ".", color=style["color"], alpha=0.5, markersize=4
        )
    if means:
        axis.errorbar(positions, means, widths, label=label, capsize=3, linewidth=1.6, **style)


def _spoken(sweep: Sweep) -> str:
    return "active experts k" if sweep.name == "topk" else sweep.name
