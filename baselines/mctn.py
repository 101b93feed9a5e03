"""MCTN, Multimodal Cyclic Translation Network: one modality is read, the others are translated to.

Pham, Liang, Manzini, Morency, Poczos. "Found in Translation: Learning Robust Joint Representations
by Cyclic Translations Between Modalities", AAAI 2019.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from baselines.translation import ENCODER_GATES, Decoder, Recurrence, Regressor
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

_OFFICIAL = "official code"
_LONGEST = 100
TRANSLATED: tuple[Modality, ...] = ("text", "vision", "audio")
"""The order in which a source is translated to the others (the official README)."""


class MCTNConfig(ModelConfig):
    """Settings of MCTN."""

    source: Literal["text", "audio", "vision"] = Field(
        "text",
        description=f"the modality that is read; {_OFFICIAL}; one that the data lack is replaced "
        "by the first of t, v, a",
    )
    hidden: int = Field(128, ge=1, description=f"h; the seed's d; {_OFFICIAL}: 32")
    translation_weight: float = Field(
        0.1, ge=0, description=f"of each of the three translations; {_OFFICIAL}"
    )
    output_penalty: float = Field(
        0.01, ge=0, description=f"of the last layer's squared weights; {_OFFICIAL}"
    )
    target_scale: Literal["padded", "native"] = Field(
        "padded",
        description="a translation's error is a mean over all channels, those with which a target "
        f"is filled up to the widest modality included ({_OFFICIAL}), or over its own (ours)",
    )


class MCTN(BranchedModel):
    """MCTN (Pham et al., AAAI 2019).

    A bidirectional encoder reads the source; a second one reads its states, and an LSTM with
    attention reads the answer off those. In training only, a decoder translates the first states
    to the second modality, which the same encoder and decoder translate back to the source, and
    another decoder translates the second states to the third modality.

    A missing source is zeros, and there is no mask: the prediction is then the same for every
    sample. Where a target is missing in training, zeros are what is to be written.

    Cost: the recurrences are sequential, 7 T steps for a training pass and 3 T for a prediction,
    each a product of (B, h) with (h, 4h). All else is done for all steps at once.
    """

    Config = MCTNConfig
    card = ModelCard(
        title="MCTN",
        citation="Pham, Liang, Manzini, Morency, Poczos. Found in Translation: Learning Robust "
        "Joint Representations by Cyclic Translations Between Modalities. AAAI 2019.",
        source="official code read",
        version=1,
        deviations=(
            "Text is a frozen 768-d sequence, not GloVe. Where its values leave (-1, 1) no "
            "translation back can reach them.",
            "Sequences are as long as the data set's (the original cuts them to 20 steps) and "
            "features are not rescaled (the original divides vision by its maximum).",
            "Where a target has another length than the source, it is averaged to the source's; a "
            "source of audio or vision of more than 100 steps is averaged to the text's length.",
            "Scalars that change nothing are left out: the attention's terms that are the same at "
            "all steps, the decoder's forget block, the second of two biases.",
            "The validation split's error selects the epoch; the original predicts with the last "
            "epoch's weights. The preset official ends after 200 epochs instead of stopping early.",
            "Under regimes that degrade training the targets are the degraded features. A modality "
            "that the data lack is a target of zeros; where that is vision, the way back to the "
            "text has nothing to read.",
            "Classification (not in the original): cross-entropy in place of the absolute error.",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "official": Preset(
            model={"hidden": 32},
            training={
                "epochs": 200, "batch_size": 32, "learning_rate": 1e-4, "weight_decay": 0.0,
                "schedule": "constant", "clip_norm": None,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.hidden": (32, 64, 128),
        "model.translation_weight": (0.1, 0.5, 1.0),
    }

    def __init__(self, config: MCTNConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        there = [m for m in TRANSLATED if m in spec.present]
        self.source: Modality = config.source if config.source in there else there[0]
        self.first, self.second = (m for m in TRANSLATED if m != self.source)
        h, self.width = config.hidden, max(spec.widths.values())
        self.encoder = Recurrence(self.width, h, ENCODER_GATES, directions=2, squashed=True)
        self.encoder_2 = Recurrence(h, h, ENCODER_GATES, directions=2, squashed=True)
        self.decoder = Decoder(h, self.width)
        self.decoder_2 = Decoder(h, self.width)
        self.regressor = Regressor(h, spec.classes if spec.task == "classification" else 1)

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """The source's "states" and "states_2", each (B, T, h), and "answer"; nothing of others."""
        if modality != self.source:
            return {}
        states = self.encoder(self._read(features)).sum(0)
        states_2 = self.encoder_2(states).sum(0)
        answer = self.regressor(states_2)
        return {"states": states, "states_2": states_2, "answer": answer}

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """The source's answer; the extras are its states."""
        source = dict(encoded[self.source])
        answer = source.pop("answer")
        shaped = answer if self.spec.task == "classification" else answer[:, 0]
        return Output(shaped, extras=source)

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The task's loss, the three translations' errors, and the last layer's penalty."""
        assert batch.label is not None
        states, states_2 = output.extras["states"], output.extras["states_2"]
        written = self.decoder(states)
        back = self.decoder(self.encoder(written).sum(0))
        terms = {
            "task": task_loss(output, batch.label, self.spec.task, "l1"),
            f"translation_{self.first}": self._error(written, batch.features[self.first]),
            "cycle": self._error(back, batch.features[self.source]),
            f"translation_{self.second}": self._error(
                self.decoder_2(states_2), batch.features[self.second]
            ),
            "penalty": self.regressor.answer.weight.square().sum(),
        }
        task, first, cycle, second, penalty = terms.values()
        translations = self.config.translation_weight * (first + cycle + second)
        return task + translations + self.config.output_penalty * penalty, terms

    def _read(self, features: Tensor) -> Tensor:
        """The (B, T, d) source as the encoder reads it: (B, T', D)."""
        if self.source != "text" and features.shape[1] > _LONGEST:
            text = self.spec.lengths["text"] if "text" in self.spec.present else _LONGEST
            features = _averaged(features, text)
        return self._filled(features)

    def _error(self, written: Tensor, target: Tensor) -> Tensor:
        """The mean squared error of (B, T, D) as a translation of a (B, T_m, d_m) sequence."""
        target = _averaged(target, written.shape[1])
        if self.config.target_scale == "native":
            return F.mse_loss(written[..., : target.shape[-1]], target)
        return F.mse_loss(written, self._filled(target))

    def _filled(self, x: Tensor) -> Tensor:
        """(B, T, d) with zero channels up to D."""
        return F.pad(x, (0, self.width - x.shape[-1]))


def _averaged(x: Tensor, steps: int) -> Tensor:
    """(B, T, d) as (B, steps, d): means over even stretches of time."""
    if x.shape[1] == steps:
        return x
    return F.adaptive_avg_pool1d(x.transpose(1, 2), steps).transpose(1, 2)
