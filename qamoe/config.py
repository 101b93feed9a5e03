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
Fusion = Literal["concat_mlp", "sum", "mean", "gated_sum", "transformer"]
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
    fusion: Fusion = Field("concat_mlp", description="A8: 'standard fusion layer'")
    prior: Prior = Field("shared", description="A9: 'global static embedding'")
    sample_latent: bool = Field(False, description="A10: draw z ~ N(mu, sigma2) in training")
    classification_loss: Literal["attenuated_ce", "plain_ce", "mc_logit"] = Field(
        "attenuated_ce", description="A23: only regression is written"
    )
    beta_nll: float = Field(0.0, ge=0, le=1, description="off; weighs Eq. 10 by sigma^(2 beta)")
    ablation: Ablation = Field("none", description="A27: Table 6")
    quality_supervision: Literal["none", "unimodal"] = Field(
        "none",
        description="our extension, not the paper's: sigma2_m is the variance of a unimodal NLL",
    )
    quality_supervision_weight: float = Field(0.5, gt=0, description="our extension")

    @model_validator(mode="after")
    def _fits_together(self) -> QAMoEConfig:
        if self.topk > self.experts:
            raise ValueError(f"topk={self.topk} is more than the {self.experts} experts")
        if self.width % self.encoder_heads or self.width % 2:
            raise ValueError("width must be even and divisible by encoder_heads")
        if self.quality_supervision != "none" and self.ablation in ("no_gate", "no_variance"):
            raise ValueError(f"quality_supervision needs sigma2, which {self.ablation} removes")
        if self.sample_latent and self.ablation in ("no_gate", "no_variance"):
            raise ValueError(f"sample_latent needs sigma2, which {self.ablation} removes")
        return self
