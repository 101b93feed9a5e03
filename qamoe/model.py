"""QA-MoE: the forward pass of Eq. 4-9 and the loss of Eq. 10.

Zhu, Jiang, Jiang, Hou, Zhou, Lin, Wang: "QA-MoE: Towards a Continuous Reliability Spectrum with
Quality-Aware Mixture of Experts for Robust Multimodal Sentiment Analysis", ACL 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark.interface import BranchedModel, DataSpec, Loss, ModelCard, Output, Progress
from protocols.modalities import MODALITIES, Modalities, Modality
from qamoe.config import QAMoEConfig, Sharing
from qamoe.encoder import Pooling, SequenceEncoder, masked_mean
from qamoe.experts import ExpertBank, Router
from qamoe.fusion import FusionLayer
from qamoe.loss import classification_nll, heteroscedastic_nll, unimodal_quality_loss
from qamoe.quality import GaussianFeature, UngatedFeature, VarianceFreeFeature

LOG_VARIANCE_LIMIT = 10.0
PRIOR_STD = 0.02
SHARED: Sharing = "shared"


class QAMoE(BranchedModel):
    """The paper's model. Its branches meet only in the fusion layer."""

    Config = QAMoEConfig
    card = ModelCard(
        title="QA-MoE",
        citation=(
            "Zhu et al.: QA-MoE: Towards a Continuous Reliability Spectrum with Quality-Aware "
            "Mixture of Experts for Robust Multimodal Sentiment Analysis. ACL 2026"
        ),
        source="paper read",
        version=1,
        deviations=(
            "s is clamped to [-10, 10] for numerical safety",
            "encoder, pooling and fusion are unspecified in the paper: readings A1, A2, A8",
            "quality_supervision=unimodal, off by default, is an extension of ours",
        ),
    )
    recordable = True
    search_space: ClassVar = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.topk": (1, 2, 3, 4, 8),
    }

    def __init__(self, config: QAMoEConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        d = config.width
        self.config = config
        self.task = spec.task
        self.encoders = nn.ModuleDict(
            {m: SequenceEncoder(spec.widths[m], config) for m in MODALITIES}
        )
        self.pools = nn.ModuleDict({m: Pooling(d, config.pool) for m in MODALITIES})
        self.features = nn.ModuleDict({m: self._feature_head() for m in MODALITIES})
        self.routers = _shared_or_not(
            config.router, lambda: Router(d, config.experts, config.topk, config.topk_renorm)
        )
        self.banks = _shared_or_not(
            config.expert_bank,
            lambda: ExpertBank(d, config.experts, config.expert, config.expert_hidden_mult),
        )
        self.modality_embedding = (
            nn.Parameter(torch.randn(3, d) * PRIOR_STD) if config.modality_embedding else None
        )
        self.prior = self._prior()
        self.fusion = FusionLayer(d, config.fusion, config.dropout, config.encoder_heads)
        self.predict = nn.Linear(d, spec.classes)
        self.predict_log_variance = nn.Linear(d, 1)
        if config.quality_supervision == "unimodal":
            self.own_predict = nn.ModuleDict({m: nn.Linear(d, spec.classes) for m in MODALITIES})

    def _feature_head(self) -> nn.Module:
        config = self.config
        if config.ablation == "no_gate":
            return UngatedFeature(config.width, config.mu_head)
        if config.ablation == "no_variance":
            return VarianceFreeFeature(config.width, config.mu_head)
        return GaussianFeature(config.width, config.mu_head, config.quality_predictor)

    def _prior(self) -> nn.Parameter | None:
        """y_prior of Eq. 7, (1, d) or (3, d) (A9)."""
        config = self.config
        if config.ablation in ("no_gate", "no_prior"):
            return None
        if config.prior == "zeros_frozen":
            return nn.Parameter(torch.zeros(1, config.width), requires_grad=False)
        rows = 3 if config.prior == "per_modality" else 1
        return nn.Parameter(torch.randn(rows, config.width) * PRIOR_STD)

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One modality up to y_m (Eq. 4-7).

        Returns:
            "y" (B, d); "routing" (B, N); "r" (B,) unless ablated; with quality supervision "own"
            (B, C), the modality's own prediction, and "variance" (B,), its mean sigma2.
        """
        config, position = self.config, MODALITIES.index(modality)
        steps = self.encoders[modality](features, mask)
        pool = self.pools[modality]
        u = steps if config.moe_level == "token" else pool(steps, mask)
        mu, variance, r = self.features[modality](u)
        z = mu
        if config.sample_latent and self.training and variance is not None:
            z = mu + variance.sqrt() * torch.randn_like(mu)
        if self.modality_embedding is not None:
            z = z + self.modality_embedding[position]
        routing = self.routers[_key(config.router, modality)](z)
        y = self.banks[_key(config.expert_bank, modality)](z, routing)
        if r is not None:
            y = r[..., None] * y  # Eq. 7
            if self.prior is not None:
                y = y + (1 - r[..., None]) * self.prior[position % len(self.prior)]
        encoded = {"y": y, "routing": routing}
        if r is not None:
            encoded["r"] = r
        if config.quality_supervision == "unimodal" and variance is not None:
            encoded["own"] = self.own_predict[modality](mu)
            encoded["variance"] = variance.mean(dim=-1)
        if config.moe_level == "token":
            averages = {name: masked_mean(x, mask) for name, x in encoded.items() if name != "y"}
            return {"y": pool(y, mask), **averages}
        return encoded

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """h_final, ŷ and s from the three branches (Eq. 8 and 9)."""

        def stack(name: str) -> Tensor | None:
            if name not in encoded["text"]:
                return None
            return torch.stack([encoded[m][name] for m in MODALITIES], dim=1)

        y = stack("y")
        assert y is not None
        h = self.fusion(y)
        prediction = self.predict(h)
        log_variance = self.predict_log_variance(h)[:, 0]
        return Output(
            prediction[:, 0] if self.task == "regression" else prediction,
            log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT),
            reliability=stack("r"),
            routing=stack("routing"),
            extras={"own": stack("own"), "variance": stack("variance")},
        )

    def expert_shares(self) -> Mapping[str, float]:
        """k of the N experts; all of them are computed here, as one product."""
        return {f"banks.{key}": self.config.topk / self.config.experts for key in self.banks}

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """Eq. 10 (or A23 for classes), plus the extension's term where it is on."""
        assert batch.label is not None
        assert output.log_variance is not None
        label, s = batch.label, output.log_variance
        if self.task == "regression":
            total = heteroscedastic_nll(output.prediction, s, label, self.config.beta_nll)
        else:
            total = classification_nll(output.prediction, s, label, self.config.classification_loss)
        terms = {"nll": total, "mean_log_variance": s.mean()}
        if output.reliability is not None:
            for position, m in enumerate(MODALITIES):
                terms[f"reliability_{m}"] = output.reliability[:, position].mean()
        if self.config.quality_supervision == "unimodal":
            own = output.extras["own"]
            quality = unimodal_quality_loss(
                own[..., 0] if self.task == "regression" else own,
                output.extras["variance"],
                label,
                self.task == "classification",
            )
            terms["quality"] = quality
            total = total + self.config.quality_supervision_weight * quality
        return total, terms


def _shared_or_not(sharing: Sharing, make: Callable[[], nn.Module]) -> nn.ModuleDict:
    """One module for all modalities, or one for each (A6)."""
    return nn.ModuleDict({key: make() for key in (MODALITIES if sharing != SHARED else (SHARED,))})


def _key(sharing: Sharing, modality: Modality) -> str:
    return SHARED if sharing == SHARED else modality
