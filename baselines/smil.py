"""SMIL, Bayesian meta-learning with severely missing modality: priors, noise, an inner step.

Ma, Ren, Zhao, Tulyakov, Wu, Peng. "SMIL: Multimodal Learning with Severely Missing Modality",
AAAI 2021. Its model for sentiment was never released: what follows is a reconstruction, after the
official code for images and sound, for three modalities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from baselines.hiding import draw_shown, incomplete_patterns
from baselines.kernels import dropout
from baselines.pretraining import first_stage_epochs
from baselines.priors import Reservoir
from baselines.recurrent import order_of
from baselines.smil_config import SMILConfig
from baselines.smil_fusion import Draw, Fusion
from baselines.subnetworks import masked_mean
from benchmark.interface import (
    BranchedModel,
    DataSpec,
    Loss,
    ModelCard,
    Output,
    Phase,
    Preset,
    Progress,
    task_loss,
)
from protocols.modalities import MODALITIES, Modalities, Modality

_KEPT = 1024
"""States of each modality that its centres are made of."""


class SMIL(BranchedModel):
    """SMIL (Ma et al., AAAI 2021), reconstructed.

    A GRU's last state stands for each modality. The state of a missing one is made of priors,
    centres of that modality's states, mixed as the other states say. First everything but that
    learns on zeros for what is missing; then k-means makes the centres, and meta-training begins:
    a gradient step on samples with modalities hidden, and at the weights after it the loss of
    the same samples completed, which must resemble the full ones. Learned noise acts there alone.

    Availability is read off the features: a modality is missing where they are zero throughout.
    """

    Config = SMILConfig
    card = ModelCard(
        title="SMIL",
        citation="Ma, Ren, Zhao, Tulyakov, Wu, Peng. SMIL: Multimodal Learning with Severely "
        "Missing Modality. AAAI 2021.",
        source="reconstruction",
        version=1,
        reads_availability=True,
        deviations=(
            "The official code has a model for two modalities (images and sound) and only a data "
            "loader for sentiment. Encoders, widths, pre-training and the extension to three "
            "modalities are ours. No published number on this task was found.",
            "Any modality may be missing and has priors; in the original only sound may be, and "
            "its encoder is trained before and frozen.",
            "The missing modalities are the regime's; of samples that arrive complete some are "
            "hidden in training under every regime, clean included: the method is that. The "
            "original cuts the first rows of the training set.",
            "A modality counts as available where any of its features is not zero. That is the "
            "harness's availability, except where token dropout erased every step of a text.",
            "Gradients stop at the inner step, whose rate is constant; second_order brings the "
            "original's back.",
            "The full samples' error counts too (full_weight), since clean accuracy is reported.",
            "Predictions have the noise of a draw of 0, as the original's, whatever number of "
            "passes it is asked for. Without any (eval_noise_mean false) features are shifted "
            "against those of training: on MOSI, clean, seed 1111, the validation MAE then rises "
            "from 0.92 after pre-training to 1.17, and the epoch kept is the first of "
            "meta-training; with it, it falls to 0.88.",
            "Validation selects among the epochs of meta-training; the original keeps the epoch "
            "that is best on the test set.",
            "One set of encoders for all batches; pre-training is a share of the run's epochs.",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {"paper": Preset(training={"weight_decay": 1e-4})}
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.inner_lr": (1e-4, 1e-3, 1e-2),
        "model.align_weight": (0.001, 0.01, 0.1, 1.0),
        "model.priors": (5, 10, 20),
        "model.noise": ("off", "additive"),
        "model.pretrain_share": (0.1, 0.2),
    }

    patterns: Tensor

    def __init__(self, config: SMILConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        h, outputs = config.width, spec.classes if spec.task == "classification" else 1
        self.encoders = nn.ModuleDict({m: self._encoder(spec.widths[m]) for m in spec.present})
        self.fusion = Fusion(config, len(spec.present), outputs)
        self.reservoir = Reservoir(len(spec.present), _KEPT, h)
        self.fitted = False
        columns = [MODALITIES.index(m) for m in spec.present]
        patterns = incomplete_patterns(spec.present)[:, columns]
        self.register_buffer("patterns", patterns, persistent=False)

    def _encoder(self, width_in: int) -> nn.Module:
        if self.config.encoder == "mean":
            return nn.Linear(width_in, self.config.width)
        return nn.GRU(width_in, self.config.width, batch_first=True)

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One modality's state "z" (B, h), before dropout, and whether it is "there" (B,).

        Nothing for a modality that the data set lacks.
        """
        if modality not in self.spec.present:
            return {}
        there = (features.any(-1) & mask).any(1)
        if self.config.encoder == "mean":
            return {"z": self.encoders[modality](masked_mean(features, mask)), "there": there}
        order = order_of(mask)
        states, _ = self.encoders[modality](order.front(features))
        z = states.take_along_dim(order.last[:, None, None], 1)[:, 0]
        return {"z": z, "there": there}

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """The answer from the states of what is there."""
        z, there = (
            torch.stack([encoded[m][kind] for m in self.spec.present], 1) for kind in ("z", "there")
        )
        draw = None
        if self.config.eval_noise_mean and self.config.noise != "off":
            joint = z.flatten(1)
            draw = torch.zeros_like(joint), torch.zeros_like(z[:, 0])
        return Output(self._shaped(self.fusion(self._dropout(z), there, draw).answer))

    def begin_epoch(self, progress: Progress) -> None:
        """Where meta-training begins, the priors are the centres of the states kept before."""
        start = self.first_selectable(progress.epochs)
        begins = progress.epoch == start and bool(self.reservoir.filled.any())
        if begins:
            self.fit_priors()
        self.fitted = begins or progress.epoch > start

    def first_selectable(self, epochs: int) -> int:
        """The first epoch of meta-training: before it nothing is completed."""
        return first_stage_epochs(self.config.pretrain_share, epochs)

    def fit_priors(self) -> None:
        """k-means of the states kept: from now on missing ones are completed."""
        self.fusion.centres = self.reservoir.centres(self.config.priors).to(self.fusion.centres)
        self.fitted = True

    def phases(self) -> Sequence[Phase]:
        """Encoders and answer on what is there; then everything, by meta-training."""
        plain = (self.encoders, self.fusion.inner, self.fusion.answer)
        return [
            Phase(
                "pretrain",
                [{"params": [p for part in plain for p in part.parameters()]}],
                self.pretrain_loss,
                lambda progress: progress.epoch < self.first_selectable(progress.epochs),
            ),
            Phase(
                "meta",
                [{"params": list(self.parameters())}],
                self.meta_loss,
                lambda progress: progress.epoch >= self.first_selectable(progress.epochs),
            ),
        ]

    def pretrain_loss(self, batch: Modalities, progress: Progress) -> Loss:
        """The first stage: the task's loss, zeros for what is missing, no noise.

        Its last epoch keeps states for the priors.
        """
        assert batch.label is not None
        z, there = self._states(batch)
        if progress.epoch == self.first_selectable(progress.epochs) - 1:
            self.reservoir.add(z, there)
        answer = self.fusion(self._dropout(z) * there[..., None], torch.ones_like(there)).answer
        return self._each_loss(answer, batch.label).mean(), {}

    def meta_loss(self, batch: Modalities, progress: Progress) -> Loss:
        """The second stage: samples with modalities hidden, and the same after a step on them.

        The outer terms are means over the samples that arrive complete. Without an epoch of
        pre-training the priors are made of the first batch.
        """
        assert batch.label is not None
        config = self.config
        z, there = self._states(batch)
        if not self.fitted:
            self.reservoir.add(z, there)
            self.fit_priors()
        z = self._dropout(z)
        view = draw_shown(there, self.patterns) if config.simulate else there
        hidden = self.fusion(z, view, self._draw(z))
        inner = self._each_loss(hidden.answer, batch.label).mean()
        weights, draw = self.adapted(inner), self._draw(z)
        completed, full = (
            functional_call(self.fusion, weights, (z, seen, draw)) for seen in (view, there)
        )
        complete = there.all(1).to(z.dtype)
        share = complete / complete.sum().clamp_min(1.0)
        align = sum(
            ((one - other.detach()).square().mean(1) * share).sum()
            for one, other in ((completed.joint, full.joint), (completed.hidden, full.hidden))
        )
        terms = {
            "inner": inner,
            "completed": (self._each_loss(completed.answer, batch.label) * share).sum(),
            "full": (self._each_loss(full.answer, batch.label) * share).sum(),
            "align": align,
            "noise_joint": full.noise[0],
            "noise_hidden": full.noise[1],
        }
        total = inner + terms["completed"] + config.full_weight * terms["full"]
        return total + config.align_weight * align, terms

    def adapted(self, loss: Tensor) -> dict[str, Tensor]:
        """The weights behind the encoders after a gradient step on a loss, by name."""
        weights = dict(self.fusion.named_parameters())
        gradients = torch.autograd.grad(
            loss,
            list(weights.values()),
            retain_graph=True,
            create_graph=self.config.second_order,
            materialize_grads=True,
        )
        return {
            name: weight - self.config.inner_lr * gradient
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
        }

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The task's loss alone: mean absolute error, or cross-entropy."""
        assert batch.label is not None
        return task_loss(output, batch.label, self.spec.task, "l1"), {}

    def _states(self, batch: Modalities) -> tuple[Tensor, Tensor]:
        """(B, M, h) states and (B, M) which of them are there."""
        found = [self.encode(m, batch.features[m], batch.masks[m]) for m in self.spec.present]
        return torch.stack([e["z"] for e in found], 1), torch.stack([e["there"] for e in found], 1)

    def _draw(self, z: Tensor) -> Draw | None:
        """What the noise of a pass starts from; none at evaluation."""
        if self.config.noise == "off" or not self.training:
            return None
        return torch.randn_like(z.flatten(1)), torch.randn_like(z[:, 0])

    def _each_loss(self, answer: Tensor, label: Tensor) -> Tensor:
        """(B,) absolute errors or cross-entropies."""
        if self.spec.task == "classification":
            return F.cross_entropy(answer, label, reduction="none")
        return (answer[:, 0] - label).abs()

    def _shaped(self, answer: Tensor) -> Tensor:
        return answer if self.spec.task == "classification" else answer[:, 0]

    def _dropout(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, self.training)
