"""SAM-LML, supervised attention for low-quality multimodal data: a reconstruction.

Mai, Han, Hu. "Supervised Attention Mechanism for Low-quality Multimodal Data", EMNLP 2025. Its
text and code were not available. The core is the first author's public "Guided Attention Learning"
code (GAL), read completely; the low-quality part is ours, after the abstract's idea.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.input_noise import InputNoise, is_missing
from baselines.kernels import only_where
from baselines.layers import EncoderStack, TemporalProjection
from baselines.sam_lml_config import Interactions, SAMLMLConfig
from baselines.supervised_attention import (
    Attended,
    Interaction,
    Member,
    Query,
    degradation_ranking_loss,
    enhancement_loss,
    latent_noise,
    pick_steps,
    ranking_loss,
)
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

_INTERACTIONS: dict[Interactions, tuple[tuple[Modality, tuple[Modality, ...]], ...]] = {
    "gal3": (
        ("text", ("audio", "vision")),
        ("vision", ("audio", "text")),
        ("audio", ("vision", "text")),
    ),
    "dir9": tuple((query, (key,)) for query in MODALITIES for key in MODALITIES),
}
"""(query, keys) of each interaction."""

_SMALLEST_RANGE = 1e-6
_RECENT = 0.1
"""Share of the newest batch in a running average, as in batch normalisation."""
Encoded = Mapping[str, Tensor]


class SAMLML(BranchedModel):
    """SAM-LML (Mai et al., EMNLP 2025), reconstructed.

    Each modality becomes a sequence of width d. An interaction lets one modality attend to the
    sequences of others, joined in time, and pools the result to o_p; a shared scorer gives it a
    score e_p, and the sum of e_p o_p is read by the head. Orderings supervise the attention: keys
    enhanced with their query above the original above noise, and interactions that predict better
    alone above those that predict worse, all above noise.
    """

    Config = SAMLMLConfig
    recordable = True
    card = ModelCard(
        title="SAM-LML",
        citation="Mai, Han, Hu. Supervised Attention Mechanism for Low-quality Multimodal Data. "
        "EMNLP 2025.",
        source="reconstruction",
        version=1,
        deviations=(
            "Neither the paper's text nor its code was available. The core is the code of Guided "
            "Attention Learning by the same first author, which has the abstract's ideas; that it "
            "is an earlier version is an inference. Published numbers are no yardstick for it.",
            "Not reconstructed, known only by name: modality decomposition, mutual-information, "
            "reconstruction, variance and context terms.",
            "The low-quality part (lowq) is ours: a missing sequence, known by being zero "
            "throughout, becomes noise of the modality's spread; scores must fall from the "
            "input to a noisier version to pure noise.",
            "Text is frozen features, not a fine-tuned DeBERTa; Adam with the common training's "
            "rates and schedule instead of AdamW at 1e-5 with warm-up.",
            "Audio and vision are standardised by channel instead of min-max scaled by batch, "
            "and padding is masked; batch_minmax and use_masks bring the original back, but for "
            "the range at evaluation, which is a running average over training batches: by the "
            "original's own batch a prediction would depend on its neighbours.",
            "A sequence that is zero throughout gets the position codes of its steps in the audio "
            "and vision encoders, which would otherwise blow up the first gradients.",
            "Where lengths differ, a key step is enhanced by the query step at the same relative "
            "position, and it is that pair whose logits are compared; the original has equal "
            "lengths.",
            "The score ranking starts after 10 % of the epochs (5 of 50 in the original).",
            "Classification: cross-entropy for the task and for the interactions' predictors.",
        ),
        reads_availability=True,
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "official": Preset(
            model={"lowq": False, "use_masks": False, "batch_minmax": True},
            # AdamW's decoupled decay of 0.01 at this rate changes a weight by 1e-4 in 50 epochs
            training={
                "epochs": 50, "batch_size": 50, "learning_rate": 1e-5, "weight_decay": 0.0,
                "clip_norm": None,
            },
        ),
    }  # fmt: skip
    search_space: ClassVar[Mapping[str, Sequence[Any]]] = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.rank_weight": (0.0, 0.001, 0.005, 0.02),
        "model.noise_weight": (0.0, 0.001, 0.005, 0.02),
        "model.enhance_weight": (0.0, 0.02, 0.1, 0.3),
        "model.attention_margin": (0.2, 1.0),
        "model.score_margin": (0.1, 0.2, 0.5),
    }

    def __init__(self, config: SAMLMLConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.config, self.spec = config, spec
        d, outputs = config.width, spec.classes if spec.task == "classification" else 1
        self.text_in = nn.Linear(spec.widths["text"], d, bias=False)
        self.convolution, self.encoder = nn.ModuleDict(), nn.ModuleDict()
        for m in ("audio", "vision"):
            self.convolution[m] = TemporalProjection(spec.widths[m], d, 3)
            self.encoder[m] = EncoderStack(
                d,
                config.heads,
                config.layers,
                attention_dropout=(config.dropout,),
                relu_dropout=config.dropout,
                residual_dropout=config.dropout,
                embedding_dropout=config.dropout,
                causal=False,
            )
            if config.batch_minmax:
                self.register_buffer(f"extremes_{m}", torch.tensor([0.0, 1.0]))
        self.wiring = _INTERACTIONS[config.interactions]
        self.interactions = nn.ModuleList(Interaction(d) for _ in self.wiring)
        hidden = config.scorer_width
        self.scorer = nn.Sequential(
            nn.Linear(d, hidden), nn.Tanh(), nn.Linear(hidden, d), nn.Tanh(), nn.Linear(d, 1)
        )
        self.head = _head(d, config.head_width, outputs)
        self.side_heads = nn.ModuleList(_head(d, config.head_width, outputs) for _ in self.wiring)
        self.noise = InputNoise(spec) if config.lowq else None

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Encoded:
        """One modality's sequence.

        Returns:
            "steps" (B, T, d); "real" (B, T) bool, the steps that attention sees; "counted" (B, T)
            bool, those that the losses on attention count.
        """
        config = self.config
        real = mask if config.use_masks else torch.ones_like(mask)
        counted = real
        if self.noise is not None and config.missing_fill == "noise":
            counted = real & ~is_missing(features)[:, None]  # noise need not be above noise
            features = self.noise.fill(modality, features, mask)
        if modality == "text":
            return {"steps": self.text_in(features), "real": real, "counted": counted}
        if config.batch_minmax:
            features = self._scaled(modality, features)
        steps = self.convolution[modality](F.pad(features, (0, 0, 1, 1)))
        keys = real[None] if config.use_masks else None
        steps = self.encoder[modality](steps[None], real_keys=keys)[0]
        return {"steps": steps, "real": real, "counted": counted}

    def _scaled(self, modality: Modality, features: Tensor) -> Tensor:
        """Features by the smallest and largest value: of the training batch, or running ones."""
        extremes = getattr(self, f"extremes_{modality}")
        if self.training:
            current = torch.stack(features.detach().aminmax())
            extremes.lerp_(current, _RECENT)
            extremes = current
        low, high = extremes.unbind()
        return (features - low) / (high - low).clamp_min(_SMALLEST_RANGE)

    def fuse(self, encoded: Mapping[Modality, Encoded]) -> Output:
        """The answer; the interactions (B, P, d) and scores (B, P) go along for the loss.

        In training the sequences and what attention made of them do too.
        """
        attended: list[Attended] = []
        for interaction, (query, keys) in zip(self.interactions, self.wiring, strict=True):
            steps, real = (torch.cat([encoded[m][n] for m in keys], 1) for n in ("steps", "real"))
            asking = encoded[query]
            attended.append(interaction(asking["steps"], asking["real"], steps, real))
        o = torch.stack([a.pooled for a in attended], 1)
        scores = self.scorer(o)[..., 0]
        weights = scores.softmax(1) if self.config.fusion_weights == "softmax" else scores
        answer = self.head((weights[:, None] @ o)[:, 0])
        if self.spec.task == "regression":
            answer = answer.squeeze(-1)
        extras: dict[str, Any] = {"interactions": o, "scores": scores}
        if self.training:
            extras |= {"encoded": encoded, "attended": attended}
        return Output(answer, extras=extras)

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """The weighted sum of task, attention, side-predictor and ranking terms.

        The terms on attention need what a forward pass in training mode leaves, and are left out
        otherwise.
        """
        assert batch.label is not None
        config, scores = self.config, output.extras["scores"]
        task = task_loss(output, batch.label, self.spec.task, "l2")
        errors = self._side_errors(output.extras["interactions"], batch.label)
        side = errors.sum(1).mean()
        terms = {"task": task, "side": side, "mean_score_size": scores.abs().mean()}
        total = task + config.side_weight * side
        if self._ranks(progress):
            noise_score = self._noise_score(output)
            rank = ranking_loss(scores, errors.detach(), noise_score, config.score_margin)
            total, terms["rank"] = total + config.rank_weight * rank, rank
        if "attended" in output.extras:
            noise, enhance = self._attention_losses(output)
            terms |= {"noise": noise, "enhance": enhance}
            total = total + config.noise_weight * noise + config.enhance_weight * enhance
        return total, terms

    def training_loss(self, batch: Modalities, progress: Progress) -> Loss:
        """The loss; for about half of the batches also that of two worse versions of the input."""
        config = self.config
        output = self(batch)
        total, terms = self.loss(output, batch, progress)
        if self.noise is None:
            return total, terms
        self.noise.observe(batch)
        scores = output.extras["scores"]
        low_quality = only_where(
            torch.rand((), device=total.device) < config.lowq_probability,
            lambda: self._low_quality_loss(batch, scores, progress),
            torch.zeros_like(total),
        )
        return total + low_quality, {**terms, "low_quality": low_quality}

    def _low_quality_loss(self, batch: Modalities, clean: Tensor, progress: Progress) -> Tensor:
        """The task on a perturbed input, and the ordering of the scores as it gets worse."""
        assert self.noise is not None
        assert batch.label is not None
        config = self.config
        perturbed, replaced, chosen = self.noise.worsen(batch, config.lowq_intensity)
        output = self(perturbed)
        loss = config.lowq_task_weight * task_loss(output, batch.label, self.spec.task, "l2")
        if self._ranks(progress):
            loss = loss + config.lowq_rank_weight * degradation_ranking_loss(
                clean,
                output.extras["scores"],
                self(replaced).extras["scores"],
                self._affected(chosen).to(clean.dtype),
                config.lowq_margin,
            )
        return loss

    def _affected(self, chosen: Tensor) -> Tensor:
        """(B, 3) chosen modalities to (B, P): is one of them among the interaction's keys?"""
        by_name = dict(zip(MODALITIES, chosen.unbind(1), strict=True))
        return torch.stack(
            [torch.stack([by_name[m] for m in keys], 1).any(1) for _, keys in self.wiring], 1
        )

    def _attention_losses(self, output: Output) -> tuple[Tensor, Tensor]:
        """The noise and enhancement terms, summed over interactions and their members."""
        config, encoded = self.config, output.extras["encoded"]
        noise = enhance = torch.zeros((), device=output.prediction.device)
        picks = {}
        for m in MODALITIES:
            steps = encoded[m]["steps"]
            at = pick_steps(steps.shape[1], config.noise_share, steps.device)
            shape = (steps.shape[0], len(at), steps.shape[2])
            picks[m] = at, latent_noise(config.latent_noise, shape, steps)
        for interaction, (asking, keys), own in zip(
            self.interactions, self.wiring, output.extras["attended"], strict=True
        ):
            assert isinstance(interaction, Interaction)
            query = Query(
                own.queries, interaction.key(encoded[asking]["steps"]), encoded[asking]["counted"]
            )
            lengths = [encoded[m]["steps"].shape[1] for m in keys]
            mapped, logits = own.keys.split(lengths, 1), own.logits.split(lengths, 2)
            for m, k, scores in zip(keys, mapped, logits, strict=True):
                member = Member(k, scores, encoded[m]["counted"])
                at, rows = picks[m]
                if len(at):
                    margin = config.attention_margin
                    noise = noise + interaction.noise_loss(query, member, rows, at, margin)
                if m != asking:  # a key mixed with itself stays what it is
                    enhance = enhance + enhancement_loss(
                        query, member, config.enhance_share, config.attention_margin
                    )
        return noise, enhance

    def _side_errors(self, interactions: Tensor, label: Tensor) -> Tensor:
        """(B, P) losses of each interaction's own predictor, which alone is trained by them."""
        errors = []
        for head, o in zip(self.side_heads, interactions.detach().unbind(1), strict=True):
            answer = head(o)
            if self.spec.task == "regression":
                errors.append((answer.squeeze(-1) - label).square())
            else:
                errors.append(F.cross_entropy(answer, label, reduction="none"))
        return torch.stack(errors, 1)

    def _noise_score(self, output: Output) -> Tensor:
        """The score of one noise vector, a scalar."""
        o = output.extras["interactions"]
        return self.scorer(latent_noise(self.config.latent_noise, o.shape[-1:], o))[0]

    def _ranks(self, progress: Progress) -> bool:
        """Whether scores are ranked yet: the first epochs only teach the predictors."""
        return progress.epoch >= int(self.config.pretrain_share * progress.epochs)


def _head(width: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
