"""QA-MoE: the forward pass of Eq. 4-9 and the loss of Eq. 10, in the readings of ``config``.

In the reading A31 the log-variance is s = w_s h + b_s + sum_m softplus(a_m) log v_m with v_m =
mean_k sigma2_mk and a_m learned, 0 at first, over the modalities that the data set has: where one
modality's variance rises, s rises with it.

Zhu, Jiang, Jiang, Hou, Zhou, Lin, Wang: "QA-MoE: Towards a Continuous Reliability Spectrum with
Quality-Aware Mixture of Experts for Robust Multimodal Sentiment Analysis", ACL 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from benchmark.interface import BranchedModel, DataSpec, Loss, ModelCard, Output, Preset, Progress
from protocols.modalities import MODALITIES, Modalities, Modality
from qamoe.config import QAMoEConfig, Sharing
from qamoe.encoder import Pooling, SequenceEncoder, masked_mean
from qamoe.experts import ExpertBank, Router
from qamoe.fusion import FusionLayer
from qamoe.loss import (
    availability_loss,
    classification_nll,
    heteroscedastic_nll,
    load_balance_loss,
    unimodal_quality_loss,
)
from qamoe.precision import LOG_VARIANCE_LIMIT, PrecisionFusion
from qamoe.quality import GaussianFeature, UngatedFeature, VarianceFreeFeature
from qamoe.shared_errors import SharedErrorsFusion

PRIOR_STD = 0.02
LEAST_READ_VARIANCE = 1e-8
"""Softplus can be exactly 0, of which there is no logarithm."""
OWN_ANSWERS_WEIGHT = 0.5
SHARED: Sharing = "shared"
_EXTRAS = ("own", "variance", "missing", "kept", "probability")
"""Of a branch's tensors those that the loss reads."""


class QAMoE(BranchedModel):
    """The paper's model. Its branches meet only in the fusion layer."""

    Config = QAMoEConfig
    usual = True
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
            "quality_supervision=unimodal, fusion=precision and fusion=shared_errors, off by "
            "default, are extensions of ours",
        ),
    )
    recordable = True
    presets: ClassVar[Mapping[str, Preset]] = {
        "paper": Preset(),
        "released": Preset(
            model={
                "missing_flags": True,
                "quality_supervision": "availability",
                "load_balance": 0.01,
            },
            training={
                "optimizer": "adamw", "learning_rate": 1e-4, "weight_decay": 1e-4,
                "schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 3,
            },
            card=replace(
                card,
                source="seen through a third party",
                reads_availability=True,
                deviations=(
                    "A public implementation that cites the paper; whether its authors are the "
                    "paper's is not known, and its source could not be had. What is here follows "
                    "another project's adapter and settings for it",
                    "Unknown: the formula of the quality term (here the cross-entropy of r_m "
                    "against what is available), where the missing flags enter (here beside u_m), "
                    "whether its regression term is Eq. 10 (here it is), which width its 128 is "
                    "(here d)",
                    "Left out: a contrastive term of weight 0.05 and later 0.1, whose formula is "
                    "unknown; an entropy term of weight 0",
                    "One encoder layer, where two of width 256 are told of",
                    "Text is frozen, not fine-tuned from the sixth epoch on",
                    "All 30 epochs are trained and the best on validation is kept; it stops 7 "
                    "epochs after the best",
                    "It trains and validates on degraded inputs: ask for the regime `released`",
                    "The flags are read off the features: missing is what is zero throughout, "
                    "also a text that lost every token",
                ),
            ),
        ),
    }  # fmt: skip
    search_space: ClassVar = {
        "training.learning_rate": (1e-3, 5e-4, 1e-4),
        "model.topk": (1, 2, 3, 4, 8),
    }

    def __init__(self, config: QAMoEConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        d = config.width
        self.config = config
        self.task = spec.task
        self.present = spec.present
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
        if config.fusion == "precision":
            self.fusion: nn.Module = PrecisionFusion(d, spec.classes, spec.present)
        elif config.fusion == "shared_errors":
            joint = FusionLayer(d, "concat_mlp", config.dropout, config.encoder_heads)
            self.fusion = SharedErrorsFusion(d, spec.classes, spec.present, joint)
        else:
            self.fusion = FusionLayer(d, config.fusion, config.dropout, config.encoder_heads)
            self.predict = nn.Linear(d, spec.classes)
            self.predict_log_variance = nn.Linear(d, 1)
        if config.uncertainty_head == "reads_variance":
            self.variance_weight = nn.Parameter(torch.zeros(len(spec.present)))  # a
        if config.quality_supervision == "unimodal":
            self.own_predict = nn.ModuleDict({m: nn.Linear(d, spec.classes) for m in MODALITIES})

    def _feature_head(self) -> nn.Module:
        config, flags = self.config, int(self.config.missing_flags)
        if config.ablation == "no_gate":
            return UngatedFeature(config.width, config.mu_head, flags)
        if config.ablation == "no_variance":
            return VarianceFreeFeature(config.width, config.mu_head, flags)
        return GaussianFeature(config.width, config.mu_head, config.quality_predictor, flags)

    def _prior(self) -> nn.Parameter | None:
        """y_prior of Eq. 7, (1, d) or (3, d) (A9)."""
        config = self.config
        if config.ablation in ("no_gate", "no_prior") or config.by_precision:
            return None
        if config.prior == "zeros_frozen":
            return nn.Parameter(torch.zeros(1, config.width), requires_grad=False)
        rows = 3 if config.prior == "per_modality" else 1
        return nn.Parameter(torch.randn(rows, config.width) * PRIOR_STD)

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Mapping[str, Tensor]:
        """One modality up to y_m (Eq. 4-7).

        Returns:
            "y" (B, d), without its gate for fusion by precisions; "routing" (B, N); "missing"
            (B,), 1 where the features are zero throughout; unless ablated "r" (B,) and "variance"
            (B,), the mean sigma2, and where r is one score of the whole utterance "experts" (B, d),
            what it weighs. With unimodal supervision "own" (B, C), the modality's own prediction;
            with load balance (B, N) "kept" and "probability" of the experts.
        """
        config, position = self.config, MODALITIES.index(modality)
        steps = self.encoders[modality](features, mask)
        pool = self.pools[modality]
        u = steps if config.moe_level == "token" else pool(steps, mask)
        missing = (~(features.any(dim=-1) & mask).any(dim=1)).to(u.dtype)
        if config.missing_flags:
            flag = missing.reshape(-1, *[1] * (u.dim() - 1)).expand(*u.shape[:-1], 1)
            u = torch.cat([u, flag], dim=-1)
        mu, variance, r = self.features[modality](u)
        z = mu
        if config.sample_latent and self.training and variance is not None:
            z = mu + variance.sqrt() * torch.randn_like(mu)
        if self.modality_embedding is not None:
            z = z + self.modality_embedding[position]
        router = self.routers[_key(config.router, modality)]
        routing = router(z)
        experts = self.banks[_key(config.expert_bank, modality)](z, routing)
        y = experts
        if r is not None and not config.by_precision:
            y = self._gated(experts, r, position)
        encoded = {"y": y, "routing": routing}
        if r is not None:
            encoded["r"] = r
            if config.moe_level != "token":
                encoded["experts"] = experts
        if variance is not None:
            encoded["variance"] = variance.mean(dim=-1)
        if config.quality_supervision == "unimodal":
            encoded["own"] = self.own_predict[modality](mu)
        if config.load_balance:
            encoded["kept"] = (routing > 0).to(routing.dtype)
            assert isinstance(router, Router)
            encoded["probability"] = router.probabilities(z)
        if config.moe_level == "token":
            averages = {name: masked_mean(x, mask) for name, x in encoded.items() if name != "y"}
            return {"y": pool(y, mask), **averages, "missing": missing}
        return {**encoded, "missing": missing}

    def _gated(self, experts: Tensor, r: Tensor, position: int) -> Tensor:
        """Eq. 7: r_m times what the experts say, and the rest the prior."""
        y = r[..., None] * experts
        if self.prior is not None:
            y = y + (1 - r[..., None]) * self.prior[position % len(self.prior)]
        return y

    def with_reliability(
        self, encoded: Mapping[Modality, Mapping[str, Tensor]], reliability: Tensor
    ) -> Mapping[Modality, Mapping[str, Tensor]] | None:
        """Eq. 7 with given r_m, or the precisions that Eq. 6 gives; not for scores of steps."""
        if "experts" not in encoded["text"]:
            return None
        given = {}
        for position, m in enumerate(MODALITIES):
            r = reliability[:, position]
            if self.config.by_precision:
                changed = {"variance": 1 / r - 1}  # r = 1 / (1 + v)
            else:
                changed = {"y": self._gated(encoded[m]["experts"], r, position)}
            given[m] = {**encoded[m], "r": r, **changed}
        return given

    def fuse(self, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Output:
        """h_final, ŷ and s from the three branches (Eq. 8 and 9)."""

        def stack(name: str) -> Tensor:
            return torch.stack([encoded[m][name] for m in MODALITIES], dim=1)

        names = [name for name in _EXTRAS if name in encoded["text"]]
        extras = {name: stack(name) for name in names}
        if self.config.by_precision:
            fused = self.fusion(*({m: encoded[m][x] for m in encoded} for x in ("y", "variance")))
            prediction, log_variance = fused.prediction, fused.log_variance
            extras |= {"own": fused.own, "variance": fused.own_variance}
        else:
            h = self.fusion(stack("y"))
            prediction, log_variance = self.predict(h), self._log_variance(h, encoded)
        return Output(
            prediction[:, 0] if self.task == "regression" else prediction,
            log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT),
            reliability=stack("r") if "r" in encoded["text"] else None,
            routing=stack("routing"),
            extras=extras,
        )

    def _log_variance(self, h: Tensor, encoded: Mapping[Modality, Mapping[str, Tensor]]) -> Tensor:
        """(B,) s of Eq. 9, in the reading A31 with the modalities' own variances added."""
        s = self.predict_log_variance(h)[:, 0]
        if self.config.uncertainty_head == "plain":
            return s
        variance = torch.stack([encoded[m]["variance"] for m in self.present], dim=1)
        logs = variance.clamp_min(LEAST_READ_VARIANCE).log()
        return s + (softplus(self.variance_weight) * logs).sum(dim=1)

    def expert_shares(self) -> Mapping[str, float]:
        """k of the N experts; all of them are computed here, as one product."""
        return {f"banks.{key}": self.config.topk / self.config.experts for key in self.banks}

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """Eq. 10 (or A23 for classes), plus the terms of what is not the paper's, where on."""
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
        for name, (weight, term) in self._further_terms(output, label).items():
            terms[name] = term
            total = total + weight * term
        return total, terms

    def _further_terms(self, output: Output, label: Tensor) -> dict[str, tuple[float, Tensor]]:
        """Name -> weight and value of each term beside the likelihood."""
        config, extras = self.config, output.extras
        found: dict[str, tuple[float, Tensor]] = {}
        if config.by_precision:  # a sum over modalities, where the loss is their mean
            weight = OWN_ANSWERS_WEIGHT * extras["own"].shape[1]
            found["own_answers"] = (weight, self._own_answers_loss(extras, label))
        if config.quality_supervision == "unimodal":
            quality = self._own_answers_loss(extras, label)
            found["quality"] = (config.quality_supervision_weight, quality)
        elif config.quality_supervision == "availability":
            assert output.reliability is not None
            columns = [
                torch.stack([x[:, MODALITIES.index(m)] for m in self.present], dim=1)
                for x in (output.reliability, extras["missing"])
            ]
            found["quality"] = (config.quality_supervision_weight, availability_loss(*columns))
        if config.load_balance:
            balance = load_balance_loss(extras["kept"], extras["probability"])
            found["load_balance"] = (config.load_balance, balance)
        return found

    def _own_answers_loss(self, extras: Mapping[str, Tensor], label: Tensor) -> Tensor:
        """The likelihood of each modality's own answer under its own variance."""
        own = extras["own"][..., 0] if self.task == "regression" else extras["own"]
        return unimodal_quality_loss(own, extras["variance"], label, self.task == "classification")


def _shared_or_not(sharing: Sharing, make: Callable[[], nn.Module]) -> nn.ModuleDict:
    """One module for all modalities, or one for each (A6)."""
    return nn.ModuleDict({key: make() for key in (MODALITIES if sharing != SHARED else (SHARED,))})


def _key(sharing: Sharing, modality: Modality) -> str:
    return SHARED if sharing == SHARED else modality
