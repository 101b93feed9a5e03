"""Which experts a model asks, by the condition of its input: Figure 5's heat map."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from reports.figures.layout import Frame, Heading, new_figure, size_of
from reports.figures.look import PAGE, Look
from reports.figures.style import colour_map, points, shrink, subtitle
from reports.results import System
from reports.routing import contexts, experts, routed
from reports.sources import Sources

_BAR = 1.0
"""Inches for the colour bar."""
_WORDS = 0.24
"""Inches: a cell that is wider says its weight."""


def routing_figure(
    sources: Sources, system: System, noise_rule: str, look: Look = PAGE
) -> Figure | None:
    """Panels by seed, down, and modality: contexts down, experts across. None without routing."""
    results, known = sources.results, sources.answers.rows
    found = {
        record.spec.seed: {
            name: [experts(known, system, question, m, record.spec.seed) for m in results.present]
            for name, question in contexts(results.present, noise_rule).items()
        }
        for record in routed(system)
    }
    names = [n for n in next(iter(found.values()), {}) if all(one[n][0] for one in found.values())]
    if not names:
        return None
    weights = {
        seed: np.array([one[name] for name in names]).swapaxes(0, 1) for seed, one in found.items()
    }
    count, rows, columns = next(iter(weights.values())).shape
    room, left = shrink(), (0.45 + max(map(len, names)) / 13.5) * shrink()  # 13.5 to the inch
    width = look.width or left + count * max(2.4, 0.46 * columns) + _BAR
    facts = (
        f"{system.label} · {subtitle(results, [system], seeds=False)} · noise rule {noise_rule} · "
        "mean weight over test samples"
    )
    head = Heading("Routing by the condition of the input", facts, width, look.titles)
    frame = Frame(left, 0.5 * room, _BAR * room, head.band + 0.3 * room, (0.15, 0.25 * room))
    height = len(weights) * rows * 0.34 * (0.5 if look.width else 1)
    figure = new_figure(width, frame.below + height + 0.25 * room * len(weights) + frame.above)
    axes = frame.panels(figure, len(weights), count, sharey=True, sharex=True)
    top = max(float(one.max()) for one in weights.values())
    words = (width - left - _BAR * room) / count / columns > _WORDS
    for number, (line, (seed, heats)) in enumerate(zip(axes, weights.items(), strict=True)):
        for axis, modality, heat in zip(line, results.present, heats, strict=True):
            image = _heat(axis, heat, top, words)
            if number == 0:
                axis.set_title(modality, loc="left")
            if number == len(axes) - 1:
                axis.set_xlabel("expert")
        line[0].set_yticks(range(rows), names)
        line[0].set_ylabel(f"seed {seed}")
        line[0].yaxis.set_label_coords(-(left - 0.22 * room) / size_of(line[0])[0], 0.5)
    bar = figure.colorbar(image, cax=axes[0, -1].inset_axes((1.05, 0.0, 0.06, 1.0)))
    bar.set_label("weight")
    bar.outline.set_visible(False)
    head.put_on(figure)
    return figure


def _heat(axis: Axes, weights: NDArray[np.float64], top: float, words: bool) -> AxesImage:
    image = axis.imshow(weights, cmap=colour_map(True), vmin=0.0, vmax=top, aspect="auto")
    for row, line in enumerate(weights if words else ()):
        for expert, weight in enumerate(line):
            ink = "black" if weight > 0.55 * top else "white"
            text = f"{weight:.2f}".removeprefix("0") if weight < 1 else "1"
            axis.text(expert, row, text, ha="center", va="center", color=ink, fontsize=points(7.5))
    count = weights.shape[1]
    shown = [e for e in range(count) if words or e in (0, count - 1)]
    axis.set_xticks(shown, [str(e + 1) for e in shown])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return image
