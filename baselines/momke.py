"""MoMKE, Mixture of Modality Knowledge Experts: experts of one modality, mixed for each stream.

Xu, Jiang, Liang. "Leveraging Knowledge of Modality Experts for Incomplete Multimodal Learning",
ACM Multimedia 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import dropout
from baselines.momke_experts import ExpertStacks
from baselines.pretraining import first_stage_epochs
from baselines.recurrent import order_of
from baselines.subnetworks import masked_mean
from benchmark.interface import (
    BranchedModel,
    DataSpec,
    Loss,
    ModelCard,
    ModelConfig,
    Output,
    Phase,
    Preset,
    Progress,
    task_loss,
)
from protocols.modalities import MODALITIES, Modalities, Modality

_OFFICIAL = "official code"
EXPERTS: tuple[Modality, ...] = ("audio", "text", "vision")
"""The experts, and the blocks of the joint vector, in the official code's order."""


class MoMKEConfig(ModelConfig):
    """Settings of MoMKE."""

    width: int = Field(128, ge=2, description=f"d of every stream; the seed's; {_OFFICIAL} 256")
    heads: int = Field(2, ge=1, description=f"attention heads; {_OFFICIAL}")
    layers: int = Field(4, ge=1, description=f"layers of an expert; {_OFFICIAL}")
    dropout: float = Field(
        0.5, ge=0, lt=1, description=f"on entry, in every MLP, in the head; {_OFFICIAL}"
    )  # fmt: skip
    sequence: Literal["token", "utterance"] = Field(
        "token",
        description="a stream is a clip's steps, averaged after the experts, or their mean as one "
        f"step; ours: in the {_OFFICIAL} a step is an utterance and a sample a whole video",
    )
    expert_share: float = Field(
        0.5, ge=0, lt=1, description=f"share of the epochs that train the experts; {_OFFICIAL}"
    )

    @model_validator(mode="after")
    def _width_fits_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class MoMKE(BranchedModel):
    """MoMKE (Xu et al., ACM MM 2024).

    One expert per modality, a stack of attention blocks. First each learns to predict from its own
    modality alone. Then each modality's stream passes all three, and a router per modality mixes
    what they give, step by step; the three mixtures side by side (3d) go through a residual head.
    Streams never attend to each other.

    Availability is read off the features: a modality is missing where they are zero throughout. A
    missing one's block of the head's input is zero.
    """

    Config = MoMKEConfig
    card = ModelCard(
        title="MoMKE",
        citation="Xu, Jiang, Liang. Leveraging Knowledge of Modality Experts for Incomplete "
        "Multimodal Learning. ACM Multimedia 2024.",
        source="official code read",
        reads_availability=True,
        version=1,
        deviations=(
            "MoMKE on single clips: a sample is one clip and a stream its steps, averaged after "
            "the experts. In the original a sample is a video and a step an utterance, so the "
            "context of the conversation is lost here.",
            "Text is a frozen 768-d sequence; audio and vision are the data set's, not wav2vec "
            "and MANet.",
            "A modality counts as available where any of its features is not zero. That is the "
            "harness's availability, except where token dropout erased every step of a text.",
            "One training for all conditions: both stages get the regime's degraded batches, and "
            "an expert's loss is the mean over the samples that have its modality. The original "
            "trains the experts on complete data, and once per missing pattern.",
            "Each stage has its own Adam and schedule; the original carries one Adam over.",
            "Validation selects among the epochs of the second stage; the original keeps the "
            "epoch that is best on the test set.",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "official": Preset(
            model={"width": 256},
            training={
                "epochs": 300, "batch_size": 32, "learning_rate": 1e-4, "weight_decay": 1e-5,
                "schedule": "constant", "clip_norm": None,
            },
        ),
        "official_mosei": Preset(
            model={"width": 256},
            training={
                "epochs": 100, "batch_size": 32, "learning_rate": 1e-4, "weight_decay": 1e-5,
                "schedule": "constant", "clip_norm": None,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.width": (64, 128, 256),
        "model.layers": (2, 4),
        "model.dropout": (0.1, 0.3, 0.5),
        "model.expert_share": (0.3, 0.5, 0.7),
    }

    def __init__(self, config: MoMKEConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        d, out = config.width, spec.classes if spec.task == "classification" else 1
        self.enter = nn.ModuleDict({m: nn.Linear(spec.widths[m], d) for m in EXPERTS})
        self.experts = ExpertStacks(len(EXPERTS), d, config.heads, config.layers, config.dropout)
        self.own_answer = nn.ModuleDict({m: nn.Linear(d, out) for m in EXPERTS})
        self.router_in = nn.ModuleDict({m: nn.Linear(d, d) for m in EXPERTS})
        self.router_out = nn.ModuleDict({m: nn.Linear(d, len(EXPERTS)) for m in EXPERTS})
        self.head = nn.Linear(3 * d, 3 * d)
        self.answer = nn.Linear(3 * d, out)

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One stream through all experts: "z" (B, d) mixture, "routing" (B, 3) mean weights.

        z is zero where the modality is missing; the routing, in the order t, a, v, is the mean
        over the real steps all the same.
        """
        u, real, valid = self._stream(modality, features, mask)
        x = self.experts(u, valid)
        r = self._route(modality, u)
        share = r * (valid / valid.sum(1, keepdim=True).clamp_min(1))[..., None]
        z = (share.permute(2, 0, 1)[:, :, None] @ x)[:, :, 0].sum(0)
        order = [EXPERTS.index(m) for m in MODALITIES]
        return {"z": z, "routing": torch.stack([masked_mean(r, real)[:, e] for e in order], 1)}

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """The answer from the three mixtures, through a residual layer."""
        joint = torch.cat([encoded[m]["z"] for m in EXPERTS], -1)
        hidden = joint + self._dropout(F.relu(self.head(joint)))
        routing = torch.stack([encoded[m]["routing"] for m in MODALITIES], 1)
        extras = {"z": {m: encoded[m]["z"] for m in MODALITIES}}
        return Output(self._shaped(self.answer(hidden)), routing=routing, extras=extras)

    def phases(self) -> Sequence[Phase]:
        """The experts alone, then the mixture with everything but the experts' own answers."""
        shared = [*self.enter.parameters(), *self.experts.parameters()]
        mixing = chain(*(part.parameters() for part in (
            self.router_in, self.router_out, self.head, self.answer)))  # fmt: skip
        return [
            Phase(
                "experts",
                [{"params": [*shared, *self.own_answer.parameters()]}],
                self.experts_loss,
                lambda progress: progress.epoch < self.first_selectable(progress.epochs),
            ),
            Phase(
                "mixing",
                [{"params": [*shared, *mixing]}],
                self.training_loss,
                lambda progress: progress.epoch >= self.first_selectable(progress.epochs),
            ),
        ]

    def first_selectable(self, epochs: int) -> int:
        """The first epoch of the mixing stage: before it the head is untrained."""
        return first_stage_epochs(self.config.expert_share, epochs)

    def experts_loss(self, batch: Modalities, progress: Progress) -> Loss:
        """The first stage: each expert's loss on the samples that have its modality, summed."""
        assert batch.label is not None
        terms: dict[str, Tensor] = {}
        for number, m in enumerate(EXPERTS):
            u, _, valid = self._stream(m, batch.features[m], batch.masks[m])
            x = masked_mean(self.experts(u, valid, slice(number, number + 1))[0], valid)
            answer = self._shaped(self.own_answer[m](x))
            there = valid.any(1).to(x.dtype)
            each = self._each_loss(answer, batch.label)
            terms[m] = (each * there).sum() / there.sum().clamp_min(1.0)
            terms[f"norm_{m}"] = _mean_norm(x)  # no layer normalises: growth would show here
        return torch.stack([terms[m] for m in EXPERTS]).sum(), terms

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The second stage: squared error (or cross-entropy) of the answer."""
        assert batch.label is not None
        total = task_loss(output, batch.label, self.spec.task, "l2")
        norms = {f"norm_{m}": _mean_norm(z) for m, z in output.extras["z"].items()}
        return total, {"task": total, **norms}

    def _stream(
        self, modality: Modality, features: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """u (B, T', d), and (B, T') which of its steps are real, and which also available.

        Neither attention nor a mean knows the order of steps, so the real ones come first and T'
        is the batch's longest.
        """
        present = (features.any(-1) & mask).any(1)
        if self.config.sequence == "utterance":
            steps, real = masked_mean(features, mask)[:, None], mask.any(1, keepdim=True)
        else:
            order = order_of(mask)
            steps, real = order.front(features), order.front(mask[..., None])[..., 0]
        return self._dropout(self.enter[modality](steps)), real, real & present[:, None]

    def _route(self, modality: Modality, u: Tensor) -> Tensor:
        """(B, T', 3) weights of the experts at each step; dropout acts on the logits too."""
        hidden = self._dropout(F.gelu(self.router_in[modality](u)))
        return self._dropout(self.router_out[modality](hidden)).softmax(-1)

    def _each_loss(self, answer: Tensor, label: Tensor) -> Tensor:
        """(B,) squared errors or cross-entropies."""
        if self.spec.task == "classification":
            return F.cross_entropy(answer, label, reduction="none")
        return (answer - label).square()

    def _shaped(self, answer: Tensor) -> Tensor:
        return answer if self.spec.task == "classification" else answer[:, 0]

    def _dropout(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, self.training)


def _mean_norm(x: Tensor) -> Tensor:
    """The mean length of the rows of (B, d)."""
    return x.detach().norm(dim=1).mean()
