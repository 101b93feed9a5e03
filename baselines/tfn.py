"""TFN, the Tensor Fusion Network: the outer product of [1; text], [1; audio] and [1; vision].

Zadeh, Chen, Poria, Cambria, Morency. "Tensor Fusion Network for Multimodal Sentiment Analysis",
EMNLP 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.subnetworks import TextNetwork, VectorNetwork
from baselines.tensor_product import product_linear
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
from protocols.modalities import Modalities, Modality

_MMSA = "the MMSA package's MOSI setting"
LARGEST_LABEL = 3.0


class TFNConfig(ModelConfig):
    """Settings of TFN."""

    hidden_text: int = Field(128, ge=1, description=f"width of the text LSTM; {_MMSA}")
    text_out: int = Field(32, ge=1, description=f"width of the text vector; {_MMSA}")
    hidden_audio: int = Field(32, ge=1, description=f"width of the audio vector; {_MMSA}")
    hidden_vision: int = Field(128, ge=1, description=f"width of the vision vector; {_MMSA}")
    post_width: int = Field(64, ge=1, description=f"width of the layers after fusion; {_MMSA}")
    dropout_audio: float = Field(0.3, ge=0, lt=1, description=f"on the audio vector; {_MMSA}")
    dropout_vision: float = Field(0.3, ge=0, lt=1, description=f"on the vision vector; {_MMSA}")
    dropout_post: float = Field(0.5, ge=0, lt=1, description=f"on the product; {_MMSA}")


class TFN(BranchedModel):
    """TFN (Zadeh et al., EMNLP 2017).

    Each modality becomes a vector with a 1 in front; the outer product of the three holds every
    unimodal, bimodal and trimodal product, and a network of three layers reads it. Sentiment is
    squashed to (-3, 3).

    A zero modality gives a constant vector; by the ones, the products of the others stay alive.
    """

    Config = TFNConfig
    usual = True
    card = ModelCard(
        title="TFN",
        citation="Zadeh, Chen, Poria, Cambria, Morency. Tensor Fusion Network for Multimodal "
        "Sentiment Analysis. EMNLP 2017.",
        source="re-implementation read",
        version=1,
        deviations=(
            "After two published re-implementations that agree on the network (Justin1904's "
            "TensorFusionNetworks and the MMSA package); the authors' own code was not read.",
            "Text is a frozen 768-d sequence, not word vectors.",
            "The mean of audio and vision is over real steps, and the text LSTM ends at the last "
            "real step; the re-implementations count padding as steps.",
            "A training batch of one is normalised by the running statistics; the original fails.",
            "The preset official is the MMSA package's setting for MOSI, without early stopping.",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "official": Preset(
            training={
                "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.0,
                "schedule": "constant", "clip_norm": None,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.hidden_text": (64, 128, 256),
        "model.hidden_audio": (4, 8, 16, 32),
        "model.hidden_vision": (16, 32, 128),
        "model.text_out": (32, 64, 128),
        "model.post_width": (16, 32, 64, 128),
        "model.dropout_post": (0.2, 0.3, 0.4, 0.5),
    }

    def __init__(self, config: TFNConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        self.networks = nn.ModuleDict(
            {
                "text": TextNetwork(spec.widths["text"], config.hidden_text, config.text_out),
                "audio": VectorNetwork(
                    spec.widths["audio"], config.hidden_audio, config.dropout_audio
                ),
                "vision": VectorNetwork(
                    spec.widths["vision"], config.hidden_vision, config.dropout_vision
                ),
            }
        )
        self.rest = (config.hidden_audio + 1) * (config.text_out + 1)
        self.post_in = nn.Linear((config.hidden_vision + 1) * self.rest, config.post_width)
        self.post_inner = nn.Linear(config.post_width, config.post_width)
        self.answer = nn.Linear(
            config.post_width, spec.classes if spec.task == "classification" else 1
        )

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One branch: "z" (B, w + 1), a 1 and the modality's vector.

        For vision, when not training, instead "slices" (B, P, (h_a + 1)(o_t + 1)): the first
        layer's weight with vision already worked in. That is nearly all the work of the layer, and
        here it is done once for all combinations with the other two. (Training drops entries of
        the product itself, so it has to be there.)
        """
        z = F.pad(self.networks[modality](features, mask), (1, 0), value=1.0)
        if modality == "vision" and not self.training:
            weight = self.post_in.weight.unflatten(1, (-1, self.rest))
            return {"slices": torch.matmul(z, weight).transpose(0, 1)}
        return {"z": z}

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """The outer product and what reads it."""
        text, audio = (encoded[m]["z"] for m in ("text", "audio"))
        pairs = torch.bmm(audio[:, :, None], text[:, None, :]).flatten(1)
        if "slices" in encoded["vision"]:
            post = torch.bmm(encoded["vision"]["slices"], pairs[..., None])[..., 0]
            post = post + self.post_in.bias
        else:
            weights = self.post_in.weight, self.post_in.bias
            rate = self.config.dropout_post
            post = product_linear(encoded["vision"]["z"], pairs, *weights, rate)
        answer = self.answer(F.relu(self.post_inner(F.relu(post))))
        if self.spec.task == "classification":
            return Output(answer)
        return Output(2 * LARGEST_LABEL * answer[:, 0].sigmoid() - LARGEST_LABEL)

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """Mean absolute error for sentiment, cross-entropy for classes."""
        assert batch.label is not None
        total = task_loss(output, batch.label, self.spec.task, "l1")
        return total, {"task": total}
