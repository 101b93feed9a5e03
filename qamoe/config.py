"""QA-MoE's settings. A1 ... A27 name the paper's ambiguities; defaults are the default readings.

The paper leaves these open or contradicts itself; each option that changes results is a field.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from benchmark.interface import ModelConfig

Encoder = Literal["transformer", "bigru", "bilstm", "conv1d_k3", "linear_only"]
Pool = Literal["mean", "attention", "cls", "last_valid"]
Head = Literal["affine", "mlp2"]
Expert = Literal["glu_proj", "glu_plain", "swiglu"]
Sharing = Literal["shared", "per_modality"]
Fusion = Literal[
    "concat_mlp", "sum", "mean", "gated_sum", "transformer", "precision", "shared_errors"
]
Prior = Literal["shared", "per_modality", "zeros_frozen"]
Ablation = Literal["none", "no_gate", "no_variance", "no_prior"]


class QAMoEConfig(ModelConfig):
    """The model's settings; see each field's description for the source."""

    width: int = Field(128, ge=4, description="d; A.3")
    dropout: float = Field(0.1, ge=0, lt=1, description="A.3")
    encoder: Encoder = Field("transformer", description="A1: silent; one layer fits 'd = 128'")
    encoder_heads: int = Field(4, ge=1, description="our choice; the paper is silent")
    pool: Pool = Field("mean", description="A2: r_m is a scalar, so pooling precedes Eq. 6")
    moe_level: Literal["utterance", "token"] = Field("utterance", description="A2")
    mu_head: Head = Field("affine", description="A3: Eq. 4")
    quality_predictor: Head = Field("mlp2", description="A3: Eq. 5 says affine, A.3 says MLP")
    experts: int = Field(8, ge=1, description="N; A.3")
    topk: int = Field(3, ge=1, description="k; A4: Eq. 7 sums over all, the text says top-3")
    topk_renorm: bool = Field(True, description="A4: kept weights sum to one")
    expert: Expert = Field("glu_proj", description="A5: 'instantiated as a GLU'")
    expert_hidden_mult: int = Field(2, ge=1, description="A5: hidden width in units of d")
    expert_bank: Sharing = Field("shared", description="A6: 'a bank of N experts'")
    router: Sharing = Field("shared", description="A6: one W_g")
    modality_embedding: bool = Field(False, description="A6: added to mu before a shared bank")
    fusion: Fusion = Field(
        "concat_mlp",
        description="A8: 'standard fusion layer'; two are our extensions. precision: each modality "
        "is a Gaussian of variance mean_k sigma2_m, the answer their product with a prior; "
        "shared_errors: the same with a joint answer beside, and errors that all have in common",
    )
    uncertainty_head: Literal["plain", "reads_variance"] = Field(
        "plain",
        description="A31: s from h alone (Eq. 9), or with log mean_k sigma2_m of each modality "
        "added, so that s and sigma2 rise together as the end of Sec. 3.5 says",
    )
    prior: Prior = Field("shared", description="A9: 'global static embedding'")
    sample_latent: bool = Field(False, description="A10: draw z ~ N(mu, sigma2) in training")
    classification_loss: Literal["attenuated_ce", "plain_ce", "mc_logit"] = Field(
        "attenuated_ce", description="A23: only regression is written"
    )
    beta_nll: float = Field(0.0, ge=0, le=1, description="off; weighs Eq. 10 by sigma^(2 beta)")
    ablation: Ablation = Field("none", description="A27: Table 6")
    quality_supervision: Literal["none", "unimodal", "availability"] = Field(
        "none",
        description="not the paper's. unimodal, ours: sigma2_m is the variance of a unimodal NLL; "
        "availability, as released: r_m is the probability that m is there",
    )
    quality_supervision_weight: float = Field(0.5, gt=0, description="ours, and as released")
    missing_flags: bool = Field(
        False, description="as released: u_m is told whether m is missing, read off its features"
    )
    load_balance: float = Field(
        0.0, ge=0, description="as released 0.01: weight of N sum_i f_i P_i over the experts"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> QAMoEConfig:
        if self.topk > self.experts:
            raise ValueError(f"topk={self.topk} is more than the {self.experts} experts")
        if self.width % self.encoder_heads or self.width % 2:
            raise ValueError("width must be even and divisible by encoder_heads")
        without_variance = self.ablation in ("no_gate", "no_variance")
        if without_variance and (readers := self._readers_of_variance()):
            raise ValueError(f"{readers[0]} needs sigma2, which {self.ablation} removes")
        if self.quality_supervision == "availability" and self.ablation == "no_gate":
            raise ValueError("quality_supervision=availability needs r, which no_gate removes")
        by_modality = self.by_precision or self.uncertainty_head == "reads_variance"
        if by_modality and self.moe_level == "token":
            raise ValueError("a modality's variance is not that of its steps: moe_level=utterance")
        if self.load_balance and "per_modality" in (self.expert_bank, self.router):
            raise ValueError("load_balance is of one bank with one router, shared by modalities")
        if self.by_precision:
            self._fits_precision()
        return self

    def _readers_of_variance(self) -> list[str]:
        """The settings that need sigma2 beyond Eq. 6."""
        reads = {
            "quality_supervision=unimodal": self.quality_supervision == "unimodal",
            "sample_latent": self.sample_latent,
            "uncertainty_head=reads_variance": self.uncertainty_head == "reads_variance",
            f"fusion={self.fusion}": self.by_precision,
        }
        return [name for name, read in reads.items() if read]

    def _fits_precision(self) -> None:
        """The product of Gaussians has its own variance and prior, and no gate."""
        fusion = f"fusion={self.fusion}"
        if self.uncertainty_head != "plain":
            raise ValueError(f"{fusion} has no uncertainty head: its variance is computed")
        if self.ablation == "no_prior":
            raise ValueError(f"{fusion} has no y_prior for no_prior to remove")
        if self.quality_supervision == "unimodal":
            raise ValueError(f"{fusion} supervises each modality's own answer already")

    @property
    def by_precision(self) -> bool:
        """Whether the answer is computed from variances, not by a gate and a head."""
        return self.fusion in ("precision", "shared_errors")

    def idle(self) -> frozenset[str]:
        """What has no effect beside the other settings: y_prior where nothing is gated by it."""
        return frozenset({"prior"} if self.by_precision else ())
