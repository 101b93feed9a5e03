"""MMA-lite: the layers of MMA over frozen text features.

Chen, Wang, Ben, Tang, Hao. "Mixture of Multimodal Adapters for Sentiment Analysis", NAACL 2025.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from baselines.adapters import EXPERTS, STREAMS, AdapterLayer, Source
from baselines.kernels import dropout
from baselines.subnetworks import masked_mean
from benchmark.interface import (
    BranchedModel,
    DataSpec,
    Encodings,
    Loss,
    ModelCard,
    ModelConfig,
    Output,
    Preset,
    Progress,
    Relation,
    task_loss,
)
from protocols.modalities import Modalities, Modality

_OFFICIAL = "official code"
_OURS = "ours"
_HEAD = 128


class MMAConfig(ModelConfig):
    """Settings of MMA-lite."""

    width: int = Field(128, ge=2, description=f"e; the seed's d; {_OFFICIAL}: BERT's 768")
    heads: int = Field(4, ge=1, description=f"attention heads; the seed's; {_OFFICIAL}: 12")
    layers: int = Field(2, ge=1, description=f"n; {_OURS}; {_OFFICIAL}: BERT's 12")
    rank: int = Field(32, ge=1, description=f"r, of an adapter; {_OFFICIAL}")
    top_k: int = Field(
        3, ge=1, le=EXPERTS, description=f"adapters, of a layer's 6, that a step uses; {_OFFICIAL}"
    )
    balance_weight: float = Field(
        1e-3, ge=0, description=f"of the load-balancing loss; {_OFFICIAL}"
    )
    dropout: float = Field(
        0.1, ge=0, lt=1, description=f"in attention and on residual terms; {_OFFICIAL}, BERT's"
    )
    adapter_dropout: float = Field(0.2, ge=0, lt=1, description=f"in an adapter; {_OFFICIAL}")
    head_dropout: float = Field(0.2, ge=0, lt=1, description=f"before the head; {_OFFICIAL}")
    pool: Literal["masked_mean", "cls"] = Field(
        "masked_mean",
        description=f"the head reads the mean of the real states ({_OURS}: the first row may be "
        f"dropped out, or not be a sentence's) or the first one ({_OFFICIAL})",
    )
    norm_eps: float = Field(
        1e-5, gt=0, description=f"of the layers' normalisations; torch's; {_OFFICIAL}: BERT's 1e-12"
    )

    @model_validator(mode="after")
    def _width_fits_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class MMA(BranchedModel):
    """MMA-lite (after Chen et al., NAACL 2025).

    Text rows pass n transformer layers. In each, the states attend to audio and to vision, and of
    six small adapters (two that read the states, two what they found in audio, two in vision) each
    step is given a mixture of three, chosen by a router.

    A missing audio or vision adds one vector to all states, so that its adapters become further
    ones of the text. A missing text leaves the same states at all steps.
    """

    Config = MMAConfig
    card = ModelCard(
        title="MMA-lite",
        citation="Chen, Wang, Ben, Tang, Hao. Mixture of Multimodal Adapters for Sentiment "
        "Analysis. NAACL 2025.",
        source="reconstruction",
        version=1,
        deviations=(
            "Adapters sit in n own layers over frozen BERT outputs, not in BERT's 12 layers; no "
            "LoRA; so its numbers are not MMA's, and no comparison with MMA's published row is a "
            "reproduction.",
            "All weights of the layers are trained and start at random; in the original they are "
            "BERT's, frozen.",
            "The head reads the mean of the real states; in the preset official the first one, as "
            "in the original.",
            "The key mask of audio and vision is their own; the original, whose modalities are "
            "aligned, takes the text's. A convolution longer than a sequence is clipped to it.",
            "Biases start as torch has them, and normalisations add 1e-5 (preset official: 1e-12) "
            "to a variance. With BERT's zero biases a zero text's gradient would have a norm of "
            "1e12.",
            "Adam with an L2 term in place of AdamW.",
            "The routing is by step and an adapter belongs to one stream, so it is not shown as "
            "one of modalities.",
            "The preset official ends after 20 epochs instead of stopping early.",
            "Classification (not in the original): cross-entropy in place of the absolute error.",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    recordable = True
    relations = tuple(("text", m) for m in STREAMS[1:])
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "official": Preset(
            model={"width": 768, "heads": 12, "pool": "cls", "norm_eps": 1e-12},
            training={
                "epochs": 20, "batch_size": 128, "learning_rate": 1e-3, "weight_decay": 1e-4,
                "schedule": "step", "step_factor": 0.1, "step_epochs": 9, "clip_norm": 1.0,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.layers": (1, 2, 4),
        "model.rank": (8, 16, 32),
        "model.top_k": (1, 2, 3, 4),
        "model.balance_weight": (0.0, 1e-3, 1e-2),
        "model.head_dropout": (0.0, 0.2, 0.5),
    }

    def __init__(self, config: MMAConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        e, text = config.width, spec.widths["text"]
        self.enter = nn.Identity() if text == e else nn.Linear(text, e)
        self.layers = nn.ModuleList(
            AdapterLayer(
                e,
                config.heads,
                {m: (spec.widths[m], spec.lengths[m]) for m in STREAMS[1:]},
                config.rank,
                config.top_k,
                config.dropout,
                config.adapter_dropout,
                config.norm_eps,
            )
            for _ in range(config.layers)
        )
        outputs = spec.classes if spec.task == "classification" else 1
        self.head = nn.Sequential(
            nn.Linear(e, _HEAD), nn.ReLU(), nn.Linear(_HEAD, _HEAD), nn.ReLU(),
            nn.Linear(_HEAD, outputs),
        )  # fmt: skip
        for layer in self.head:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """Of text the first layer's "t" and, when not training, what it feeds forward, "fed".

        (In training that is dropped out after the adapters.) Of audio and vision the "keys" of each
        layer, by its number. Of each the "real" steps.
        """
        if modality != "text":
            sources = [layer.source(modality, features, mask) for layer in self._layers()]
            keys = {f"keys {number}": source.keys for number, source in enumerate(sources)}
            return {**keys, "real": sources[0].real}
        first = self._layers()[0]
        t = first.attend(self.enter(features), mask)
        return {"t": t, "real": mask} | ({} if self.training else {"fed": first.feed(t)})

    def relate(self, wanted: Sequence[Relation], encoded: Encodings) -> Encodings:
        """What the first layer's t has "read" in audio or vision."""
        t, first = encoded["text"]["t"], self._layers()[0]
        return {(text, m): {"read": first.read(t, _source(encoded[m], 0))} for text, m in wanted}

    def fuse(self, encoded: Encodings) -> Output:
        """The answer; the extra is "balance", the layers' mean load-balancing loss."""
        text, (first, *further) = encoded["text"], self._layers()
        read = [encoded["text", m]["read"] for m in STREAMS[1:]]
        x, balance = first.mix(text["t"], read, text.get("fed"))
        mask, balances = text["real"], [balance]
        for number, layer in enumerate(further, start=1):
            x, balance = layer(x, mask, [_source(encoded[m], number) for m in STREAMS[1:]])
            balances.append(balance)
        state = x[:, 0] if self.config.pool == "cls" else masked_mean(x, mask)
        answer = self.head(dropout(state, self.config.head_dropout, self.training))
        shaped = answer if self.spec.task == "classification" else answer[:, 0]
        return Output(shaped, extras={"balance": torch.stack(balances).mean()})

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The task's loss and the load-balancing loss with its weight."""
        assert batch.label is not None
        terms = {
            "task": task_loss(output, batch.label, self.spec.task, "l1"),
            "balance": output.extras["balance"],
        }
        return terms["task"] + self.config.balance_weight * terms["balance"], terms

    def _layers(self) -> list[AdapterLayer]:
        return list(self.layers)  # type: ignore[arg-type]

    def expert_shares(self) -> Mapping[str, float]:
        """A step's share of the adapters of each layer."""
        share = self.config.top_k / EXPERTS
        return {f"layers.{number}.experts": share for number in range(self.config.layers)}


def _source(encoded: Mapping[str, Tensor], layer: int) -> Source:
    """What a layer reads of audio or vision."""
    return Source(encoded[f"keys {layer}"], encoded["real"])
