"""What a checkpoint predicts with reliability scores that are not its own.

Two questions about a model whose fusion reads scores r_m. Do they matter: each sample is given
another one's scores of the same condition. Is there anything to win: all samples of a cell (noise
rule, λ, S) are given the same weights, the best of a grid on the validation split; that is what a
perfect detector of the degradation could do by weighing. A model takes given scores through
:meth:`benchmark.interface.BranchedModel.with_reliability`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product

import numpy as np
import torch
from torch import Tensor

from benchmark.data.dataset import Dataset, Split
from benchmark.interface import BranchedModel, MultimodalModel, Output
from benchmark.metrics import LOWER_IS_BETTER, PRIMARY, combine, terms
from benchmark.predict import batch_size_for
from protocols.conditions import NO_RULE, Condition
from protocols.degradation import degrade, keyed_noise, stand_ins_of
from protocols.draws import NO_NOISE
from protocols.missing import as_bools
from protocols.modalities import MODALITIES, Modalities, Modality
from protocols.rules import REWRITING

PERMUTATIONS = 5
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""The values of each modality's weight that are tried."""

Encoded = Mapping[Modality, Mapping[str, Tensor]]
Cell = tuple[str, float, int]
"""Noise rule, λ, availability mask."""


@dataclass(frozen=True)
class _Side:
    """A split, and what degrades it."""

    split: Split
    name: str
    dataset: Dataset

    def encoded(
        self, model: BranchedModel, conditions: Sequence[Condition]
    ) -> Iterator[tuple[Condition, Encoded]]:
        """Each condition's encodings of the whole split; branches run once for a level."""
        for level, group in groupby(conditions, key=lambda c: (c.noise_rule, c.draw, c.intensity)):
            there, missing = self._branches(model, *level)
            for condition in group:
                here = as_bools(condition.mask).tolist()
                chosen = zip(MODALITIES, here, strict=True)
                yield condition, {m: there[m] if h else missing[m] for m, h in chosen}

    def _branches(
        self, model: BranchedModel, rule: str, draw: int, intensity: float
    ) -> tuple[Encoded, Encoded]:
        """Every modality's branch where it is there, and where it is missing."""
        parts: list[tuple[Encoded, Encoded]] = []
        size = batch_size_for(self.split.device)
        for start in range(0, len(self.split), size):
            rows = slice(start, min(len(self.split), start + size))
            samples, ids = self.split.part(rows).without_label(), self.split.sample_ids[rows]
            noise = NO_NOISE
            if rule != NO_RULE:
                noise = keyed_noise(rule, draw, self.name, ids, samples)  # type: ignore[arg-type]
                noise = noise.to(samples.device)
            sigma = self.dataset.sigma_ref
            centre = self.dataset.centre if rule == "fill_mean" else None
            noisy = degrade(samples, intensity, samples.available, noise, sigma, centre)
            if rule in REWRITING:
                noisy = self.split.with_rewritten(noisy, rows, rule, draw, intensity)
            stand_ins = stand_ins_of(samples, intensity, noise, sigma, centre)
            nothing = {m: torch.zeros_like(x) for m, x in noisy.features.items()}
            missing = {m: stand_ins.get(m, nothing[m]) for m in MODALITIES}
            # What is missing has the steps of the clean sample, as in the table.
            parts.append((_encode(model, noisy, noisy.features), _encode(model, samples, missing)))
        there, missing_parts = zip(*parts, strict=True)
        return _joined(there), _joined(missing_parts)


@torch.inference_mode()
def given_scores(
    model: MultimodalModel, dataset: Dataset, conditions: Sequence[Condition]
) -> dict[str, np.ndarray]:
    """The arrays of :class:`benchmark.diagnostics.kept.GivenScores`.

    Args:
        model: the checkpoint, on the data's device.
        dataset: with test and validation split.
        conditions: rows of the model's table; those at a level λ are asked.

    Returns:
        Nothing where the model takes no scores.
    """
    default = BranchedModel.with_reliability
    if not isinstance(model, BranchedModel) or type(model).with_reliability is default:
        return {}
    model.eval()
    asked = [c for c in conditions if not c.joint]
    test = _Side(dataset.splits["test"], "test", dataset)
    first = next(iter(test.encoded(model, asked[:1])))[1]
    own = model.fuse(model.with_relations(first)).reliability
    if own is None or model.with_reliability(first, own) is None:
        return {}
    best = _best_weights(model, _Side(dataset.splits["valid"], "valid", dataset), asked, dataset)
    orders = _permutations(len(dataset.splits["test"]))
    permuted, fixed = [], []
    for condition, encoded in test.encoded(model, asked):
        scores = model.fuse(model.with_relations(encoded)).reliability
        assert scores is not None
        permuted.append(np.stack([_given(model, encoded, scores[order]) for order in orders]))
        fixed.append(_given(model, encoded, best[_cell(condition)].expand_as(scores)))
    return {
        "noise_rule": np.array([c.noise_rule for c in asked]),
        "draw": np.array([c.draw for c in asked]),
        "intensity": np.array([c.intensity for c in asked]),
        "mask": np.array([c.mask for c in asked]),
        "permuted": np.stack(permuted, axis=1),
        "fixed": np.stack(fixed),
        "weights": np.stack([best[_cell(c)].cpu().numpy() for c in asked]),
    }


def _best_weights(
    model: BranchedModel, side: _Side, conditions: Sequence[Condition], dataset: Dataset
) -> dict[Cell, Tensor]:
    """For each cell the weights that score best on validation, over its draws together."""
    tried = torch.tensor(list(product(WEIGHTS, repeat=len(MODALITIES))), device=side.split.device)
    for place, m in enumerate(MODALITIES):  # what a data set lacks has nothing to weigh
        if m not in dataset.spec.present:
            tried = tried[tried[:, place] == 1]
    assert side.split.samples.label is not None
    label = side.split.samples.label.cpu().numpy().astype(np.float64)
    metric = PRIMARY[dataset.spec.task]
    sums: dict[Cell, np.ndarray] = {}
    for condition, encoded in side.encoded(model, conditions):
        rows = (_given(model, encoded, one.expand(len(label), -1)) for one in tried)
        found = np.stack([terms(metric, row, label).sum(axis=0) for row in rows])
        cell = _cell(condition)
        sums[cell] = sums[cell] + found if cell in sums else found
    sign = 1.0 if metric in LOWER_IS_BETTER else -1.0
    return {cell: tried[int(np.argmin(sign * combine(metric, s)))] for cell, s in sums.items()}


def _cell(condition: Condition) -> Cell:
    return condition.noise_rule, condition.intensity, condition.mask


def _given(model: BranchedModel, encoded: Encoded, scores: Tensor) -> np.ndarray:
    """The prediction with given (B, 3) scores."""
    changed = model.with_reliability(encoded, scores)
    assert changed is not None
    output: Output = model.fuse(model.with_relations(changed))
    return output.prediction.float().cpu().numpy()


def _permutations(size: int) -> list[Tensor]:
    """Permutations that are the same for every condition and every model."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randperm(size, generator=generator) for _ in range(PERMUTATIONS)]


def _encode(
    model: BranchedModel, samples: Modalities, features: Mapping[Modality, Tensor]
) -> Encoded:
    return {m: model.encode(m, x, samples.masks[m]) for m, x in features.items()}


def _joined(parts: Sequence[Encoded]) -> Encoded:
    return {
        m: {name: torch.cat([part[m][name] for part in parts]) for name in parts[0][m]}
        for m in MODALITIES
    }
