"""MMIN, Missing Modality Imagination Network: the codes of what is missing, imagined.

Zhao, Li, Jin. "Missing Modality Imagination Network for Emotion Recognition with Uncertain Missing
Modalities", ACL 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.hiding import draw_shown, incomplete_patterns
from baselines.imagination import Head, Imagination, RecurrentMaximum, TextConvolutions
from baselines.pretraining import first_stage_epochs
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
_IEMOCAP = "official IEMOCAP script"
CODE_ORDER: tuple[Modality, ...] = ("audio", "text", "vision")
"""The modalities' codes as the official code puts them side by side."""


class MMINConfig(ModelConfig):
    """Settings of MMIN."""

    width: int = Field(
        128, ge=2, multiple_of=2, description=f"w, of every code; {_OFFICIAL}, the seed's d"
    )
    blocks: int = Field(
        5, ge=1, description=f"autoencoders of a cascade; {_IEMOCAP}; the code's default is 3"
    )
    text_dropout: float = Field(0.5, ge=0, lt=1, description=f"in the text encoder; {_OFFICIAL}")
    teacher_dropout: float = Field(0.3, ge=0, lt=1, description=f"in its head; {_OFFICIAL}")
    dropout: float = Field(0.5, ge=0, lt=1, description=f"in the classifier; {_IEMOCAP}")
    imagination_weight: float = Field(
        4.0, ge=0, description=f"of the imagined codes; {_IEMOCAP}; MSP-IMPROV 2"
    )
    cycle_weight: float = Field(
        2.0, ge=0, description=f"of the way back; {_IEMOCAP}; MSP-IMPROV 0.5"
    )
    pool: Literal["valid", "all"] = Field(
        "valid",
        description="maxima over time of the real steps (ours: here padding is to the package's "
        f"length, not to the batch's) or of all ({_OFFICIAL})",
    )
    pretrain_share: float = Field(
        0.25, ge=0, lt=1, description=f"share of the epochs that train the teacher; {_OFFICIAL}: "
        "20 of 80"
    )  # fmt: skip


class MMIN(BranchedModel):
    """MMIN (Zhao et al., ACL 2021).

    A code per modality: maxima of an LSTM's states, or of text convolutions. From the three side
    by side (h, 3w) a cascade of residual autoencoders imagines the codes of what is missing, and
    the classifier reads the autoencoders' inner codes.

    First a teacher, the same encoders with a head of its own, learns from clean and complete
    samples. A frozen copy of its encoders then says what the codes of hidden modalities would be;
    training hides some of each complete sample; a second cascade has to find h again from what
    was imagined. Prediction takes zeros as they come and does not read availability.
    """

    Config = MMINConfig
    card = ModelCard(
        title="MMIN",
        citation="Zhao, Li, Jin. Missing Modality Imagination Network for Emotion Recognition "
        "with Uncertain Missing Modalities. ACL 2021.",
        source="official code read",
        version=1,
        reads_availability=True,
        reads_clean=True,
        deviations=(
            "Availability makes training targets; prediction does not read it. All modalities "
            "present, and all missing, are patterns that training under clean never has.",
            "The teacher learns from, and the targets are made of, clean complete batches under "
            "every regime, as in the original, whose training data are complete.",
            "A modality is hidden on top of the regime's own degradation, and only in samples that "
            "arrive complete; under clean that is the original's six patterns.",
            "The targets of available modalities are the teacher's codes of zeros, as in the "
            "original.",
            "Text is a frozen 768-d sequence, not BERT-large.",
            "Sentiment has an L1 loss; the original has classes only.",
            "Maxima are over real steps, unless pool is all.",
            "Of the cascades' layers, those that no ReLU follows start with Kaiming's linear gain "
            "of 1, and the last of each autoencoder with 0.1. With the original's gain everywhere, "
            "what is imagined starts thousands of times as large as h and the gradient's norm at "
            "1e10.",
            "The teacher's epochs are a share of the run's; in the preset official a cosine per "
            "stage stands for constant and then linear, at one rate and one norm of clipping over "
            "all of a stage's parameters (the original clips each module, at 0.5 and 1).",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "official": Preset(
            training={
                "epochs": 80, "batch_size": 128, "learning_rate": 2e-4, "weight_decay": 0.0,
                "clip_norm": 1.0,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.imagination_weight": (1.0, 2.0, 4.0),
        "model.cycle_weight": (0.5, 1.0, 2.0),
        "model.blocks": (3, 5),
    }

    patterns: Tensor

    def __init__(self, config: MMINConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        width, out = config.width, spec.classes if spec.task == "classification" else 1
        self.encoders, self.teacher = self._encoders(), self._encoders()
        self.teacher.load_state_dict(self.encoders.state_dict())
        self.teacher.requires_grad_(False).eval()
        self.teacher_head = Head(3 * width, width, out, config.teacher_dropout)
        self.imagination = Imagination(width, config.blocks)
        self.back = Imagination(width, config.blocks)
        self.classifier = Head(config.blocks * (width // 2), width, out, config.dropout)
        self.register_buffer("patterns", incomplete_patterns(spec.present), persistent=False)

    def _encoders(self) -> nn.ModuleDict:
        config, widths = self.config, self.spec.widths
        every = config.pool == "all"
        made: dict[str, nn.Module] = {
            m: RecurrentMaximum(widths[m], config.width, every) for m in ("audio", "vision")
        }
        made["text"] = TextConvolutions(widths["text"], config.width, config.text_dropout, every)
        return nn.ModuleDict(made)

    def train(self, mode: bool = True) -> Self:
        """As ever, but the teacher that makes targets stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One modality's "code" (B, w)."""
        return {"code": self.encoders[modality](features, mask)}

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """The answer from the cascade's codes.

        The extras are h, those codes and the last block's input: what imagining needs.
        """
        h = torch.cat([encoded[m]["code"] for m in CODE_ORDER], -1)
        codes, last = self.imagination.encode(h)
        extras = {"h": h, "codes": codes, "last": last}
        return Output(self._shaped(self.classifier(codes)), extras=extras)

    def begin_epoch(self, progress: Progress) -> None:
        """Where the main stage begins, the teacher is what the encoders have become."""
        if progress.epoch == self.first_selectable(progress.epochs):
            self.teacher.load_state_dict(self.encoders.state_dict())

    def first_selectable(self, epochs: int) -> int:
        """The first epoch of the main stage: before it the cascade is untrained."""
        return first_stage_epochs(self.config.pretrain_share, epochs)

    def phases(self) -> Sequence[Phase]:
        """The teacher; then everything that predicts or imagines, from the teacher's encoders."""
        encoders = list(self.encoders.parameters())
        main = (self.imagination, self.back, self.classifier)
        rest = [p for part in main for p in part.parameters()]
        return [
            Phase(
                "teacher",
                [{"params": [*encoders, *self.teacher_head.parameters()]}],
                self.teacher_loss,
                lambda progress: progress.epoch < self.first_selectable(progress.epochs),
                needs_clean=True,
            ),
            Phase(
                "main",
                [{"params": [*encoders, *rest], "betas": (0.5, 0.999)}],
                self.main_loss,
                lambda progress: progress.epoch >= self.first_selectable(progress.epochs),
                needs_clean=True,
            ),
        ]

    def teacher_loss(self, batch: Modalities, progress: Progress, clean: Modalities) -> Loss:
        """The first stage: the task's loss of the encoders and the teacher's head, clean."""
        assert clean.label is not None
        codes = [self.encoders[m](clean.features[m], clean.masks[m]) for m in CODE_ORDER]
        answer = self._shaped(self.teacher_head(torch.cat(codes, -1)))
        return task_loss(Output(answer), clean.label, self.spec.task, "l1"), {}

    def main_loss(self, batch: Modalities, progress: Progress, clean: Modalities) -> Loss:
        """The second stage: task, imagination and cycle, with more hidden from each sample.

        A data set of one modality has nothing to imagine: the task's loss alone.
        """
        if len(self.spec.present) == 1:
            return self.training_loss(batch, progress)
        shown = self.draw_shown(batch.available)
        output = self(_with_only(batch, shown))
        task, terms = self.loss(output, batch, progress)
        extras = output.extras
        imagined = self.imagination.imagine(extras["codes"], extras["last"])
        imagination = F.mse_loss(imagined, self.targets(clean, ~shown))
        cycle = F.mse_loss(self.back(imagined), extras["h"].detach())
        config = self.config
        total = task + config.imagination_weight * imagination + config.cycle_weight * cycle
        return total, {**terms, "imagination": imagination, "cycle": cycle}

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The task's part: mean absolute error for sentiment, cross-entropy for classes."""
        assert batch.label is not None
        total = task_loss(output, batch.label, self.spec.task, "l1")
        return total, {"task": total}

    def draw_shown(self, available: Tensor) -> Tensor:
        """What the student sees of (B, 3) available modalities, in the order t, a, v.

        A sample with all that the data set has keeps one of the incomplete patterns, all equally
        likely; the others stay as they are. The draw is from torch's global generator.
        """
        return draw_shown(available, self.patterns)

    @torch.no_grad()
    def targets(self, clean: Modalities, hidden: Tensor) -> Tensor:
        """The teacher's codes (B, 3w) of the (B, 3) hidden modalities, and of zeros elsewhere."""
        seen = _with_only(clean, hidden)
        codes = [self.teacher[m](seen.features[m], seen.masks[m]) for m in CODE_ORDER]
        return torch.cat(codes, -1)

    def _shaped(self, answer: Tensor) -> Tensor:
        return answer if self.spec.task == "classification" else answer[:, 0]


def _with_only(batch: Modalities, kept: Tensor) -> Modalities:
    """The batch with zeros for what is not among the (B, 3) kept modalities."""
    weights = dict(zip(MODALITIES, kept.to(batch.features["text"].dtype).unbind(1), strict=True))
    features = {m: x * weights[m][:, None, None] for m, x in batch.features.items()}
    return replace(batch, features=features, available=batch.available & kept)
