"""MulT, the Multimodal Transformer: six crossmodal encoders and one memory per target.

Tsai, Bai, Liang, Kolter, Morency, Salakhutdinov. "Multimodal Transformer for Unaligned Multimodal
Language Sequences", ACL 2019.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import dropout
from baselines.layers import EncoderStack, TemporalProjection
from baselines.positions import last_step
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
from protocols.modalities import MODALITIES, Modalities, Modality

_MMSA = "the MMSA package's MOSI setting"
_OFFICIAL = "official code"


class MulTConfig(ModelConfig):
    """Settings of MulT. The defaults suit frozen 768-d text and aligned steps."""

    width: int = Field(
        40, ge=4, description="d, width of a stream; 40 for MOSI by third-party accounts of the "
        "paper's supplement (unverified); official code 30, MMSA 50"
    )  # fmt: skip
    heads: int = Field(10, ge=1, description=f"attention heads; {_MMSA}; official code 5")
    layers: int = Field(
        4, ge=1, description=f"layers of a crossmodal encoder; {_MMSA}; official code 5"
    )
    kernel_text: int = Field(1, ge=1, description=f"convolution kernel; {_OFFICIAL}; MMSA 5")
    kernel_audio: int = Field(1, ge=1, description=f"convolution kernel; {_OFFICIAL}; MMSA 5")
    kernel_vision: int = Field(1, ge=1, description=f"convolution kernel; {_OFFICIAL}; MMSA 5")
    attention_dropout_text: float = Field(
        0.3, ge=0, lt=1, description=f"on attention weights over text, and in memories; {_MMSA}"
    )
    attention_dropout_audio: float = Field(
        0.2, ge=0, lt=1, description=f"on attention weights over audio; {_MMSA}"
    )
    attention_dropout_vision: float = Field(
        0.0, ge=0, lt=1, description=f"on attention weights over vision; {_MMSA}, {_OFFICIAL}"
    )
    relu_dropout: float = Field(0.0, ge=0, lt=1, description=f"after the ReLU; {_MMSA}")
    residual_dropout: float = Field(0.0, ge=0, lt=1, description=f"on residual terms; {_MMSA}")
    embedding_dropout: float = Field(
        0.2, ge=0, lt=1, description=f"on a stream entering an encoder; {_MMSA}"
    )
    output_dropout: float = Field(0.5, ge=0, lt=1, description=f"in the head; {_MMSA}")
    text_dropout: float = Field(0.5, ge=0, lt=1, description=f"on the text features; {_MMSA}")
    causal: bool = Field(True, description=f"mask later source steps; {_OFFICIAL} and MMSA")
    position_code: bool = Field(
        True, description=f"sinusoidal code; {_OFFICIAL}; the MMSA package 2.2.1 leaves it off"
    )
    pool: Literal["last_step", "last_valid"] = Field(
        "last_step",
        description=f"last step, padding or not ({_OFFICIAL}), or the last that is not padding",
    )
    use_key_padding_mask: bool = Field(
        False, description=f"keep attention off padding; {_OFFICIAL} has no such mask"
    )

    @model_validator(mode="after")
    def _width_fits_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class MulT(BranchedModel):
    """MulT (Tsai et al., ACL 2019).

    Each modality is projected to width d; each of the three targets attends to the two other
    streams through an encoder of its own; the two results, side by side (2d), pass a
    self-attention encoder; the last step of each target (6d together) goes through a residual
    head. Encoders whose lengths agree run as one stack, so the module's weights are laid out by
    the data's lengths.

    A zero modality stays zero through the bias-free projection: its keys are position codes, the
    same for all samples. A kernel longer than a modality's sequence is clipped to it (an absent
    modality is one step long).
    """

    Config = MulTConfig
    card = ModelCard(
        title="MulT",
        citation="Tsai, Bai, Liang, Kolter, Morency, Salakhutdinov. Multimodal Transformer for "
        "Unaligned Multimodal Language Sequences. ACL 2019.",
        source="official code read",
        version=1,
        deviations=(
            "Text is a frozen 768-d sequence, not 300-d GloVe: the method takes any vectors.",
            "Classification is a plain softmax cross-entropy over the classes; the official "
            "IEMOCAP run instead reads 8 logits as four binary problems.",
            "The preset mmsa has no gradient accumulation: one batch of 128 stands for the "
            "package's 8 summed micro-batches of 16, and its value clipping at 0.6 of their sum "
            "for 0.6/8 of the mean.",
            "A kernel longer than a sequence is clipped to it; the original fails.",
            "A stream that is zero throughout gets the position codes of its steps, in the preset "
            "mmsa too: in the original one sample without any modality gives the first step a "
            "gradient of norm 1e14.",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    recordable = True
    relations = tuple(combinations(MODALITIES, 2))
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(training={"clip_norm": 0.8}),
        "official": Preset(
            model={
                "width": 30, "heads": 5, "layers": 5,
                "attention_dropout_text": 0.1,
                "attention_dropout_audio": 0.0,
                "attention_dropout_vision": 0.0,
                "relu_dropout": 0.1, "residual_dropout": 0.1,
                "embedding_dropout": 0.25, "text_dropout": 0.25, "output_dropout": 0.0,
            },
            training={
                "epochs": 40, "batch_size": 24, "learning_rate": 1e-3, "weight_decay": 0.0,
                "schedule": "plateau", "plateau_factor": 0.1, "plateau_patience": 20,
                "clip_norm": 0.8,
            },
        ),
        "mmsa": Preset(
            model={
                "width": 50, "kernel_text": 5, "kernel_audio": 5, "kernel_vision": 5,
                "position_code": False,
            },
            training={
                "batch_size": 128, "learning_rate": 2e-3, "weight_decay": 0.0,
                "schedule": "plateau", "plateau_factor": 0.1, "plateau_patience": 5,
                "clip_norm": None, "clip_value": 0.075,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.width": (30, 40, 50),
        "model.layers": (3, 4, 5),
        "model.attention_dropout_text": (0.1, 0.2, 0.3),
        "model.embedding_dropout": (0.0, 0.2, 0.3),
        "model.output_dropout": (0.0, 0.1, 0.5),
        "model.text_dropout": (0.1, 0.3, 0.5),
    }

    def __init__(self, config: MulTConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        width = config.width
        self.kernels = {m: min(getattr(config, f"kernel_{m}"), spec.lengths[m]) for m in MODALITIES}
        self.project = nn.ModuleDict()
        for m in MODALITIES:
            if spec.widths[m] == width:  # as in the original: nothing to project
                self.kernels[m] = 1
                self.project[m] = nn.Identity()
            else:
                self.project[m] = TemporalProjection(spec.widths[m], width, self.kernels[m])
        steps = {m: spec.lengths[m] - self.kernels[m] + 1 for m in MODALITIES}
        self.pairs, self.targets = _same_shapes(steps)
        rates = {m: getattr(config, f"attention_dropout_{m}") for m in MODALITIES}
        self.crossmodal = nn.ModuleList(
            self._encoders(width, config.layers, [rates[source] for _, source in pairs])
            for pairs in self.pairs
        )
        self.memory = nn.ModuleList(
            self._encoders(2 * width, max(config.layers, 3), [rates["text"]] * len(targets))
            for targets in self.targets
        )
        self.head_in = nn.Linear(6 * width, 6 * width)
        self.head_out = nn.Linear(6 * width, 6 * width)
        self.answer = nn.Linear(6 * width, spec.classes if spec.task == "classification" else 1)

    def _encoders(self, width: int, layers: int, rates: Sequence[float]) -> EncoderStack:
        config = self.config
        return EncoderStack(
            width,
            config.heads,
            layers,
            attention_dropout=rates,
            relu_dropout=config.relu_dropout,
            residual_dropout=config.residual_dropout,
            embedding_dropout=config.embedding_dropout,
            causal=config.causal,
            position_code=config.position_code,
        )

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One modality's "stream" (B, T, d) and its "real" (B, T) steps."""
        if modality == "text":
            features = dropout(features, self.config.text_dropout, self.training)
        # a step after the convolution is real when the last input step it covers is
        real = mask[:, self.kernels[modality] - 1 :]
        return {"stream": self.project[modality](features), "real": real}

    def relate(self, wanted: Sequence[Relation], encoded: Encodings) -> Encodings:
        """What each of two modalities, by whose name it goes, has from the other: (B, T, d)."""
        crossed: dict[Relation, dict[str, Tensor]] = {relation: {} for relation in wanted}
        for stack, pairs in zip(self.crossmodal, self.pairs, strict=True):
            groups = [g for g, pair in enumerate(pairs) if _relation(*pair) in crossed]
            if not groups:
                continue
            chosen = [pairs[g] for g in groups]
            target = torch.stack([encoded[t]["stream"] for t, _ in chosen])
            source = torch.stack([encoded[s]["stream"] for _, s in chosen])
            keys = self._real_keys(encoded, [s for _, s in chosen])
            some = groups if len(groups) < len(pairs) else None
            out = stack(target, source, keys, groups=some).unbind(0)
            for (t, s), stream in zip(chosen, out, strict=True):
                crossed[_relation(t, s)][t] = stream
        return crossed

    def fuse(self, encoded: Encodings) -> Output:
        """The memories and the head."""
        pooled: dict[Modality, Tensor] = {}
        for stack, targets in zip(self.memory, self.targets, strict=True):
            both = torch.stack(
                [
                    torch.cat([encoded[_relation(t, s)][t] for s in MODALITIES if s != t], -1)
                    for t in targets
                ]
            )
            steps = [
                last_step(encoded[t]["real"], self.config.pool == "last_step") for t in targets
            ]
            out = stack(both, None, self._real_keys(encoded, targets), torch.stack(steps))
            pooled.update(zip(targets, out[:, :, 0].unbind(0), strict=True))
        c = torch.cat([pooled[m] for m in MODALITIES], -1)
        inner = dropout(F.relu(self.head_in(c)), self.config.output_dropout, self.training)
        answer = self.answer(c + self.head_out(inner))
        return Output(answer if self.spec.task == "classification" else answer.squeeze(-1))

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """Mean absolute error for sentiment, cross-entropy for classes."""
        assert batch.label is not None
        total = task_loss(output, batch.label, self.spec.task, "l1")
        return total, {"task": total}

    def _real_keys(self, encoded: Encodings, sources: Sequence[Modality]) -> Tensor | None:
        """(G, B, S) real steps of the sources, where padding is kept out of attention."""
        if not self.config.use_key_padding_mask:
            return None
        return torch.stack([encoded[m]["real"] for m in sources])


def _relation(target: Modality, source: Modality) -> Relation:
    """The relation that a target's stream from a source belongs to."""
    return tuple(m for m in MODALITIES if m in (target, source))


def _same_shapes(
    steps: Mapping[Modality, int],
) -> tuple[list[list[tuple[Modality, Modality]]], list[list[Modality]]]:
    """The (target, source) pairs, and the targets, grouped by equal lengths.

    Pairs are in the order of their sources, which lets neighbours share a dropout rate.
    """
    pairs: dict[tuple[int, int], list[tuple[Modality, Modality]]] = defaultdict(list)
    for source in MODALITIES:
        for target in MODALITIES:
            if target != source:
                pairs[steps[target], steps[source]].append((target, source))
    targets: dict[int, list[Modality]] = defaultdict(list)
    for target in MODALITIES:
        targets[steps[target]].append(target)
    return list(pairs.values()), list(targets.values())
