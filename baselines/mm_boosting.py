"""MM-Boosting, multimodal boosting: parallel base learners, weighed by a learned contribution.

Mai, Sun, Xiong, Zeng, Hu. "Multimodal Boosting: Addressing Noisy Modalities and Identifying
Modality Contribution", IEEE Transactions on Multimedia 2024. Neither its text nor its code was
available: what follows is a reconstruction of the abstract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.boosting_loss import (
    complementary_weights,
    deserved_scores,
    deserved_shares,
    learner_losses,
)
from baselines.kernels import dropout
from baselines.layers import EncoderStack, TemporalProjection
from baselines.mm_boosting_config import MMBoostingConfig
from baselines.pretraining import first_stage_epochs
from baselines.subnetworks import masked_mean
from benchmark.interface import (
    BranchedModel,
    DataSpec,
    Loss,
    ModelCard,
    Output,
    Preset,
    Progress,
    task_loss,
)
from protocols.modalities import MODALITIES, Modalities, Modality

_KERNEL, _PADDING = 3, 1
_WARM_UP = 0.1
_LEAST_SCORE = 1e-3
_SURE = 1e-6
_RELATIVE_TEMPERATURE = 0.5
MULTIMODAL = "multimodal"
"""The learner that reads all modalities."""


class MMBoosting(BranchedModel):
    """MM-Boosting (Mai et al., IEEE TMM 2024), reconstructed.

    Each modality becomes one vector h_m: the mean over time of linear text, or of a convolution
    and a self-attention encoder. A base learner for each modality, and one for all of them, makes
    r_k of it and an answer y_k. A contribution network reads r_k and gives a score c_k, taught by
    how wrong the learner was; the prediction is the mean of the y_k, weighed by their scores.
    While they train, a learner's samples weigh more where the others are wrong.

    A zero modality's h_m depends on the number of its real steps alone (text's is zero). The
    reliability is the scores of the three modalities' learners, 0.5 where there is no such learner.
    """

    Config = MMBoostingConfig
    card = ModelCard(
        title="MM-Boosting",
        citation="Mai, Sun, Xiong, Zeng, Hu. Multimodal Boosting: Addressing Noisy Modalities and "
        "Identifying Modality Contribution. IEEE Transactions on Multimedia 2024.",
        source="reconstruction",
        version=1,
        deviations=(
            "Only the abstract was available, neither text nor code. From it: parallel learners, "
            "one of them multimodal; contributions taught by a transform of the predictive loss; "
            "larger weights for samples that the other learners get wrong. Published numbers are "
            "no yardstick for it.",
            "The encoders are those of the first author's later public code (Guided Attention "
            "Learning); learners, transform, weights and warm-up are ours.",
            "Text is frozen features, not a fine-tuned DeBERTa; the common training, not the "
            "author's rate of 1e-5.",
            "In the first tenth of the epochs the learners count alike and so do the samples; "
            "validation weighs by the scores from the first epoch on.",
            "Scores are taught by the losses on samples that the learners train on, so they are "
            "too sure where the learners overfit; the curves show scores and their targets.",
            "The steps of a sample's wholly zero stream have position codes (the shared encoder's "
            "guard): a missing modality's vector then depends on its number of steps alone.",
            "Classification: log-probabilities are averaged in place of sentiments.",
            "Dropout rates are exact to 1/65536 on a CPU.",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {"paper": Preset()}
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.temperature": (0.5, 1.0, 2.0),
        "model.contribution_weight": (0.03, 0.1, 0.3, 1.0),
        "model.complementary": (True, False),
        "model.width": (60, 100),
    }

    def __init__(self, config: MMBoostingConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        unimodal = spec.present if config.learners != "multimodal" else ()
        joint = (MULTIMODAL,) if len(spec.present) > 1 and config.learners != "unimodal" else ()
        self.learners: tuple[str, ...] = (*unimodal, *joint)
        if not self.learners:
            raise ValueError("learners multimodal needs data with two modalities or more")
        d, outputs = config.width, spec.classes if spec.task == "classification" else 1
        self.front = self._front_end()
        separate = not config.share_encoders and joint and unimodal
        self.own_front = self._front_end() if separate else None
        self.hidden = nn.ModuleDict(
            {
                k: nn.Linear(len(spec.present) * d if k == MULTIMODAL else d, d)
                for k in self.learners
            }
        )
        self.answer = nn.ModuleDict({k: nn.Linear(d, outputs) for k in self.learners})
        self.score = nn.ModuleDict(
            {
                k: nn.Sequential(nn.Linear(d, d // 2), nn.ReLU(), nn.Linear(d // 2, 1))
                for k in self.learners
            }
        )

    def _front_end(self) -> nn.ModuleDict:
        return nn.ModuleDict(
            {m: FrontEnd(m, self.spec.widths[m], self.config) for m in self.spec.present}
        )

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One modality's "h" (B, d), and "own" (B, d) where the multimodal learner has encoders.

        Nothing for a modality that the data set lacks.
        """
        if modality not in self.spec.present:
            return {}
        encoded = {"h": self.front[modality](features, mask)}
        if self.own_front is not None:
            encoded["own"] = self.own_front[modality](features, mask)
        return encoded

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """The answer from the modalities' vectors: of classes, mixed log-probabilities.

        The extras, in the order of ``learners``: "answers" (B, K, out), log-probabilities of
        classes, and "scores" (B, K).
        """
        read: dict[str, Tensor] = {m: encoded[m]["h"] for m in self.spec.present}
        kind = "h" if self.own_front is None else "own"
        read[MULTIMODAL] = torch.cat([encoded[m][kind] for m in self.spec.present], -1)
        answers, logits = [], []
        for k in self.learners:
            r = self._dropout(F.relu(self.hidden[k](read[k])))
            answers.append(self.answer[k](r))
            logits.append(self.score[k](r.detach()))
        y, scores = torch.stack(answers, 1), self._scores(torch.cat(logits, 1))
        if self.spec.task == "classification":
            y = y.log_softmax(-1)
        reliability = scores.new_full((len(scores), len(MODALITIES)), 0.5)
        for place, m in enumerate(MODALITIES):
            if m in self.learners:
                reliability[:, place] = scores[:, self.learners.index(m)].detach()
        return Output(
            self._mixed(y, self._weights(scores)),
            reliability=reliability.clamp(_SURE, 1.0 - _SURE),
            extras={"answers": y, "scores": scores},
        )

    def _scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(1) if self.config.target == "relative" else logits.sigmoid()

    def _weights(self, scores: Tensor) -> Tensor:
        """(B, K) weights of the learners with these scores; they sum to 1."""
        if self.config.ablation == "no_gate":
            return torch.full_like(scores, 1 / len(self.learners))
        if not self.config.contribution_grad:
            scores = scores.detach()
        if self.config.normalise == "softmax":
            return scores.softmax(1)
        scores = scores + _LEAST_SCORE  # no score at all: equal weights
        return scores / scores.sum(1, keepdim=True)

    def _mixed(self, answers: Tensor, weights: Tensor) -> Tensor:
        """(B, K, out) by (B, K) to a prediction."""
        mixed = (weights[:, None] @ answers)[:, 0]
        return mixed if self.spec.task == "classification" else mixed[:, 0]

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The error of the prediction, the weighed ones of the learners, and the scores'.

        The curves also show each learner's mean score and what it deserved, and the share of
        sample weights that were cut.
        """
        assert batch.label is not None
        config, answers, scores = self.config, output.extras["answers"], output.extras["scores"]
        losses = learner_losses(answers, batch.label, self.spec.task)
        if config.target == "relative":
            deserved = deserved_shares(losses, _RELATIVE_TEMPERATURE)
        else:
            deserved = deserved_scores(losses, config.temperature)
        weights, cut = torch.ones_like(losses), losses.new_zeros(())
        if progress.epoch < first_stage_epochs(_WARM_UP, progress.epochs):
            even = torch.full_like(scores, 1 / len(self.learners))
            output = Output(self._mixed(answers, even))
        elif config.complementary:
            weights, cut = complementary_weights(losses)
        own = (weights * losses).mean(0)
        terms = {
            "task": task_loss(output, batch.label, self.spec.task, "l1"),
            "contribution": (scores - deserved).square().mean(),
            "cut": cut,
        }
        for number, k in enumerate(self.learners):
            terms[f"learner_{k}"] = own[number]
            terms[f"score_{k}"] = scores[:, number].mean()
            terms[f"deserved_{k}"] = deserved[:, number].mean()
        total = terms["task"] + own.sum() + config.contribution_weight * terms["contribution"]
        return total, terms

    def _dropout(self, x: Tensor) -> Tensor:
        return dropout(x, self.config.dropout, self.training)


class FrontEnd(nn.Module):
    """One modality's vector: the mean over real steps of linear text, or of an encoder's steps.

    Args:
        modality: which.
        width_in: d_m.
        config: width and the encoder's settings.
    """

    def __init__(self, modality: Modality, width_in: int, config: MMBoostingConfig) -> None:
        super().__init__()
        self.encoder = None
        if modality == "text":
            self.project: nn.Module = nn.Linear(width_in, config.width, bias=False)
            return
        self.project = TemporalProjection(width_in, config.width, _KERNEL)
        self.encoder = EncoderStack(
            config.width,
            config.heads,
            config.layers,
            attention_dropout=(config.dropout,),
            relu_dropout=config.dropout,
            residual_dropout=config.dropout,
            embedding_dropout=config.dropout,
            causal=False,
        )

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d_m) and a (B, T) mask to (B, d); zeros where no step is real."""
        if self.encoder is None:  # linear: the mean comes first
            return self.project(masked_mean(features, mask))
        steps = self.project(F.pad(features, (0, 0, _PADDING, _PADDING)))
        return masked_mean(self.encoder(steps[None])[0], mask)
