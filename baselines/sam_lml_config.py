"""Settings of SAM-LML's reconstruction."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from baselines.supervised_attention import LatentNoise
from benchmark.interface import ModelConfig

Interactions = Literal["gal3", "dir9"]
_GAL = "Guided Attention Learning's code"
_OURS = "ours: the paper's text was not available"


class SAMLMLConfig(ModelConfig):
    """Settings of SAM-LML. The defaults are Guided Attention Learning's, and the extension on."""

    width: int = Field(100, ge=4, description=f"d, of every sequence; {_GAL}")
    heads: int = Field(5, ge=1, description=f"heads of the audio and vision encoders; {_GAL}")
    layers: int = Field(3, ge=1, description=f"layers of these encoders; {_GAL}")
    dropout: float = Field(0.3, ge=0, lt=1, description=f"every dropout of these encoders; {_GAL}")
    scorer_width: int = Field(200, ge=1, description=f"hidden width of the scorer; {_GAL}")
    head_width: int = Field(100, ge=1, description=f"hidden width of the predictors; {_GAL}")
    interactions: Interactions = Field(
        "gal3",
        description=f"each modality asks the two others ({_GAL}), or all nine ordered pairs asks "
        "and keys (a third-party account of the paper)",
    )
    fusion_weights: Literal["raw", "softmax"] = Field(
        "raw", description=f"scores weigh the interactions as they are ({_GAL}) or by softmax"
    )
    use_masks: bool = Field(
        True, description=f"keep attention, means and losses off padding; {_GAL}: false"
    )
    batch_minmax: bool = Field(
        False,
        description="scale audio and vision by the training batch's smallest and largest value, at "
        f"evaluation by their running averages; {_GAL}: true, by the batch at evaluation too",
    )
    rank_weight: float = Field(0.005, ge=0, description=f"of the score ranking; {_GAL}")
    noise_weight: float = Field(0.005, ge=0, description=f"of noise in attention; {_GAL}")
    enhance_weight: float = Field(0.1, ge=0, description=f"of enhanced keys; {_GAL}")
    side_weight: float = Field(1.0, ge=0, description=f"of the side predictors; {_GAL}")
    score_margin: float = Field(0.2, ge=0, description=f"between scores; {_GAL}")
    attention_margin: float = Field(1.0, ge=0, description=f"between logits; {_GAL}")
    enhance_share: float = Field(
        0.05, ge=0, le=1, description=f"of the query in an enhanced key; {_GAL}"
    )
    noise_share: float = Field(
        0.2, ge=0, le=1, description=f"of a sequence's steps replaced by noise; {_GAL}"
    )
    pretrain_share: float = Field(
        0.1, ge=0, le=1, description=f"of the epochs without ranking; {_GAL}: 5 of 50"
    )
    latent_noise: LatentNoise = Field(
        "uniform01", description=f"noise among encoded steps: uniform ({_GAL}), or Gaussian"
    )
    lowq: bool = Field(True, description=f"the low-quality extension; {_OURS}")
    missing_fill: Literal["noise", "zero"] = Field(
        "noise", description=f"with lowq, what a missing sequence becomes; {_OURS}"
    )
    lowq_probability: float = Field(
        0.5, ge=0, le=1, description=f"of a training batch having worse versions; {_OURS}"
    )
    lowq_intensity: tuple[float, float] = Field(
        (0.1, 0.7), description=f"range of the noisier version's level; {_OURS}"
    )
    lowq_margin: float = Field(0.1, ge=0, description=f"between scores of versions; {_OURS}")
    lowq_rank_weight: float = Field(0.005, ge=0, description=f"of the ranking of versions; {_OURS}")
    lowq_task_weight: float = Field(
        0.5, ge=0, description=f"of the task on the noisier version; {_OURS}"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        low, high = self.lowq_intensity
        if not 0.0 <= low <= high:
            raise ValueError(f"lowq_intensity {low} to {high} is not a range of levels")
        return self
