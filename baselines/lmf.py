"""LMF, Low-rank Multimodal Fusion: the tensor product of TFN with a weight of low rank.

Liu, Shen, Lakshminarasimhan, Liang, Zadeh, Morency. "Efficient Low-rank Multimodal Fusion with
Modality-Specific Factors", ACL 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from baselines.subnetworks import TextNetwork, VectorNetwork
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

_MMSA = "the MMSA package's MOSI setting"


class LMFConfig(ModelConfig):
    """Settings of LMF."""

    hidden_text: int = Field(
        128, ge=2, description=f"width of the text LSTM; h_t is half of it; {_MMSA}"
    )
    hidden_audio: int = Field(16, ge=1, description=f"h_a; {_MMSA}")
    hidden_vision: int = Field(
        128, ge=1, description=f"h_v; {_MMSA}; the official code searches {{4, 8, 16}}"
    )
    rank: int = Field(3, ge=1, description=f"rank of the fusion weight; {_MMSA}")
    dropout_audio: float = Field(0.3, ge=0, lt=1, description=f"on the audio vector; {_MMSA}")
    dropout_vision: float = Field(0.3, ge=0, lt=1, description=f"on the vision vector; {_MMSA}")
    factor_lr_scale: float = Field(
        1.0, gt=0, description="learning rate of the factors over that of the rest; official code "
        "searches both, the MMSA package has them equal"
    )  # fmt: skip
    frozen_rank_weights: bool = Field(
        False, description="leave the rank weights and the bias at their initialisation, as the "
        "MMSA package does by an oversight; the official code trains them"
    )  # fmt: skip


class LMF(BranchedModel):
    """LMF (Liu et al., ACL 2018).

    Each modality m becomes a vector z_m = [1; h_m] and, by a factor W_m, R vectors of the output's
    width. Their product over the modalities, summed over the rank with learned weights, equals the
    outer product of the z_m times a weight tensor of rank R, bias added.

    A missing modality multiplies the product by constants.
    """

    Config = LMFConfig
    usual = True
    card = ModelCard(
        title="LMF",
        citation="Liu, Shen, Lakshminarasimhan, Liang, Zadeh, Morency. Efficient Low-rank "
        "Multimodal Fusion with Modality-Specific Factors. ACL 2018.",
        source="official code read",
        version=1,
        deviations=(
            "Text is a frozen 768-d sequence, not word vectors.",
            "The mean of audio and vision is over real steps, and the text LSTM ends at the last "
            "real step; the original counts padding as steps.",
            "The L1 loss is a mean; the official code sums over the batch.",
            "A training batch of one is normalised by the running statistics; the original fails.",
            "The post-fusion dropout is left out: the original constructs and never applies it.",
            "The official code searches all its settings at random: the preset official is what "
            "the MMSA package settled on for MOSI, with the rank weights trained.",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "official": Preset(
            training={
                "batch_size": 64, "learning_rate": 1e-3, "weight_decay": 5e-3,
                "schedule": "constant", "clip_norm": None,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.hidden_text": (64, 128, 256),
        "model.hidden_audio": (4, 8, 16),
        "model.hidden_vision": (4, 8, 16, 128),
        "model.rank": (1, 3, 4, 8, 16),
        "model.dropout_audio": (0.0, 0.1, 0.15, 0.2, 0.3, 0.5),
        "model.dropout_vision": (0.0, 0.1, 0.15, 0.2, 0.3, 0.5),
    }

    def __init__(self, config: LMFConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        widths: dict[Modality, int] = {
            "text": config.hidden_text // 2,
            "audio": config.hidden_audio,
            "vision": config.hidden_vision,
        }
        self.networks = nn.ModuleDict(
            {
                "text": TextNetwork(spec.widths["text"], config.hidden_text, widths["text"]),
                "audio": VectorNetwork(spec.widths["audio"], widths["audio"], config.dropout_audio),
                "vision": VectorNetwork(
                    spec.widths["vision"], widths["vision"], config.dropout_vision
                ),
            }
        )
        out = spec.classes if spec.task == "classification" else 1
        self.factors = nn.ParameterDict(
            {m: _xavier(config.rank, widths[m] + 1, out) for m in MODALITIES}
        )
        trained = not config.frozen_rank_weights
        self.rank_weights = _xavier(1, config.rank).requires_grad_(trained)
        self.bias = nn.Parameter(torch.zeros(out), requires_grad=trained)

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One branch: [1; h_m] W_m as "product" (B, R, out)."""
        h = self.networks[modality](features, mask)
        factor = self.factors[modality]
        return {"product": (factor[:, :1] + h @ factor[:, 1:]).transpose(0, 1)}

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """Multiply the branches and sum over the rank."""
        text, audio, vision = (encoded[m]["product"] for m in MODALITIES)
        answer = (self.rank_weights @ (audio * vision * text))[:, 0] + self.bias
        return Output(answer if self.spec.task == "classification" else answer[:, 0])

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """Mean absolute error for sentiment, cross-entropy for classes."""
        assert batch.label is not None
        total = task_loss(output, batch.label, self.spec.task, "l1")
        return total, {"task": total}

    def phases(self) -> Sequence[Phase]:
        """One pass; the factors may have a learning rate of their own."""
        factors = list(self.factors.values())
        rest = [p for n, p in self.named_parameters() if not n.startswith("factors.")]
        groups: list[Mapping[str, Any]] = [
            {"params": factors, "lr_scale": self.config.factor_lr_scale},
            {"params": rest},
        ]
        return [Phase("train", groups, self.training_loss)]


def _xavier(*shape: int) -> nn.Parameter:
    """Xavier-normal weights, as the official code draws them."""
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(shape)))
