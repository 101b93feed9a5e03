"""Missing modalities as the field evaluates them: one drawn subset for each sample."""

from __future__ import annotations

import numpy as np

from benchmark.metrics import evaluate
from benchmark.readouts import Metrics, mean_over
from benchmark.table import PredictionTable
from protocols.conditions import at_level
from protocols.draws import missing_uniforms
from protocols.missing import as_masks, draw_availability, share_over_batches
from protocols.rules import MissingRule, NoiseRule


def cell_single_draw(
    table: PredictionTable,
    rule: NoiseRule,
    intensity: float,
    rate: float,
    missing_rule: MissingRule = "bernoulli",
    draws: int | None = None,
    batch_size: int = 16,
) -> Metrics:
    """The metrics at (λ, η) with one drawn subset per sample, as the field evaluates.

    Kept beside the exact :func:`cell` for comparison; it converges to it as draws grow. The
    missing draw is keyed like the noise draw. ``batch_size`` groups samples for imder_batch.
    """
    results = []
    for draw in range(draws or table.draws):
        uniforms = missing_uniforms(draw, "test", table.sample_ids)
        if missing_rule == "imder_batch":
            uniforms = share_over_batches(uniforms, batch_size)
        masks = as_masks(draw_availability(missing_rule, rate, uniforms, table.present)).numpy()
        noise_draw = draw % table.draws
        rows = {
            m: table.row(at_level(rule, noise_draw, intensity, m))
            for m in np.unique(masks).tolist()
        }
        index = np.array([rows[m] for m in masks.tolist()])
        drawn = table.prediction[index, np.arange(len(index))]
        results.append(evaluate(table.task, drawn, table.label))
    return mean_over(iter(results))
