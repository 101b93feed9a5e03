"""MMIM, Multimodal InfoMax: fusion by concatenation, trained to keep mutual information.

Han, Chen, Poria. "Improving Multimodal Fusion with Hierarchical Mutual Information Maximization
for Multimodal Sentiment Analysis", EMNLP 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from baselines.kernels import dropout, only_where
from baselines.mutual_information import EntropyMemory, GaussianBound, contrastive_loss
from baselines.recurrent import LSTM
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

_OFFICIAL = "official code and the MMSA package"
_NARROW_TEXT = 128

Pair = tuple[Modality, Modality]


class MMIMConfig(ModelConfig):
    """Settings of MMIM. The defaults are the official code's, with text frozen."""

    width: int = Field(16, ge=4, description=f"width of the audio and vision vectors; {_OFFICIAL}")
    bidirectional: bool = Field(
        False, description="LSTM direction; official code's default; the MMSA package: true"
    )
    fusion_width: int = Field(128, ge=1, description=f"width of the fused vector z; {_OFFICIAL}")
    fusion_dropout: float = Field(
        0.1, ge=0, lt=1, description=f"on the concatenated vectors; {_OFFICIAL}"
    )
    contrast_weight: float = Field(
        0.1, ge=0, description=f"alpha, of the three CPC terms; {_OFFICIAL}"
    )
    bound_weight: float = Field(
        0.1, ge=0, description=f"beta, of likelihood and entropy; {_OFFICIAL}"
    )
    memory_batches: int = Field(
        1, ge=1, description=f"past batches in the entropy term; {_OFFICIAL}"
    )
    audio_vision_pair: bool = Field(
        False, description=f"a third bound, vision to audio; {_OFFICIAL}: off"
    )
    train_entropy_proj: bool = Field(
        False,
        description="train the entropy projection in the main stage; false is what the official "
        "code amounts to: the stage that gives it gradient has no optimiser for it",
    )
    text_pool: Literal["masked_mean", "cls"] = Field(
        "masked_mean",
        description="text vector: mean of the real rows (our choice for packages without a [CLS] "
        "row) or row 0 (official code)",
    )
    text_adapter: Literal["off", "identity", "narrow"] = Field(
        "off",
        description="trainable map of the frozen text vector in place of BERT's fine-tuning: "
        f"none, Linear starting as the identity, or Linear to {_NARROW_TEXT} and LayerNorm; ours",
    )


class MMIM(BranchedModel):
    """MMIM (Han et al., EMNLP 2021).

    x_t is the pooled text, x_a and x_v final LSTM states; z is a tanh network of their
    concatenation, and a linear layer reads the sentiment off z. Two bounds on mutual information
    are raised: between text and each other modality (a likelihood and an entropy), and between z
    and each modality (CPC).

    Every epoch has two stages. The first fits the likelihood modules to constant modality vectors;
    the second trains everything else, with the likelihood modules constant.
    """

    Config = MMIMConfig
    recordable = True
    usual = True
    card = ModelCard(
        title="MMIM",
        citation="Han, Chen, Poria. Improving Multimodal Fusion with Hierarchical Mutual "
        "Information Maximization for Multimodal Sentiment Analysis. EMNLP 2021.",
        source="official code read",
        version=1,
        deviations=(
            "Text is frozen features, pooled over the real rows, not a fine-tuned BERT's [CLS]: "
            "unless text_adapter is on, no term of the loss can change the text vector.",
            "The entropy projection stays as initialised, unless train_entropy_proj is on: the "
            "official code gives it gradient in the main stage, whose optimiser leaves it out.",
            "Guards for corrupted input: unit vectors of zero rows are zero, covariances get "
            "1e-4 I, the entropy is left out below 6 positive or 6 negative samples, and "
            "log-variances are clamped to [-8, 8].",
            "Gradients are clipped over the parameters that a stage trains; the official code "
            "takes the norm over all.",
            "The likelihood stage always passes over the whole training set; the official code "
            "takes half of it on MOSEI.",
            "The official code keeps the epoch with the lowest test loss; here validation alone "
            "selects, and there is no early stop.",
            "Classification (not in the original): cross-entropy, and the entropy is taken over "
            "the whole batch, since classes have no sign.",
        ),
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        # The official batch, since the entropy needs enough samples of each sign; and the official
        # rate, which lies in the common grid and also does best on MOSI's validation split.
        "paper": Preset(training={"batch_size": 32, "learning_rate": 1e-3}),
        "official": Preset(
            training={
                "epochs": 40, "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 1e-4,
                "schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 20,
                "clip_norm": 1.0,
            },
        ),
        "mmsa": Preset(
            model={"bidirectional": True},
            training={
                "epochs": 40, "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 1e-4,
                "schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 20,
                "clip_norm": 1.0,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.contrast_weight": (0.05, 0.1, 0.3),
        "model.bound_weight": (0.05, 0.1, 0.3),
        "model.fusion_dropout": (0.0, 0.1, 0.3),
        "model.text_adapter": ("off", "identity", "narrow"),
    }

    def __init__(self, config: MMIMConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        self.adapter, width_text = _text_adapter(config.text_adapter, spec.widths["text"])
        states = config.width * (2 if config.bidirectional else 1)
        self.recurrent = nn.ModuleDict()
        self.state_out = nn.ModuleDict()
        for m in ("audio", "vision"):
            self.recurrent[m] = LSTM(spec.widths[m], config.width, config.bidirectional)
            self.state_out[m] = nn.Linear(states, config.width)
        widths: dict[Modality, int] = {
            "text": width_text, "audio": config.width, "vision": config.width
        }  # fmt: skip
        wide = config.fusion_width
        self.fusion_in = nn.Linear(sum(widths.values()), wide)
        self.fusion_out = nn.Linear(wide, wide)
        self.answer = nn.Linear(wide, spec.classes if spec.task == "classification" else 1)
        self.guess = nn.ModuleDict({m: nn.Linear(wide, widths[m]) for m in MODALITIES})
        self.pairs: list[Pair] = [("text", "vision"), ("text", "audio")]
        if config.audio_vision_pair:
            self.pairs.append(("vision", "audio"))
        self.bounds = nn.ModuleDict(
            {_key(x, y): GaussianBound(widths[x], widths[y]) for x, y in self.pairs}
        )
        self.memory = EntropyMemory(config.memory_batches)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier-normal matrices, as the official code has outside its text encoder."""
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2 and not name.startswith("adapter."):
                nn.init.xavier_normal_(parameter)
        if not self.config.train_entropy_proj:
            for bound in self.bounds.values():
                assert isinstance(bound, GaussianBound)
                bound.entropy_projection.requires_grad_(False)

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One modality's vector: "x" (B, d_m)."""
        if modality != "text":
            recurrent = self.recurrent[modality]
            assert isinstance(recurrent, LSTM)
            return {"x": self.state_out[modality](recurrent.final(features, mask))}
        if self.config.text_pool == "cls":
            return {"x": self.adapter(features[:, 0])}
        weight = mask.to(features.dtype)
        total = (weight[:, None] @ features)[:, 0]
        return {"x": self.adapter(total / weight.sum(1, keepdim=True).clamp_min(1.0))}

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """The answer from the three vectors; they and z (B, fusion_width) go along for the loss."""
        x: dict[Modality, Tensor] = {m: encoded[m]["x"] for m in MODALITIES}
        together = torch.cat([x[m] for m in MODALITIES], -1)
        together = dropout(together, self.config.fusion_dropout, self.training)
        z = self.fusion_out(self.fusion_in(together).tanh()).tanh()
        answer = self.answer(z)
        if self.spec.task == "regression":
            answer = answer.squeeze(-1)
        return Output(answer, extras={"x": x, "z": z})

    def begin_epoch(self, progress: Progress) -> None:
        """The memory of the entropy term starts empty."""
        self.memory.clear()

    def phases(self) -> Sequence[Phase]:
        """Likelihood modules first, then everything except them."""
        likelihood = [
            p
            for bound in self.bounds.values()
            for name, p in bound.named_parameters()
            if not name.startswith("entropy_projection.")
        ]
        theirs = {id(p) for p in likelihood}
        main = [p for p in self.parameters() if p.requires_grad and id(p) not in theirs]
        return [
            Phase("likelihood", [{"params": likelihood}], self.likelihood_loss),
            Phase("train", [{"params": main}], self.training_loss),
        ]

    def likelihood_loss(self, batch: Modalities, progress: Progress) -> Loss:
        """The first stage: the negative log-likelihood, with the modality vectors constant."""
        with torch.no_grad():
            x = {m: self.encode(m, batch.features[m], batch.masks[m])["x"] for m in MODALITIES}
        loss = -self._log_likelihood(x, frozen=False)
        return loss, {}

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The main stage: task, CPC, likelihood, and entropy once the memory is full."""
        assert batch.label is not None
        config, x = self.config, output.extras["x"]
        task = task_loss(output, batch.label, self.spec.task, "l1")
        contrast = sum(
            (contrastive_loss(x[m], self.guess[m](output.extras["z"])) for m in MODALITIES),
            torch.zeros_like(task),
        )
        likelihood = self._log_likelihood(x, frozen=True)
        total = task + config.contrast_weight * contrast - config.bound_weight * likelihood
        entropy = self._entropy(x, batch.label)
        terms = {"task": task, "contrast": contrast, "log_likelihood": likelihood}
        return total - config.bound_weight * entropy, {**terms, "entropy": entropy}

    def _log_likelihood(self, x: Mapping[Modality, Tensor], frozen: bool) -> Tensor:
        terms = []
        for given, predicted in self.pairs:
            bound = self.bounds[_key(given, predicted)]
            assert isinstance(bound, GaussianBound)
            terms.append(bound.log_likelihood(x[given], x[predicted], frozen))
        return torch.stack(terms).sum()

    def _entropy(self, x: Mapping[Modality, Tensor], label: Tensor) -> Tensor:
        """H over memory and batch, which then enters it; 0 until a batch after it was full."""
        projections = []
        for given, predicted in self.pairs:
            bound = self.bounds[_key(given, predicted)]
            assert isinstance(bound, GaussianBound)
            projections.append(bound.project(x[predicted]))
        e = torch.stack(projections)
        subsets = self._subsets(label).to(e.dtype)
        used = self.memory.pushed > self.memory.batches
        entropy = only_where(used, lambda: self.memory.entropy(e, subsets), e.new_zeros(()))
        self.memory.push(e, subsets)
        return entropy

    def _subsets(self, label: Tensor) -> Tensor:
        """(2, B) positive and negative samples; (1, B) all of them where labels are classes."""
        if self.spec.task == "classification":
            return torch.ones_like(label)[None]
        return torch.stack([label > 0, label < 0])


def _key(given: Modality, predicted: Modality) -> str:
    return f"{given}_{predicted}"


def _text_adapter(kind: str, width: int) -> tuple[nn.Module, int]:
    """The trainable path of the text vector, and the width it gives."""
    if kind == "narrow":
        return nn.Sequential(nn.Linear(width, _NARROW_TEXT), nn.LayerNorm(_NARROW_TEXT)), (
            _NARROW_TEXT
        )
    if kind == "off":
        return nn.Identity(), width
    linear = nn.Linear(width, width)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear, width
