"""IMDer, Incomplete Multimodality-Diffused Emotion Recognition: missing streams, sampled.

Wang, Li, Cui. "Incomplete Multimodality-Diffused Emotion Recognition", NeurIPS 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from baselines.diffusion import geometric_steps, sample, score_error, uniform_steps
from baselines.hiding import balanced_shown, shown_patterns
from baselines.imder_config import IMDerConfig
from baselines.mult import MulT, MulTConfig
from baselines.pretraining import first_stage_epochs
from baselines.score_network import LEVELS, Refiner, ScoreNetwork
from baselines.streams import Streams
from benchmark.interface import (
    DataSpec,
    Loss,
    ModelCard,
    MultimodalModel,
    Output,
    Phase,
    Preset,
    Progress,
    task_loss,
)
from protocols.modalities import MODALITIES, Modalities, Modality

_PAIRS: Mapping[Modality, tuple[Modality, Modality]] = {
    "text": ("vision", "audio"),
    "audio": ("text", "vision"),
    "vision": ("text", "audio"),
}
"""Target -> the two others, side by side in the official code's order."""


class IMDer(MultimodalModel):
    """IMDer (Wang et al., NeurIPS 2023).

    Each modality is projected to a stream (L, d) by a convolution. A missing stream is drawn by a
    diffusion sampler: from noise, in 100 steps of a score network that reads the available stream
    (or a layer over two of them), then refined by residual blocks. MulT answers from the three.

    First streams and MulT learn from complete samples. Then the streams stand still, as what is to
    be recovered: the score networks learn to denoise them, the refiners to come close to them, and
    MulT to answer from what was recovered. A sample without any modality has nothing to recover
    from: MulT gets zeros.

    The noise that predictions start from is one bank for all samples, made from a seed: a
    prediction is a function of sample and checkpoint. A score network runs only over the samples
    that lack its modality: never for complete ones, but in a training step on a GPU.
    """

    Config = IMDerConfig
    recordable = True
    card = ModelCard(
        title="IMDer",
        citation="Wang, Li, Cui. Incomplete Multimodality-Diffused Emotion Recognition. "
        "NeurIPS 2023.",
        source="official code read",
        version=1,
        reads_availability=True,
        reads_clean=True,
        dear="a missing modality of a sample is 100 passes of a score network, half a second of a "
        "CPU core; with three modalities all protocols ask for 25 times the passes of Protocol I",
        deviations=(
            "Text is a frozen 768-d sequence, not a BERT that is trained in a first stage.",
            "One training for all conditions: streams and targets are of clean batches, what is "
            "available is as the regime degrades it; a sample that arrives complete keeps one of "
            "the non-empty subsets. The original trains one model for each missing rate.",
            "The first stage is a share of the run's epochs; the original loads its weights from a "
            "file and has no script for it.",
            "At evaluation all samples start from the same noise, made from a seed; the original "
            "draws anew at each evaluation, so its numbers vary from call to call.",
            "A loss is a mean over the batch's samples, each with what it lacks itself: the "
            "original's, whose batches lack the same modalities throughout.",
            "With nothing available nothing is recovered; the original has no such case.",
            "Other lengths than 50 are brought to a multiple of 8 steps by adaptive averages.",
            "A modality that the data set lacks is never recovered: its stream is zero.",
            "In the classifier a stream that is zero throughout has position codes (the shared "
            "encoder's guard).",
            "Recovered padding is mostly noise, as in the original: a stream without variance is "
            "below what the last step resolves. The curves show the streams' deviations; "
            "mask_recovered leaves padding out.",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "20_steps": Preset(model={"sampler": "geometric", "steps": 20}),
        "official": Preset(
            training={
                "batch_size": 32, "learning_rate": 2e-3, "weight_decay": 0.0,
                "schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 24,
                "clip_norm": None, "clip_value": 1.0,
            },
        ),
        "official_mosei": Preset(
            model={"layers": 6, "attention_dropout_audio": 0.0, "embedding_dropout": 0.0},
            training={
                "batch_size": 128, "learning_rate": 2e-3, "weight_decay": 0.0,
                "schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 5,
                "clip_norm": None, "clip_value": 0.6,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.generation_weight": (0.1, 0.01),
        "model.layers": (4, 6),
    }

    trial: ClassVar[Mapping[str, Any]] = {
        "width": 8, "heads": 2, "layers": 1, "refiner_blocks": 1,
        "sampler": "geometric", "steps": 2,
    }  # fmt: skip

    patterns: Tensor
    bank: Tensor

    def __init__(self, config: IMDerConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        d = config.width
        self.project = Streams(spec, d, unit=2 ** (LEVELS - 1))
        length = self.project.length
        self.classifier = MulT(*_classifier_settings(config, spec, length))
        self.targets = targets = spec.present if len(spec.present) > 1 else ()
        self.score = nn.ModuleDict({m: ScoreNetwork(d, config.heads) for m in targets})
        self.refiner = nn.ModuleDict({m: Refiner(d, config.refiner_blocks) for m in targets})
        pairs = targets if len(targets) == len(MODALITIES) else ()
        self.pair = nn.ModuleDict({m: nn.Linear(2 * d, d) for m in pairs})
        made = {"uniform": uniform_steps, "geometric": geometric_steps}
        self.steps = made[config.sampler](config.steps)
        self.register_buffer("patterns", shown_patterns(spec.present), persistent=False)
        self.register_buffer("bank", noise_bank(config, length), persistent=False)

    def forward(self, batch: Modalities) -> Output:
        """Predict (B,) sentiments or (B, C) logits, from what is available."""
        streams = self.project(batch)
        if self.training:
            return Output(self._answer(self.completed(streams, batch.available, batch.masks)))
        answers = [
            self._answer(self.completed(streams, batch.available, batch.masks, path))
            for path in range(self.config.noise_paths)
        ]
        return Output(torch.stack(answers).mean(0))

    def completed(
        self,
        streams: Mapping[Modality, Tensor],
        available: Tensor,
        masks: Mapping[Modality, Tensor],
        path: int | None = None,
    ) -> dict[Modality, Tensor]:
        """The streams with what is missing recovered, where something is available.

        Args:
            streams: of the available modalities.
            available: (B, 3) in the order t, a, v.
            masks: (B, T_m) real steps.
            path: of the bank's noise; None: noise is drawn from torch's global generator.
        """
        full = dict(streams)
        for m in self.targets:
            rows, lacks = _to_recover(m, available, self.training)
            if not len(rows):
                continue
            drawn = self._sample(m, self._condition(m, streams, available, rows), path)
            refined = self.refiner[m](drawn)
            if self.config.mask_recovered:
                refined = refined * self.project.real(masks[m][rows])
            recovered = torch.where(lacks[:, None, None], refined, streams[m][rows])
            full[m] = streams[m].index_copy(0, rows, recovered)
        return full

    def _condition(
        self, target: Modality, streams: Mapping[Modality, Tensor], available: Tensor, rows: Tensor
    ) -> Tensor:
        """(K, L, d) what the target is to be recovered from: a stream, or a layer over two."""
        first, second = _PAIRS[target]
        one, other = streams[first][rows], streams[second][rows]
        # a stream that is not available is zero: with one of them the sum is the other
        condition = one + other
        if target in self.pair:
            both = available[:, MODALITIES.index(first)] & available[:, MODALITIES.index(second)]
            joined = self.pair[target](torch.cat([one, other], -1))
            condition = torch.where(both[rows][:, None, None], joined, condition)
        return condition

    def _sample(self, target: Modality, condition: Tensor, path: int | None) -> Tensor:
        """(K, L, d) as the sampler draws it, before the refiner."""

        def noise(number: int) -> Tensor:
            if path is None:
                return torch.randn_like(condition)
            return self.bank[path, MODALITIES.index(target), number]

        score = self.score[target]
        assert isinstance(score, ScoreNetwork)
        with score.held():
            return sample(score, self.steps, condition, noise)

    def _answer(self, streams: Mapping[Modality, Tensor]) -> Tensor:
        steps = torch.ones_like(streams["text"][..., 0], dtype=torch.bool)
        everything = steps.new_ones(len(steps), len(MODALITIES))
        whole = Modalities(streams, dict.fromkeys(MODALITIES, steps), everything)
        return self.classifier(whole).prediction

    def first_selectable(self, epochs: int) -> int:
        """The first epoch of the recovery: before it the score networks are untrained."""
        return first_stage_epochs(self.config.pretrain_share, epochs)

    def phases(self) -> Sequence[Phase]:
        """Streams and classifier from complete samples; then everything but the streams."""
        streams, classifier = list(self.project.parameters()), list(self.classifier.parameters())
        recovery = (self.score, self.refiner, self.pair)
        rest = [p for part in recovery for p in part.parameters()]
        return [
            Phase(
                "classifier",
                [{"params": [*streams, *classifier]}],
                self.classifier_loss,
                lambda progress: progress.epoch < self.first_selectable(progress.epochs),
                needs_clean=True,
            ),
            Phase(
                "recovery",
                [{"params": [*classifier, *rest]}],
                self.recovery_loss,
                lambda progress: progress.epoch >= self.first_selectable(progress.epochs),
                needs_clean=True,
            ),
        ]

    def classifier_loss(self, batch: Modalities, progress: Progress, clean: Modalities) -> Loss:
        """The first stage: the task's loss on clean samples, nothing recovered."""
        return self.loss(Output(self._answer(self.project(clean))), clean, progress)

    def recovery_loss(self, batch: Modalities, progress: Progress, clean: Modalities) -> Loss:
        """The second stage: the task's loss on recovered streams, and the errors of recovering.

        A sample's are summed over the modalities that it lacks: the score networks' denoising
        error (:func:`~baselines.diffusion.score_error`), and the refined stream's mean squared
        distance to the clean one's. The curves also show the streams' deviations, below 0.1 of
        which the sampler gives mostly noise.
        """
        with torch.no_grad():
            truth, streams = self.project(clean), self.project(batch)
        shown = balanced_shown(batch.available, self.patterns)
        seen = {
            m: torch.where(shown[:, place, None, None], streams[m], 0.0)
            for place, m in enumerate(MODALITIES)
        }
        full = self.completed(seen, shown, batch.masks)
        total, terms = self.loss(Output(self._answer(full)), batch, progress)
        denoising, distance = total.new_zeros(()), total.new_zeros(())
        for m in self.targets:
            rows, lacks = _to_recover(m, shown, self.training)
            if len(rows):
                # of what a sample never had there is no truth
                known = (lacks & clean.available[rows, MODALITIES.index(m)]).float()
                condition, wanted = self._condition(m, seen, shown, rows), truth[m][rows]
                denoising = denoising + known @ score_error(self.score[m], wanted, condition)
                distance = distance + known @ (full[m][rows] - wanted).square().mean((1, 2))
            terms[f"deviation_{m}"] = truth[m].std(correction=0)
        denoising, distance = denoising / len(batch), distance / len(batch)
        total = total + self.config.generation_weight * (denoising + distance)
        return total, {**terms, "denoising": denoising, "distance": distance}

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The task's part: mean absolute error for sentiment, cross-entropy for classes."""
        assert batch.label is not None
        total = task_loss(output, batch.label, self.spec.task, "l1")
        return total, {"task": total}


def noise_bank(config: IMDerConfig, length: int) -> Tensor:
    """(paths, 3, 2K + 1, L, d) standard normal noise of the predictions, from the config's seed.

    Each path has, modality by modality in the order t, a, v, the start, the conditions' noise of
    K steps and that of the steps, each drawn as (d, L).
    """
    shape = (len(MODALITIES), 2 * config.steps + 1, config.width, length)
    random = np.random.RandomState(config.noise_seed)
    drawn = [random.standard_normal(shape).astype(np.float32) for _ in range(config.noise_paths)]
    return torch.from_numpy(np.stack(drawn)).transpose(-1, -2).contiguous()


def _classifier_settings(
    config: IMDerConfig, spec: DataSpec, length: int
) -> tuple[MulTConfig, DataSpec]:
    """MulT over three streams of one shape, which it has no need to project."""
    own = {"width", "heads", "layers", "attention_dropout_audio", "embedding_dropout"}
    none = ("attention_dropout_text", "output_dropout", "text_dropout")
    settings = MulTConfig.model_validate(
        {**config.model_dump(include=own), **dict.fromkeys(none, 0.0)}
    )
    widths, lengths = (dict.fromkeys(MODALITIES, size) for size in (config.width, length))
    return settings, DataSpec(widths, lengths, MODALITIES, spec.task, spec.classes)


def _to_recover(modality: Modality, available: Tensor, training: bool) -> tuple[Tensor, Tensor]:
    """Rows of (B, 3) that a modality is sampled for, and which of them lack it and have another.

    A sampler runs for these alone, but in a training step on a GPU for all: to learn how many they
    are, a step would wait for the device, and so could not be recorded (benchmark/replay.py).
    What is launched there takes as long for one row as for a batch.
    """
    lacks = ~available[:, MODALITIES.index(modality)] & available.any(1)
    if training and available.device.type != "cpu":
        return torch.arange(len(lacks), device=lacks.device), lacks
    rows = lacks.nonzero()[:, 0]
    return rows, lacks[rows]
