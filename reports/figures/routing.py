"""Which experts a model asks, by the condition of its input: Figure 5's heat map."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from reports.figures.layout import Frame, Heading, new_figure
from reports.figures.style import colour_map, subtitle
from reports.results import System
from reports.routing import contexts, experts, first_routed
from reports.sources import Sources

_BAR = 1.0
"""Inches for the colour bar."""


def routing_figure(sources: Sources, system: System, noise_rule: str) -> Figure | None:
    """A panel for each modality: contexts down, experts across. None without any routing."""
    results, record = sources.results, first_routed(system)
    known = sources.answers.rows
    found = {
        name: [experts(known, system, question, m) for m in results.present]
        for name, question in contexts(results.present, noise_rule).items()
    }
    names = [name for name, weights in found.items() if weights[0]]
    if record is None or not names:
        return None
    weights = np.array([found[name] for name in names]).swapaxes(0, 1)
    count, rows, columns = weights.shape
    left = 0.25 + max(map(len, names)) / 13.5  # at about 13.5 characters to the inch
    width = left + count * max(2.4, 0.46 * columns) + _BAR
    facts = (
        f"{system.label}, seed {record.spec.seed} · {subtitle(results, [system], seeds=False)} · "
        f"noise rule {noise_rule} · mean weight over test samples"
    )
    head = Heading("Routing by the condition of the input", facts, width)
    frame = Frame(left, 0.5, _BAR, head.band + 0.3, (0.15, 0))
    figure = new_figure(width, frame.below + 0.34 * rows + frame.above)
    axes = frame.panels(figure, 1, count, sharey=True)[0]
    top = float(weights.max())
    for axis, modality, heat in zip(axes, results.present, weights, strict=True):
        image = _heat(axis, heat, top)
        axis.set_title(modality, loc="left")
        axis.set_xlabel("expert")
    axes[0].set_yticks(range(rows), names)
    bar = figure.colorbar(image, cax=axes[-1].inset_axes((1.05, 0.0, 0.06, 1.0)))
    bar.set_label("weight")
    bar.outline.set_visible(False)
    head.put_on(figure)
    return figure


def _heat(axis: Axes, weights: NDArray[np.float64], top: float) -> AxesImage:
    image = axis.imshow(weights, cmap=colour_map(True), vmin=0.0, vmax=top, aspect="auto")
    for row, line in enumerate(weights):
        for expert, weight in enumerate(line):
            ink = "black" if weight > 0.55 * top else "white"
            text = f"{weight:.2f}".removeprefix("0") if weight < 1 else "1"
            axis.text(expert, row, text, ha="center", va="center", color=ink, fontsize=7.5)
    axis.set_xticks(range(weights.shape[1]), [str(e + 1) for e in range(weights.shape[1])])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return image
