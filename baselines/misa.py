"""MISA: modality-invariant and modality-specific codes, fused by a transformer layer.

Hazarika, Zimmermann, Poria. "MISA: Modality-Invariant and -Specific Representations for
Multimodal Sentiment Analysis", ACM Multimedia 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import dropout
from baselines.misa_loss import ReverseGradient, central_moment_discrepancy, difference_loss
from baselines.postnorm import PostNormLayer
from baselines.recurrent import LSTM, order_of
from baselines.subnetworks import masked_mean
from benchmark.interface import (
    BranchedModel,
    DataSpec,
    Loss,
    ModelCard,
    ModelConfig,
    Output,
    Preset,
    Progress,
    task_loss,
)
from protocols.modalities import MODALITIES, Modalities, Modality

_OFFICIAL = "official code"
_CODES = ("private", "shared")
HEADS, FUSION_DROPOUT = 2, 0.1
SHARED_OR_PRIVATE = 4
FUSION_ORDER: tuple[Modality, ...] = ("text", "vision", "audio")
"""The modalities as the official code stacks them."""


class MISAConfig(ModelConfig):
    """Settings of MISA."""

    width: int = Field(
        128, ge=2, multiple_of=HEADS, description=f"h, of every code; {_OFFICIAL}, the seed's d"
    )
    text_path: Literal["mean", "bilstm"] = Field(
        "mean",
        description="mean: the average of the text features, the official BERT path without "
        "fine-tuning; bilstm: features to width h, then the two LSTMs of the official GloVe path",
    )
    dropout: float = Field(
        0.5, ge=0, lt=1, description=f"in the head; {_OFFICIAL}; MMSA package 0.2 for MOSI"
    )
    feed_forward: int = Field(
        2048, ge=1, description=f"hidden width of the transformer layer; {_OFFICIAL}"
    )
    similarity: Literal["cmd", "adversarial"] = Field(
        "cmd",
        description=f"what draws the shared codes together; {_OFFICIAL}: cmd; "
        "adversarial in the MIntRec baselines",
    )
    difference_weight: float = Field(
        0.3, ge=0, description=f"w_diff; {_OFFICIAL}; MMSA package 0.1 for MOSI"
    )
    similarity_weight: float = Field(
        1.0, ge=0, description=f"w_sim; {_OFFICIAL}; MMSA package 0.3 for MOSI"
    )
    reconstruction_weight: float = Field(1.0, ge=0, description=f"w_rec; {_OFFICIAL}")
    reverse_gradient: float = Field(
        0.8, ge=0, description="weight of the reversed gradient; used by similarity adversarial; "
        "MMSA package"
    )  # fmt: skip


class MISA(BranchedModel):
    """MISA (Hazarika et al., ACM MM 2020).

    A modality becomes one vector u_m: the mean of the text, or the final states of two stacked
    bidirectional LSTMs. From it come a private code p_m, and a shared code c_m by one layer for
    all modalities; u_m is rebuilt from p_m + c_m. The six codes pass a transformer layer as a
    sequence, and a head predicts from all of them.

    A zero modality gives a vector that only depends on its length.
    """

    Config = MISAConfig
    card = ModelCard(
        title="MISA",
        citation="Hazarika, Zimmermann, Poria. MISA: Modality-Invariant and -Specific "
        "Representations for Multimodal Sentiment Analysis. ACM Multimedia 2020.",
        source="official code read",
        version=1,
        deviations=(
            "Text is a frozen 768-d sequence: no fine-tuning of BERT.",
            "Each modality has its own mask; the official code shares the text's lengths.",
            "The official code's 4-way shared/private discriminator is in no loss: it is kept, "
            "frozen, so that the number of parameters is the published one.",
            "Moment distances are sqrt(x + 1e-12), finite where two shared codes coincide.",
            "Weight decay in the preset paper is the seed paper's common one; the original's is 0.",
            "The preset official has a fixed number of epochs, not early stopping.",
            "The preset mmsa has no gradient accumulation: one batch of 32 stands for the "
            "package's 2 summed micro-batches of 16, and its value clipping at 0.8 of their sum "
            "for 0.4 of the mean. The difference and moment terms are statistics of a batch: here "
            "of 32 samples, in the package of 16.",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "official": Preset(
            training={
                "epochs": 60, "batch_size": 64, "learning_rate": 1e-4, "weight_decay": 0.0,
                "schedule": "constant", "clip_norm": None, "clip_value": 1.0,
            },
        ),
        "mmsa": Preset(
            model={"dropout": 0.2, "difference_weight": 0.1, "similarity_weight": 0.3},
            training={
                "batch_size": 32, "learning_rate": 1e-4, "weight_decay": 0.0,
                "schedule": "constant", "clip_norm": None, "clip_value": 0.4,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.width": (64, 128, 256),
        "model.dropout": (0.1, 0.2, 0.5),
        "model.difference_weight": (0.1, 0.3, 0.7),
        "model.similarity_weight": (0.3, 0.7, 1.0),
        "model.reconstruction_weight": (0.6, 0.8, 1.0),
    }

    def __init__(self, config: MISAConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        h = config.width
        self.vectors = nn.ModuleDict({m: self._vector(m) for m in MODALITIES})
        self.private = nn.ModuleDict({m: nn.Linear(h, h) for m in MODALITIES})
        self.shared = nn.Linear(h, h)
        self.rebuild = nn.ModuleDict({m: nn.Linear(h, h) for m in MODALITIES})
        self.shared_or_private = nn.Linear(h, SHARED_OR_PRIVATE).requires_grad_(False)
        if config.similarity == "adversarial":
            self.discriminate_in = nn.Linear(h, h)
            self.discriminate = nn.Linear(h, len(MODALITIES))
        self.mix = PostNormLayer(h, HEADS, config.feed_forward, FUSION_DROPOUT)
        self.head = nn.Linear(6 * h, 3 * h)
        self.answer = nn.Linear(3 * h, spec.classes if spec.task == "classification" else 1)

    def _vector(self, modality: Modality) -> nn.Module:
        h, width = self.config.width, self.spec.widths[modality]
        if modality != "text":
            return SequenceVector(width, h)
        if self.config.text_path == "mean":
            return MeanVector(width, h)
        return SequenceVector(h, h, project_from=width)

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One branch: "vector" u_m, "private" p_m, "shared" c_m and "rebuilt", each (B, h)."""
        vector = self.vectors[modality](features, mask)
        private = self.private[modality](vector).sigmoid()
        shared = self.shared(vector).sigmoid()
        rebuilt = self.rebuild[modality](private + shared)
        return {"vector": vector, "private": private, "shared": shared, "rebuilt": rebuilt}

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """The six codes through the transformer layer and the head.

        The extras are the encodings of :meth:`encode`, each stacked to (3, B, h) in the order
        text, vision, audio.
        """
        codes = torch.stack([encoded[m][kind] for kind in _CODES for m in FUSION_ORDER], 1)
        hidden = dropout(self.head(self.mix(codes).flatten(1)), self.config.dropout, self.training)
        answer = self.answer(F.relu(hidden))
        extras = {
            kind: torch.stack([encoded[m][kind] for m in FUSION_ORDER])
            for kind in ("vector", "private", "shared", "rebuilt")
        }
        prediction = answer if self.spec.task == "classification" else answer[:, 0]
        return Output(prediction, extras=extras)

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The task's loss, and difference, similarity and reconstruction with their weights."""
        assert batch.label is not None
        config, extras = self.config, output.extras
        terms = {
            "task": task_loss(output, batch.label, self.spec.task, "l2"),
            "difference": difference_loss(extras["private"], extras["shared"]),
            "similarity": self._similarity(extras["shared"]),
            "reconstruction": F.mse_loss(extras["rebuilt"], extras["vector"]),
        }
        total = (
            terms["task"]
            + config.difference_weight * terms["difference"]
            + config.similarity_weight * terms["similarity"]
            + config.reconstruction_weight * terms["reconstruction"]
        )
        return total, terms

    def _similarity(self, shared: Tensor) -> Tensor:
        """How unlike the (3, B, h) shared codes are."""
        if self.config.similarity == "cmd":
            return central_moment_discrepancy(shared)
        reversed_ = ReverseGradient.apply(shared.flatten(0, 1), self.config.reverse_gradient)
        hidden = F.relu(self.discriminate_in(reversed_))
        logits = self.discriminate(dropout(hidden, self.config.dropout, self.training))
        modality = torch.arange(len(shared), device=shared.device)
        return F.cross_entropy(logits, modality.repeat_interleave(shared.shape[1]))


class MeanVector(nn.Module):
    """The mean of the real steps, to width h: Linear, ReLU, LayerNorm."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width_in, width)
        self.normalise = nn.LayerNorm(width)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) and a (B, T) mask to (B, h)."""
        return self.normalise(F.relu(self.project(masked_mean(features, mask))))


class SequenceVector(nn.Module):
    """Two bidirectional LSTMs as wide as their input, a LayerNorm between, to width h.

    The four final states side by side (4d) go through Linear, ReLU, LayerNorm.

    Args:
        width_in: d.
        width: h.
        project_from: width of the features, where they come to width d by a layer first.
    """

    def __init__(self, width_in: int, width: int, project_from: int | None = None) -> None:
        super().__init__()
        self.enter = nn.Identity() if project_from is None else nn.Linear(project_from, width_in)
        self.first = LSTM(width_in, width_in, bidirectional=True)
        self.between = nn.LayerNorm(2 * width_in)
        self.second = LSTM(2 * width_in, width_in, bidirectional=True)
        self.project = nn.Linear(4 * width_in, width)
        self.normalise = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if "weight_hh" in name:  # official code
                nn.init.orthogonal_(parameter)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) and a (B, T) mask to (B, h)."""
        order = order_of(mask)
        steps, first = self.first(self.enter(order.front(features)), order)
        second = self.second.final_in(self.between(steps), order)
        return self.normalise(F.relu(self.project(torch.cat([first, second], -1))))
