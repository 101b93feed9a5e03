"""Training regimes: which degradation a model is trained and selected under.

``clean``: none. ``spectrum`` (A.1, Eq. 11): λ, η ~ U(0, 1) anew for each batch. ``missing``:
missing rate η fixed, no noise (Table 3). ``noise``: intensity λ fixed, nothing missing (Table 4).
``released``: what a public QA-MoE trains under, seen through a third party: λ = 0.1 for every
sample, and with probability 0.1 one of the incomplete patterns, each as likely.
:mod:`protocols.training` applies them. ``elsewhere`` is no regime to train under: somebody trained
the model, and nobody here saw how, nor by what its checkpoint was selected.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from protocols.rules import MissingRule, NoiseRule
from protocols.settings import Settings

RegimeKind = Literal["clean", "spectrum", "missing", "noise", "released", "elsewhere"]
REGIME_KINDS: tuple[RegimeKind, ...] = ("clean", "spectrum", "missing", "noise", "released")
"""What a model can be trained under."""
ELSEWHERE = "trained elsewhere, selection unknown"
"""What stands in the place of a regime's name wherever a number of such a model does."""
Scope = Literal["batch", "sample"]

REGIME_VERSION = 2
"""Raised whenever the same regime would give training or validation other inputs than before."""

_USED: dict[RegimeKind, tuple[str, ...]] = {
    "clean": (),
    "spectrum": ("noise_rule", "missing_rule", "rate_max", "intensity_max", "scope"),
    "missing": ("rate", "missing_rule"),
    "noise": ("intensity", "noise_rule"),
    "released": ("noise_rule",),
    "elsewhere": (),
}
LEVEL_OF: dict[RegimeKind, str] = {"missing": "rate", "noise": "intensity"}
"""Kind -> the setting that the regime's name carries."""

RELEASED_LEVEL = 0.1
"""Of ``released``: the intensity λ, and the probability that a sample is incomplete."""


class Regime(Settings):
    """How training and validation inputs are degraded."""

    kind: RegimeKind = "clean"
    rate: float = Field(0.0, ge=0, le=1, description="the missing rate η of missing")
    intensity: float = Field(0.0, ge=0, le=1, description="the noise intensity λ of noise")
    noise_rule: NoiseRule = Field("seed_a1", description="of spectrum, noise and released")
    missing_rule: MissingRule = Field("bernoulli", description="of spectrum and missing")
    rate_max: float = Field(1.0, ge=0, le=1, description="spectrum draws η up to it (A16)")
    intensity_max: float = Field(1.0, ge=0, le=1, description="spectrum draws λ up to it (A16)")
    scope: Scope = Field(
        "batch", description="spectrum draws one (λ, η) per batch (the paper, A14) or sample"
    )

    @property
    def name(self) -> str:
        """A short name for tables and tags, e.g. ``spectrum`` or ``missing-0.3``."""
        if self.kind == "elsewhere":
            return ELSEWHERE
        level = LEVEL_OF.get(self.kind)
        return f"{self.kind}-{getattr(self, level):g}" if level else self.kind

    def idle(self) -> frozenset[str]:
        """The settings of other kinds."""
        return frozenset(type(self).model_fields) - {"kind", *_USED[self.kind]}

    def identity(self) -> dict[str, Any]:
        """What enters a run's identity; clean training does not depend on what noise is."""
        versioned = {} if self.kind in ("clean", "elsewhere") else {"version": REGIME_VERSION}
        return {"kind": self.kind, **versioned, **self.departures()}

    def changes(self) -> dict[str, Any]:
        """The departures that the name does not say."""
        said = ("kind", LEVEL_OF.get(self.kind))
        return {key: value for key, value in self.departures().items() if key not in said}
