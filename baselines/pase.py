"""PaSE: class prototypes that calibrate the fusion, and gradients evened by Shapley values.

He, Chen, Ding, Li, Teng, Ji. "PaSE: Prototype-aligned Calibration and Shapley-based Equilibrium
for Multimodal Sentiment Analysis", AAAI 2026. The released code cannot train its second stage;
what follows is a reconstruction from its parts, the supplement and a third party's equations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import dropout
from baselines.momke import EXPERTS
from baselines.momke_experts import ExpertStacks
from baselines.pase_config import PaSEConfig
from baselines.prototypes import Prototypes, Transport, batch_means, transport
from baselines.recurrent import order_of
from baselines.shapley import gradient_factors, shapley_values
from baselines.subnetworks import masked_mean
from benchmark.interface import (
    BranchedModel,
    DataSpec,
    Loss,
    ModelCard,
    Output,
    Preset,
    Progress,
    task_loss,
)
from protocols.modalities import MODALITIES, Modalities, Modality

_SENTIMENTS = 7
_GATE_WIDTH = 16
_OMEGA_WEIGHT = 0.05
_NO_WEIGHT = 1e-8
_SURE = 1e-6
PAIRS = tuple(combinations(range(len(MODALITIES)), 2))
"""Pairs of modalities by position: ta, tv, av."""


class PaSE(BranchedModel):
    """PaSE (He et al., AAAI 2026), reconstructed.

    Each modality has MoMKE's encoder, the mean over real steps of a stack of attention blocks, and
    a prototype of each class: a running mean of its vectors h_m. Regression's classes are the
    seven rounded sentiments. In the fusion a modality counts by how near h_m is to some prototype,
    through a small gate, and by how sure it is which; the weighted h_m side by side (3d) go through
    MoMKE's residual head. Training also pulls samples to their class and the modalities' prototypes
    to each other. In the last third of the epochs an encoder's gradients are damped the more, the
    more its modality contributes by its Shapley value.

    Availability is read off the features: a modality is missing where they are zero throughout. Its
    weight is then zero. The reliability is gate times sureness, before they are normalised.
    """

    Config = PaSEConfig
    card = ModelCard(
        title="PaSE",
        citation="He, Chen, Ding, Li, Teng, Ji. PaSE: Prototype-aligned Calibration and "
        "Shapley-based Equilibrium for Multimodal Sentiment Analysis. AAAI 2026.",
        source="reconstruction",
        reads_availability=True,
        version=1,
        deviations=(
            "The released code stops with a shape error in its second stage; its prototypes have "
            "one class for sentiment, its auxiliary losses no gradient, its gate is never on. The "
            "supplement and a third party's equations are followed, the code for constants. The "
            "paper's main text was not available: no number here is a reproduction of theirs.",
            "Ours, for want of a source: seven classes of rounded sentiments, the places of gate "
            "and entropy in the fusion, the temperature, and that the transport's gradient is that "
            "of the batch's means.",
            "Transport is between prototypes of unit length, in the log domain: with raw ones the "
            "code's kernel vanishes. Its regulariser aims at I / K; the code's at I, which no plan "
            "can be (omega_target). Its consistency term is always 0 and left out.",
            "Shapley values are exact, of the last epoch's losses; the code samples 200 orders and "
            "takes the prototypes' variance. They act in every step of the last epochs on all of "
            "an encoder; in the code in every fifth epoch on the input layers.",
            "Modulation begins at a share of the epochs, not when validation stalls.",
            "Adam divides by the gradient's own size: a constant factor changes almost nothing, "
            "only its changes, clipping and weight decay see it. So it is in the original; what "
            "modulation seems to be worth is to be read with that.",
            "MoMKE's encoders on single clips: a stream is a clip's steps, not a conversation's.",
            "One training for all conditions, on the regime's degraded batches; the code trains "
            "one model per missing pattern, and reports the epoch that is best on the test set.",
            "A modality counts as available where any of its features is not zero. That is the "
            "harness's availability, except where token dropout erased every step of a text.",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "official": Preset(
            model={
                "width": 256, "intra_weight": 0.1, "inter_weight": 0.2, "sinkhorn_iterations": 200,
            },
            training={
                "epochs": 200, "batch_size": 64, "learning_rate": 1e-4, "weight_decay": 1e-5,
                "schedule": "constant", "clip_norm": None,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.intra_weight": (0.01, 0.1),
        "model.inter_weight": (0.0, 0.1, 0.2),
        "model.temperature": (0.05, 0.1, 0.5),
        "model.rho": (0.4, 0.6, 0.8),
        "model.switch_share": (0.3, 0.5, 0.67, 1.0),
    }

    phi: Tensor
    intra_sum: Tensor
    inter_sum: Tensor
    batches: Tensor

    def __init__(self, config: PaSEConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        regression = spec.task == "regression"
        self.classes = _SENTIMENTS if regression else spec.classes
        if self.classes < 2:
            raise ValueError("PaSE needs two classes or more: an entropy of one class is nothing")
        d, out = config.width, 1 if regression else spec.classes
        self.enter = nn.ModuleDict({m: nn.Linear(spec.widths[m], d) for m in EXPERTS})
        self.experts = nn.ModuleDict(
            {m: ExpertStacks(1, d, config.heads, config.layers, config.dropout) for m in EXPERTS}
        )
        self.own_answer = nn.ModuleDict({m: nn.Linear(d, out) for m in EXPERTS})
        self.gate = nn.Sequential(
            nn.Linear(1, _GATE_WIDTH), nn.ReLU(), nn.Linear(_GATE_WIDTH, 1), nn.Sigmoid()
        )
        self.head = nn.Linear(3 * d, 3 * d)
        self.answer = nn.Linear(3 * d, out)
        self.prototypes = Prototypes(len(MODALITIES), self.classes, d)
        # What an epoch leaves for the next one: factors, and the losses that they are made of.
        self.register_buffer("phi", torch.ones(len(MODALITIES)))
        self.register_buffer("intra_sum", torch.zeros(len(MODALITIES)))
        self.register_buffer("inter_sum", torch.zeros(len(PAIRS)))
        self.register_buffer("batches", torch.zeros(()))

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One modality's "h" (B, d), zero where it is missing, and whether it is "there" (B,).

        In training the gradient that comes back to h is multiplied by the modality's factor.
        """
        there = (features.any(-1) & mask).any(1)
        order = order_of(mask)  # attention does not know it: real steps first, none of padding
        valid = order.front(mask[..., None])[..., 0] & there[:, None]
        u = self._dropout(self.enter[modality](order.front(features)))
        h = masked_mean(self.experts[modality](u, valid)[0], valid)
        if self.training and h.requires_grad:
            factor = self.phi[MODALITIES.index(modality)]
            h.register_hook(lambda gradient: gradient * factor)
        return {"h": h, "there": there}

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """The answer from the weighted vectors.

        The extras: "h" (B, 3, d), "there" (B, 3) and "weights" (B, 3), in the order t, a, v.
        """
        h, there = (torch.stack([encoded[m][x] for m in MODALITIES], 1) for x in ("h", "there"))
        trust = self._trust(h)
        counted = trust * there
        weights = counted / (counted.sum(1, keepdim=True) + _NO_WEIGHT)
        scaled = (there.sum(1, keepdim=True) * weights)[..., None] * h
        joint = torch.cat([scaled[:, MODALITIES.index(m)] for m in EXPERTS], -1)
        hidden = joint + self._dropout(F.relu(self.head(joint)))
        return Output(
            self._shaped(self.answer(hidden)),
            reliability=counted.detach().clamp(_SURE, 1.0 - _SURE),
            extras={"h": h, "there": there, "weights": weights},
        )

    def _trust(self, h: Tensor) -> Tensor:
        """(B, 3) gate of the nearest prototype's similarity, times exp of minus the entropy."""
        similarities = self.prototypes.similarities(h)
        gate = self.gate(self.prototypes.largest(similarities)[..., None])[..., 0]
        log_p = self.prototypes.log_shares(similarities, self.config.temperature)
        entropy = -(log_p.exp() * log_p).sum(-1) / math.log(self.classes)
        return gate * torch.exp(-entropy)

    def modulated(self, progress: Progress) -> bool:
        """Whether gradients are modulated in an epoch: the second phase."""
        return progress.epoch >= math.ceil(round(self.config.switch_share * progress.epochs, 6))

    @torch.no_grad()
    def begin_epoch(self, progress: Progress) -> None:
        """In the second phase, factors from the last epoch's losses; then their sums begin anew."""
        if self.modulated(progress):
            number = self.batches.clamp_min(1.0)
            places = [MODALITIES.index(m) for m in self.spec.present]
            inter = {
                (one, other): self.inter_sum[PAIRS.index((places[one], places[other]))] / number
                for one, other in combinations(range(len(places)), 2)
            }
            intra = torch.stack([self.intra_sum[place] / number for place in places])
            factors = gradient_factors(shapley_values(intra, inter, self.config.rho))
            for place, factor in zip(places, factors, strict=True):
                self.phi[place] = factor
        for kept in (self.intra_sum, self.inter_sum, self.batches):
            kept.zero_()

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The task's error, the modalities' own in the first phase, and the prototypes' two.

        In training the prototypes first take in the batch. The curves also show the factors.
        """
        assert batch.label is not None
        h, there = output.extras["h"], output.extras["there"]
        classes = self._classes(batch.label)
        means = batch_means(h, there, classes, self.classes)
        if self.training:
            self.prototypes.update(means)
        log_p = self.prototypes.log_shares(self.prototypes.similarities(h), self.config.temperature)
        from_class = -log_p.gather(2, classes[:, None, None].expand(-1, h.shape[1], 1))[..., 0]
        apart = self._apart(self.prototypes.with_gradient(means))
        inter = apart.match + _OMEGA_WEIGHT * apart.omega
        intra = (from_class * there).sum(0) / there.sum(0).clamp_min(1)
        if self.training:
            self._remember(intra, inter)
        terms = {
            "task": task_loss(output, batch.label, self.spec.task, "l2"),
            "intra": _mean_of(from_class, there),
            "inter": inter.sum(),
        }
        total = terms["task"] + self.config.intra_weight * terms["intra"]
        total = total + self.config.inter_weight * terms["inter"]
        if not self.modulated(progress):
            terms["unimodal"] = _mean_of(self._own_losses(h, batch.label), there)
            total = total + terms["unimodal"]
        for place, m in enumerate(MODALITIES):
            terms[f"phi_{m}"] = self.phi[place].clone()
            terms[f"weight_{m}"] = output.extras["weights"][:, place].mean()
        return total, terms

    def _classes(self, label: Tensor) -> Tensor:
        """(B,) the class, of a sentiment its rounding to -3 ... 3; halves go to the even one."""
        if self.spec.task == "classification":
            return label
        return (label.clamp(-3.0, 3.0).round() + 3.0).long()

    def _apart(self, prototypes: Tensor) -> Transport:
        """The transport between the pairs' prototypes (3, K, d), over the classes seen in both."""
        seen, config = self.prototypes.seen > 0, self.config
        one, other, first, second = (
            torch.stack([x[pair[side]] for pair in PAIRS])
            for x in (prototypes, seen)
            for side in (0, 1)
        )
        shared = first & second
        return transport(one, other, shared, config.sinkhorn_iterations, config.omega_target)

    @torch.no_grad()
    def _remember(self, intra: Tensor, inter: Tensor) -> None:
        """Add a batch's losses to the epoch's."""
        self.intra_sum += intra
        self.inter_sum += inter
        self.batches += 1

    def _own_losses(self, h: Tensor, label: Tensor) -> Tensor:
        """(B, 3) squared errors or cross-entropies of the modalities' own answers."""
        found = []
        for place, m in enumerate(MODALITIES):
            answer = self._shaped(self.own_answer[m](h[:, place]))
            if self.spec.task == "classification":
                found.append(F.cross_entropy(answer, label, reduction="none"))
            else:
                found.append((answer - label).square())
        return torch.stack(found, 1)

    def _shaped(self, answer: Tensor) -> Tensor:
        return answer if self.spec.task == "classification" else answer[:, 0]

    def _dropout(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, self.training)


def _mean_of(x: Tensor, there: Tensor) -> Tensor:
    """The mean of (B, 3) over what is there; 0 where nothing is."""
    return (x * there).sum() / there.sum().clamp_min(1)
