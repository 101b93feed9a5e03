"""Settings of MM-Boosting's reconstruction."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from benchmark.interface import ModelConfig

_GAL = "the first author's later public code, Guided Attention Learning"
_ABSTRACT = "the abstract"
_OURS = "ours: the paper's text was not available"


class MMBoostingConfig(ModelConfig):
    """Settings of MM-Boosting's reconstruction."""

    width: int = Field(100, ge=4, description=f"d, of every vector; {_GAL}")
    heads: int = Field(5, ge=1, description=f"heads of the audio and vision encoders; {_GAL}")
    layers: int = Field(3, ge=1, description=f"layers of these encoders; {_GAL}")
    dropout: float = Field(
        0.3, ge=0, lt=1, description=f"every dropout of these encoders ({_GAL}) and of the learners"
    )
    learners: Literal["all", "unimodal", "multimodal"] = Field(
        "all", description=f"one for each modality and one for all of them ({_ABSTRACT}), or some"
    )
    share_encoders: bool = Field(
        True, description=f"the multimodal learner reads the encoders of the others; {_OURS}"
    )
    ablation: Literal["none", "no_gate"] = Field(
        "none",
        description=f"the learners weigh by their scores ({_ABSTRACT}), or all alike: the same "
        "model with the gate off",
    )
    contribution_grad: bool = Field(
        False, description="the task's loss trains the scores too; with contribution_weight 0 they "
        f"are plain attention; {_OURS}"
    )  # fmt: skip
    target: Literal["absolute", "relative"] = Field(
        "absolute",
        description="what a score learns: exp(-loss / temperature), by a sigmoid; or the learner's "
        f"share of the softmax of -loss / 0.5, by a softmax; {_OURS}",
    )
    temperature: float = Field(1.0, gt=0, description=f"used by target absolute; {_OURS}")
    normalise: Literal["ratio", "softmax"] = Field(
        "ratio",
        description="weights are the scores by their sum, or their softmax (a third party's "
        f"derivative, where no weight is more than 2.72 times another); {_OURS}",
    )
    contribution_weight: float = Field(0.1, ge=0, description=f"of the scores' loss; {_OURS}")
    complementary: bool = Field(
        True, description=f"samples weigh more where the other learners are wrong; {_ABSTRACT}"
    )

    @model_validator(mode="after")
    def _width_fits_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
