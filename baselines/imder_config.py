"""Settings of IMDer."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from benchmark.interface import ModelConfig

_OFFICIAL = "official code"
_MOSI = "official MOSI setting"
LEAST_UNIFORM_STEPS = 100


class IMDerConfig(ModelConfig):
    """Settings of IMDer."""

    width: int = Field(
        32, ge=8, multiple_of=8, description=f"d of a stream; the U-Net has d to 8d; {_OFFICIAL}"
    )
    heads: int = Field(8, ge=1, description=f"of all attention; {_OFFICIAL}")
    layers: int = Field(
        4, ge=1, description=f"of a crossmodal encoder of the classifier; {_MOSI}; MOSEI 6"
    )
    attention_dropout_audio: float = Field(
        0.2, ge=0, lt=1, description=f"on attention weights over audio; {_MOSI}; MOSEI 0"
    )
    embedding_dropout: float = Field(
        0.2, ge=0, lt=1, description=f"on a stream entering an encoder; {_MOSI}; MOSEI 0"
    )
    refiner_blocks: int = Field(20, ge=1, description=f"of each refiner; {_OFFICIAL}")
    sampler: Literal["uniform", "geometric"] = Field(
        "uniform",
        description=f"steps equally spaced in time ({_OFFICIAL}), or ancestral ones with noise "
        "equally spaced in its logarithm, of which few do",
    )
    steps: int = Field(100, ge=2, description=f"of the sampler; {_OFFICIAL}")
    noise_seed: int = Field(
        0, ge=0, lt=2**32, description="of the noise that predictions start from; ours: the "
        "original draws anew each time"
    )  # fmt: skip
    noise_paths: int = Field(
        1, ge=1, description=f"predictions averaged, each from other noise; {_OFFICIAL}: one draw"
    )
    mask_recovered: bool = Field(
        False, description=f"zeros for what is recovered on padding; {_OFFICIAL} keeps it"
    )
    generation_weight: float = Field(
        0.1, ge=0, description=f"of the scores' and the refiners' errors; {_OFFICIAL}"
    )
    pretrain_share: float = Field(
        1 / 3, ge=0, lt=1, description="share of the epochs that train streams and classifier on "
        f"complete samples; ours: the {_OFFICIAL} loads their weights from a file"
    )  # fmt: skip

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.sampler == "uniform" and self.steps < LEAST_UNIFORM_STEPS:
            raise ValueError(
                f"{self.steps} uniform steps blow up where a stream hardly varies: use at least "
                f"{LEAST_UNIFORM_STEPS}, or the sampler geometric"
            )
        return self
