"""Which experts a model asks, by the condition of its input: Figure 5's heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from benchmark.questions import Question
from benchmark.readouts import covers, row_weights
from benchmark.records import RunRecord
from benchmark.table import PredictionTable
from protocols.availability import mask_of, name_of
from protocols.modalities import MODALITIES, Modality
from reports.figures.layout import Frame, Heading, new_figure
from reports.figures.style import colour_map, subtitle
from reports.results import Results, System

_BAR = 1.0
"""Inches for the colour bar."""

INTENSITIES = (0.3, 0.7)

Context = tuple[str, float, int]
"""A row of the heat map: its name, λ and the availability mask."""


@dataclass(frozen=True)
class Routing:
    """The mean routing of one run.

    Attributes:
        contexts: the C rows' names.
        present: the modalities.
        weights: (M, C, E) mean weight of each expert; a row sums to 1.
    """

    contexts: tuple[str, ...]
    present: tuple[Modality, ...]
    weights: NDArray[np.float64]


def contexts(present: Sequence[Modality]) -> list[Context]:
    """Clean; noise at two intensities; each modality missing, and all but each."""
    full = mask_of(tuple(present))
    found: list[Context] = [("clean", 0.0, full)]
    found += [(f"noise λ = {x:g}", x, full) for x in INTENSITIES]
    if len(present) > 1:
        found += [(f"{m} missing", 0.0, full & ~mask_of((m,))) for m in present]
    if len(present) > 2:
        found += [(f"{m} alone", 0.0, mask_of((m,))) for m in present]
    return found


def routing_of(table: PredictionTable, noise_rule: str) -> Routing | None:
    """A run's routing under every context that its table has; None where it keeps no routing."""
    if table.routing is None:
        return None
    names, rows = [], []
    for name, intensity, mask in contexts(table.present):
        question = Question("II", noise_rule, intensity=intensity, available=name_of(mask))
        if covers(table, [question]):
            wanted, weights = row_weights(table.index, table.present, question)
            names.append(name)
            rows.append(np.tensordot(weights, table.routing[wanted], axes=1))
    places = [MODALITIES.index(m) for m in table.present]
    weights = np.stack(rows).astype(np.float64).swapaxes(0, 1)[places]
    return Routing(tuple(names), table.present, weights)


def routed(results: Results) -> list[System]:
    """The systems that have a run which keeps its routing."""
    return [s for s in results.systems if _first(s) is not None]


def _first(system: System) -> RunRecord | None:
    """The first seed's run with routing: experts have no order that two trainings share."""
    return next((r for r in system.records if r.table.routing is not None), None)


def routing_figure(results: Results, system: System, noise_rule: str) -> Figure | None:
    """A panel for each modality: contexts down, experts across. None without any routing."""
    record = _first(system)
    routing = routing_of(record.table, noise_rule) if record else None
    if record is None or routing is None:
        return None
    count, rows, experts = routing.weights.shape
    left = 0.25 + max(map(len, routing.contexts)) / 13.5  # at about 13.5 characters to the inch
    width = left + count * max(2.4, 0.46 * experts) + _BAR
    facts = (
        f"{system.label}, seed {record.spec.seed} · {subtitle(results, [system], seeds=False)} · "
        f"noise rule {noise_rule} · mean weight over test samples"
    )
    head = Heading("Routing by the condition of the input", facts, width)
    frame = Frame(left, 0.5, _BAR, head.band + 0.3, (0.15, 0))
    figure = new_figure(width, frame.below + 0.34 * rows + frame.above)
    axes = frame.panels(figure, 1, count, sharey=True)[0]
    top = float(routing.weights.max())
    for axis, modality, weights in zip(axes, routing.present, routing.weights, strict=True):
        image = _heat(axis, weights, top)
        axis.set_title(modality, loc="left")
        axis.set_xlabel("expert")
    axes[0].set_yticks(range(rows), routing.contexts)
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
