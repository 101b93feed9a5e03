"""Settings of SMIL's reconstruction."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from benchmark.interface import ModelConfig

_CODE = "official code for avMNIST"
_IMDB = "official network for MM-IMDb"
_OURS = "ours: the official code has no model for sentiment"


class SMILConfig(ModelConfig):
    """Settings of SMIL's reconstruction."""

    width: int = Field(64, ge=1, description=f"h, of every state and of the fused layer; {_OURS}")
    encoder: Literal["gru", "mean"] = Field(
        "gru", description=f"last state of a GRU, or linear and the mean over time; {_OURS}"
    )
    dropout: float = Field(
        0.3, ge=0, lt=1, description=f"on states and before the answer; {_OURS}; {_CODE}: 0.5, "
        "before the answer"
    )  # fmt: skip
    priors: int = Field(10, ge=1, description=f"centres of each modality; {_CODE}")
    completion: Literal["prior", "mean", "zero"] = Field(
        "prior",
        description=f"a missing state is a mixture of centres weighed by the others ({_CODE}), "
        "their plain mean, or zero",
    )
    noise: Literal["additive", "multiplicative", "off"] = Field(
        "additive",
        description=f"how the noise networks act in meta-training ({_CODE}: additive; {_IMDB}: "
        "multiplicative)",
    )
    eval_noise_mean: bool = Field(
        True,
        description=f"predictions have the noise of a draw of 0 ({_CODE}), or none ({_OURS})",
    )
    inner_lr: float = Field(
        1e-3, ge=0, description=f"of the inner step; {_CODE}, where it falls; 0: no inner step, "
        "the plain joint loss"
    )  # fmt: skip
    second_order: bool = Field(
        False, description=f"the gradient goes through the inner step; {_CODE}: true"
    )
    align_weight: float = Field(
        0.01, ge=0, description=f"of a completed sample's distance from the full one; {_CODE}"
    )
    full_weight: float = Field(
        1.0, ge=0, description=f"of the full samples' error; {_OURS}; {_CODE}: 0"
    )
    simulate: bool = Field(
        True, description="hide modalities of complete samples in training, as the method does"
    )
    pretrain_share: float = Field(
        0.2, ge=0, lt=1, description=f"share of the epochs before meta-training; {_OURS}"
    )
