"""The reliability panel: one system's scores, its log-variance and its gate, on one figure.

Everything that tells two things apart does so twice: by colour and by dash, marker or sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from benchmark.questions import grid_questions
from protocols.conditions import LEVELS
from protocols.modalities import Modality
from reports.answer import Answer
from reports.figures.landscapes import ETA, LAMBDA
from reports.figures.layout import Heading, new_figure, panel, size_of
from reports.figures.look import PAGE, Look
from reports.figures.style import COLOURS, INK, MUTED, points, shrink, subtitle
from reports.reliability.scores import by_subset, levels, scored
from reports.reliability.uncertainty import Answered, answered, answered_questions, calibration
from reports.results import Results, System
from reports.sources import Sources
from reports.statistics.ranks import risk_coverage
from reports.views import GATE, SELECTIONS, View, view

Panel = tuple[str, Callable[[Axes], None]]
"""A title and what draws below it."""

_SIDE = 2.6
_ACROSS, _DOWN, _LEFT, _BELOW = _SIDE + 1.1, _SIDE + 0.85, 0.68, 0.5
_BAR, _END = 0.75, 0.15
"""Inches right of the last panel: with the scale of a gate's, and without."""
_LEAST, _TALL = 1.4, 1.7
"""Inches: a panel is no narrower; in print, no taller, so that four fit a page above each other."""
_DASHES = ("-", (0, (4, 1.6)), (0, (1.2, 1.2)))
# No mathtext: its parser would be built anew in every process that writes a figure.
_SCORE: Mapping[Modality, str] = {"text": "rₜ", "audio": "rₐ", "vision": "rᵥ"}
_MARKERS = ("o", "s", "^")


def has_panel(results: Results) -> list[System]:
    """The systems that have reliability scores, each of which gets a figure."""
    return [system for system in results.systems if scored(system)]


def reliability_figure(
    sources: Sources, system: System, noise_rule: str, look: Look = PAGE
) -> Figure | None:
    """The panels that a system's runs allow; None where they allow none."""
    results = sources.results
    panels = [
        *_score_panels(results, system, noise_rule),
        *_uncertainty_panels(results, system),
        *_gate_panels(sources, system, noise_rule),
    ]
    if not panels:
        return None
    columns, between, room = 2 if len(panels) in (2, 4) else 3, _ACROSS - _SIDE, shrink()
    gates = any(title.startswith(GATE) for title, _ in panels)
    end = _BAR if gates else _END
    width, side, tall = _LEFT + _ACROSS * columns - between + end, _SIDE, _SIDE
    if look.width is not None:
        width, between, end = look.width, between * room, end * room
        columns = max(1, min(columns, int(width / (_LEAST + between))))
        side = min(_SIDE, (width - _LEFT * room - end + between) / columns - between)
        tall = min(side, _TALL)
    lines = math.ceil(len(panels) / columns)
    across, down, below = side + between, tall + (_DOWN - _SIDE) * room, _BELOW * room
    facts = f"{subtitle(results, [system])} · noise {noise_rule}"
    if gates:
        facts += " · + gate helps, − gate hurts: 95 % band over all cells"
    head = Heading(f"Reliability: {system.label}", facts, width, look.titles)
    height = below + down * lines + head.band - 0.35 * room
    figure = new_figure(width, height)
    for place, (title, draw) in enumerate(panels):
        line, column = divmod(place, columns)
        left, bottom = _LEFT * room + across * column, below + down * (lines - 1 - line)
        axis = panel(figure, left, bottom, side, tall)
        draw(axis)
        axis.set_title(title, loc="left", fontsize=points(10))
        axis.tick_params(length=3)
    head.put_on(figure)
    return figure


def _score_panels(results: Results, system: System, noise_rule: str) -> list[Panel]:
    try:
        curves = {m: _along_noise(system, noise_rule, m) for m in results.present}
        shares = {m: _by_availability(system, m) for m in results.present}
    except KeyError:  # Protocol II or I was not run
        return []
    return [
        ("Scores under noise", lambda axis: _draw_curves(axis, curves)),
        ("Scores by availability", lambda axis: _draw_availability(axis, shares)),
    ]


def _along_noise(system: System, noise_rule: str, modality: Modality) -> np.ndarray:
    """(8, runs · draws · N) scores by λ, of the samples that have the modality by nature."""
    found = [levels(table, noise_rule, modality) for table in scored(system)]
    return np.concatenate([one.swapaxes(0, 1).reshape(len(LEVELS), -1) for one in found], axis=1)


def _by_availability(system: System, modality: Modality) -> tuple[np.ndarray, np.ndarray]:
    """The scores of every sample and subset that has the modality, and that lacks it."""
    found = [by_subset(table, modality) for table in scored(system)]
    return (
        np.concatenate([scores[~lacks].ravel() for scores, lacks in found]),
        np.concatenate([scores[lacks].ravel() for scores, lacks in found]),
    )


def _draw_curves(axis: Axes, curves: dict[Modality, np.ndarray]) -> None:
    for place, (modality, scores) in enumerate(curves.items()):
        low, high = np.quantile(scores, [0.1, 0.9], axis=1)
        colour = COLOURS[place]
        axis.fill_between(LEVELS, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.plot(
            LEVELS,
            scores.mean(axis=1),
            color=colour,
            linestyle=_DASHES[place],
            marker=_MARKERS[place],
            markersize=4.5,
            label=f"{_SCORE[modality]}, {modality}",
        )
    axis.set(xlabel=LAMBDA, ylabel="rₘ: mean, 10–90 %")
    _scores_axis(axis)
    _plain(axis)
    axis.legend(fontsize=points(8.5), handlelength=3)


def _draw_availability(axis: Axes, shares: dict[Modality, tuple[np.ndarray, np.ndarray]]) -> None:
    """For each modality the middle 80 % and the median of its score, available and missing."""
    for place, sides in enumerate(shares.values()):
        for shift, scores, filled in ((-0.16, sides[0], True), (0.16, sides[1], False)):
            low, middle, high = np.quantile(scores, [0.1, 0.5, 0.9])
            colour = COLOURS[place]
            axis.plot([place + shift] * 2, [low, high], color=colour, linewidth=2.2)
            axis.plot(
                [place + shift],
                [middle],
                marker=_MARKERS[place],
                markersize=7,
                color=colour,
                markerfacecolor=colour if filled else "white",
                linestyle="none",
                clip_on=False,  # a score of 0 stands on the axis
            )
    axis.set_xticks(range(len(shares)), [str(m) for m in shares])
    axis.set_xlim(-0.5, len(shares) - 0.5)
    axis.set(xlabel="filled: available · open: missing", ylabel="rₘ: median, 10–90 %")
    _scores_axis(axis)
    _plain(axis)


def _uncertainty_panels(results: Results, system: System) -> list[Panel]:
    asked = answered_questions(results)
    said = {name: list(answered(system, question).values()) for name, question in asked.items()}
    said = {name: runs for name, runs in said.items() if runs}
    if not said:
        return []
    risk = "MAE" if results.task == "regression" else "error rate"

    def draw_risk(axis: Axes) -> None:
        for place, (name, runs) in enumerate(said.items()):
            grid = np.linspace(0.02, 1, 99)
            line: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)]}
            marker: dict[str, Any] = {
                "marker": _MARKERS[place % len(_MARKERS)],
                "markevery": 14,
                "markersize": 4.5,
            }
            for kind, dash in (("log-variance", "-"), ("oracle", (0, (1.2, 1.2)))):
                curves = []
                for one in runs:
                    by = one.log_variance if kind == "log-variance" else one.risk
                    curves.append(np.interp(grid, *risk_coverage(one.risk, by, one.weight)))
                mean = np.mean(curves, axis=0)
                axis.plot(grid, mean, linestyle=dash, label=f"{name}: {kind}", **line, **marker)
            flat = float(np.mean([one.weight @ one.risk for one in runs]))
            axis.axhline(flat, linewidth=0.9, linestyle=(0, (6, 3)), **line)
        axis.set(xlabel="coverage (share of samples kept)", ylabel=f"{risk} of what is kept")
        axis.set_xlim(0, 1)
        axis.plot([], [], color=MUTED, linewidth=0.9, linestyle=(0, (6, 3)), label="random")
        _plain(axis)
        # Room for the legend above the curves, whose lines are as high on a small panel.
        taken = (0.13 * (2 * len(said) + 1) + 0.1) / size_of(axis)[1]
        axis.set_ylim(0, max(1.55, 1 / (1 - min(taken, 0.7))) * axis.get_ylim()[1])
        axis.legend(fontsize=points(7.5), handlelength=3, loc="upper left")

    panels: list[Panel] = [("Risk–coverage", draw_risk)]
    if results.task == "regression":
        panels.append(
            ("Calibration of the log-variance", lambda axis: _draw_calibration(axis, said))
        )
    return panels


def _draw_calibration(axis: Axes, said: dict[str, list[Answered]]) -> None:
    top = 0.0
    for place, (name, runs) in enumerate(said.items()):
        for number, one in enumerate(runs):
            predicted, observed = calibration(one.risk, one.log_variance, one.weight)
            top = max(
                top, float(observed.max()), min(float(predicted.max()), 2 * float(observed.max()))
            )
            axis.plot(
                predicted,
                observed,
                color=COLOURS[place % len(COLOURS)],
                marker=_MARKERS[place % 3],
                markersize=4,
                linestyle=_DASHES[place % 3],
                linewidth=1.1,
                alpha=0.85,
                label="_" * (number > 0) + name,
            )
    axis.plot([0, top], [0, top], color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
    axis.set(xlim=(0, 1.04 * top), ylim=(0, 1.04 * top))
    axis.set(xlabel="predicted error (root mean σ²)", ylabel="observed error (RMSE)")
    _plain(axis)
    axis.legend(fontsize=points(8), handlelength=3)


def _gate_panels(sources: Sources, system: System, noise_rule: str) -> list[Panel]:
    panels: list[Panel] = []
    for noise, missing in sources.results.variants("grid", "noise_rule", "missing_rule"):
        for metric in SELECTIONS[sources.results.task].grid if noise == noise_rule else ():
            grid = grid_questions(noise, missing)
            found = [sources.answers.get(system, (q,), metric, GATE) for q in grid]
            cells = [one for one in found if one is not None]
            if cells:
                panels.append(_gate_panel(cells, view(metric)))
    return panels


def _gate_panel(found: Sequence[Answer], shown: View) -> Panel:
    def draw(axis: Axes) -> None:
        values = shown.scale * np.array([one.value for one in found]).reshape((len(LEVELS),) * 2)
        reach = max(1.2 * float(np.abs(values).max()), 1e-9)
        good = "PuOr" if shown.higher_is_better else "PuOr_r"
        # Purple is where the gate helps; the signs say it again, and only where it is supported.
        drawn = axis.pcolormesh(
            LEVELS, LEVELS, values.T, cmap=good, norm=TwoSlopeNorm(0, -reach, reach)
        )
        for place, one in zip(product(LEVELS, LEVELS), found, strict=True):
            sign = {"better": "+", "worse": "−"}.get(one.verdict)
            if sign:
                text = axis.text(
                    *place, sign, ha="center", va="center", fontsize=points(12), color=INK
                )
                text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        axis.set(xlabel=LAMBDA, ylabel=ETA)
        bar = axis.figure.colorbar(drawn, cax=axis.inset_axes((1.03, 0, 0.04, 1)))
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=points(7.5))

    return f"{GATE}: {shown.unit}", draw


def _scores_axis(axis: Axes) -> None:
    """Scores lie in [0, 1]; of that the axis shows where these lie, and a tenth at least."""
    axis.margins(y=0.12)
    low, high = axis.get_ylim()
    wide = max(high - low, 0.1)
    low = min(max(0.0, (low + high - wide) / 2), 1 - min(wide, 1.0))
    axis.set_ylim(low, min(1.0, low + wide))
    axis.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))  # of two digits


def _plain(axis: Axes) -> None:
    axis.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
