"""Settings of PaSE's reconstruction."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from benchmark.interface import ModelConfig

_CODE = "the released code"
_SUPPLEMENT = "the paper's supplement"
_OURS = "ours: not given in what could be read"


class PaSEConfig(ModelConfig):
    """Settings of PaSE's reconstruction."""

    width: int = Field(128, ge=2, description=f"d of every stream; the seed's; {_CODE} 256")
    heads: int = Field(2, ge=1, description=f"attention heads; {_CODE}")
    layers: int = Field(4, ge=1, description=f"layers of an encoder; {_CODE}")
    dropout: float = Field(
        0.5, ge=0, lt=1, description=f"on entry, in every MLP, in the head; {_CODE}"
    )
    intra_weight: float = Field(
        0.01, ge=0, description=f"of a sample's pull to its class; {_SUPPLEMENT}; {_CODE} 0.1"
    )
    inter_weight: float = Field(
        0.1, ge=0, description=f"of the transport of prototypes; {_SUPPLEMENT}; {_CODE} 0.2"
    )
    temperature: float = Field(0.1, gt=0, description=f"of similarities to prototypes; {_OURS}")
    sinkhorn_iterations: int = Field(50, ge=1, description=f"of a plan; {_CODE} 200")
    omega_target: Literal["uniform", "identity"] = Field(
        "uniform",
        description="what a plan should be like: a permutation's, I / K, or I, which no plan of "
        f"total 1 can be; {_CODE} identity",
    )
    rho: float = Field(
        0.6, ge=0, le=1, description=f"share of the transport in a coalition's value; {_CODE}"
    )
    switch_share: float = Field(
        0.67,
        gt=0,
        le=1,
        description="share of the epochs before gradients are modulated, 1 = never; "
        f"{_SUPPLEMENT}: when validation stalls, which a model does not see here",
    )

    @model_validator(mode="after")
    def _width_fits_heads(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
