"""Settings of EMOE."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from baselines.emoe_router import RouterInput
from benchmark.interface import ModelConfig

_OFFICIAL = "official code"
_MOSI = "official code for MOSI"


class EMOEConfig(ModelConfig):
    """Settings of EMOE. The defaults are the official ones for MOSI, at the seed's width."""

    width: int = Field(128, ge=4, description=f"d, of every stream; the seed's d; {_OFFICIAL}: 256")
    heads: int = Field(8, ge=1, description=f"attention heads; {_OFFICIAL}")
    layers: int = Field(4, ge=1, description=f"layers of an encoder; {_OFFICIAL}")
    kernel_text: int = Field(5, ge=1, description=f"convolution kernel; {_OFFICIAL}")
    kernel_audio: int = Field(5, ge=1, description=f"convolution kernel; {_MOSI}; for MOSEI 1")
    kernel_vision: int = Field(5, ge=1, description=f"convolution kernel; {_MOSI}; for MOSEI 3")
    text_dropout: float = Field(
        0.5, ge=0, lt=1, description=f"on the text features; {_MOSI}; for MOSEI 0.3"
    )
    attention_dropout_text: float = Field(
        0.3, ge=0, lt=1, description=f"on text's attention weights; {_MOSI}; for MOSEI 0.4"
    )
    attention_dropout_audio: float = Field(
        0.2, ge=0, lt=1, description=f"on audio's attention weights; {_MOSI}; for MOSEI 0"
    )
    attention_dropout_vision: float = Field(
        0.0, ge=0, lt=1, description=f"on vision's attention weights; {_OFFICIAL}"
    )
    relu_dropout: float = Field(0.0, ge=0, lt=1, description=f"after the ReLU; {_OFFICIAL}")
    residual_dropout: float = Field(0.0, ge=0, lt=1, description=f"on residual terms; {_OFFICIAL}")
    embedding_dropout: float = Field(
        0.2, ge=0, lt=1, description=f"on a stream entering an encoder; {_MOSI}; for MOSEI 0"
    )
    output_dropout: float = Field(0.5, ge=0, lt=1, description=f"in the heads; {_OFFICIAL}")
    fusion: Literal["sum", "concat"] = Field(
        "sum", description=f"of the weighted modality vectors; {_OFFICIAL}: sum"
    )
    temperature: float = Field(0.1, gt=0, description=f"of the router's softmax; {_OFFICIAL}")
    router_input: RouterInput = Field(
        "pooled",
        description="what the router reads of a modality: its mean over real steps (ours), or all "
        f"steps one after the other ({_OFFICIAL}: some 200 million weights)",
    )
    largest_router: int = Field(
        20_000_000,
        ge=1,
        description="most weights of the router's first layer; ours: a flat router of real data "
        "is refused, and says how many it needs",
    )
    pool: Literal["last_step", "last_valid"] = Field(
        "last_step",
        description=f"last step, padding or not ({_OFFICIAL}), or the last that is not padding",
    )
    entropy_weight: float = Field(
        0.1, ge=0, description=f"of the term that keeps the weights even; {_OFFICIAL}"
    )
    similarity_weight: float = Field(
        0.01, ge=0, description="of the term that draws the weights to what the experts deserve; "
        f"{_OFFICIAL}"
    )  # fmt: skip
    distillation_weight: float = Field(
        0.1, ge=0, description=f"of the fused vector's distance from the experts'; {_OFFICIAL}"
    )

    @model_validator(mode="after")
    def _width_fits_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
