"""Training regimes: which degradation a model is trained and selected under.

``clean``: none. ``spectrum`` (A.1, Eq. 11): λ, η ~ U(0, 1) anew for each batch. ``missing``:
missing rate η fixed, no noise (Table 3). ``noise``: intensity λ fixed, nothing missing (Table 4).
:mod:`protocols.training` applies them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from protocols.rules import MISSING_RULES, NOISE_RULES, MissingRule, NoiseRule

RegimeKind = Literal["clean", "spectrum", "missing", "noise"]
REGIME_KINDS: tuple[RegimeKind, ...] = get_args(RegimeKind)
Scope = Literal["batch", "sample"]


@dataclass(frozen=True)
class Regime:
    """How training and validation inputs are degraded.

    Attributes:
        kind: clean, spectrum, missing or noise.
        rate: the missing rate η of ``missing``.
        intensity: the noise intensity λ of ``noise``.
        noise_rule: what noise is, under ``spectrum`` and ``noise``.
        missing_rule: what missing is, under ``spectrum`` and ``missing``.
        rate_max, intensity_max: upper ends of the uniforms of ``spectrum`` (1 in the paper, A16).
        scope: whether ``spectrum`` draws one (λ, η) per batch (the paper, A14) or per sample.
    """

    kind: RegimeKind = "clean"
    rate: float = 0.0
    intensity: float = 0.0
    noise_rule: NoiseRule = "seed_a1"
    missing_rule: MissingRule = "bernoulli"
    rate_max: float = 1.0
    intensity_max: float = 1.0
    scope: Scope = "batch"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("kind", REGIME_KINDS),
            ("noise_rule", NOISE_RULES),
            ("missing_rule", MISSING_RULES),
            ("scope", get_args(Scope)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"regime.{name} is '{getattr(self, name)}'; choose from {allowed}")
        for name in ("rate", "intensity", "rate_max", "intensity_max"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"regime.{name} is {getattr(self, name)}; it lies in [0, 1]")

    @property
    def name(self) -> str:
        """A short name for tables and tags, e.g. ``spectrum`` or ``missing-0.3``."""
        if self.kind == "missing":
            return f"missing-{self.rate:g}"
        if self.kind == "noise":
            return f"noise-{self.intensity:g}"
        return self.kind

    def identity(self) -> dict[str, Any]:
        """The fields that matter for this kind: what enters the run's identity."""
        relevant = {
            "clean": (),
            "spectrum": ("noise_rule", "missing_rule", "rate_max", "intensity_max", "scope"),
            "missing": ("rate", "missing_rule"),
            "noise": ("intensity", "noise_rule"),
        }[self.kind]
        values = asdict(self)
        return {"kind": self.kind, **{name: values[name] for name in relevant}}
