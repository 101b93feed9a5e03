"""Training regimes: which degradation a model is trained and selected under.

``clean``: none. ``spectrum`` (A.1, Eq. 11): λ, η ~ U(0, 1) anew for each batch. ``missing``:
missing rate η fixed, no noise (Table 3). ``noise``: intensity λ fixed, nothing missing (Table 4).
``released``: what a public QA-MoE trains under, seen through a third party: λ = 0.1 for every
sample, and with probability 0.1 one of the incomplete patterns, each as likely.
A spectrum may name several families of noise, of which each batch (or sample) meets one.
:mod:`protocols.training` applies them. ``elsewhere`` is no regime to train under: somebody trained
the model, and nobody here saw how, nor by what its checkpoint was selected.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from protocols.rules import FAMILIES, REWRITING, MissingRule, NoiseRule, family_version
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
    "spectrum": ("noise_rule", "noise_rules", "missing_rule", "rate_max", "intensity_max", "scope"),
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
    noise_rules: tuple[NoiseRule, ...] = Field(
        (), description="of spectrum: families to draw from alike, in place of noise_rule"
    )
    missing_rule: MissingRule = Field("bernoulli", description="of spectrum and missing")
    rate_max: float = Field(1.0, ge=0, le=1, description="spectrum draws η up to it (A16)")
    intensity_max: float = Field(1.0, ge=0, le=1, description="spectrum draws λ up to it (A16)")
    scope: Scope = Field(
        "batch", description="spectrum draws one (λ, η) per batch (the paper, A14) or sample"
    )

    @property
    def name(self) -> str:
        """A short name for tables and tags: ``spectrum``, ``missing-0.3``, ``spectrum (frames,
        gain)``."""
        if self.kind == "elsewhere":
            return ELSEWHERE
        if self.kind == "spectrum" and self.noise_rules:
            return f"{self.kind} ({', '.join(self.noise_rules)})"
        level = LEVEL_OF.get(self.kind)
        return f"{self.kind}-{getattr(self, level):g}" if level else self.kind

    @field_validator("noise_rule", "noise_rules")
    @classmethod
    def _some_are_for_evaluation(cls, value: Any) -> Any:
        for rule in (value,) if isinstance(value, str) else value:
            if rule == "fill_mean":
                raise ValueError("fill_mean is for evaluation only: training has no train mean yet")
            if rule in REWRITING:
                raise ValueError(
                    f"{rule} is for evaluation only: it acts on transcripts before their encoder"
                )
        return value

    @property
    def families(self) -> tuple[NoiseRule, ...]:
        """The families of noise that training meets, each once; none without noise."""
        if "noise_rule" not in _USED[self.kind]:
            return ()
        several = self.noise_rules if self.kind == "spectrum" else ()
        return tuple(dict.fromkeys(several or (self.noise_rule,)))

    def idle(self) -> frozenset[str]:
        """The settings of other kinds; one family where there are several."""
        used = {"kind", *_USED[self.kind]} - ({"noise_rule"} if self.noise_rules else set())
        return frozenset(type(self).model_fields) - used

    def identity(self) -> dict[str, Any]:
        """What enters a run's identity; clean training does not depend on what noise is."""
        versioned: dict[str, Any] = {}
        if self.kind not in ("clean", "elsewhere"):
            versioned["version"] = REGIME_VERSION
        families = {r: v for rule in self.families for r, v in family_version(rule).items()}
        own = {name: version for name, version in families.items() if name in FAMILIES}
        versioned |= {"families": own} if own else {}
        return {"kind": self.kind, **versioned, **self.departures()}

    def changes(self) -> dict[str, Any]:
        """The departures that the name does not say."""
        said = ("kind", "noise_rules", LEVEL_OF.get(self.kind))
        return {key: value for key, value in self.departures().items() if key not in said}
