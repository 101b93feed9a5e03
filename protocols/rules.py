"""The rules' names, and the version of what each part of a degradation means.

A rule's formula is where it is applied: noise in :mod:`protocols.effects`, missing modalities in
:mod:`protocols.expectation` and :mod:`protocols.missing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from protocols.modalities import Modality

NoiseRule = Literal[
    "seed_a1",
    "gaussian_all",
    "gaussian_av",
    "frames",
    "blocks",
    "shift",
    "impulse",
    "gain",
    "quantise",
    "unk",
    "words",
    "characters",
    "fill_mean",
    "fill_noise",
]
NOISE_RULES: tuple[NoiseRule, ...] = get_args(NoiseRule)

MissingRule = Literal["bernoulli", "at_least_one", "imder_batch"]
MISSING_RULES: tuple[MissingRule, ...] = get_args(MissingRule)

RULE_VERSIONS: dict[str, int] = {"zeroing": 1, "degradation": 2, "draw": 1, "missing": 1}
"""Raised whenever the same seed or level would give another input than before. What is missing
belongs to the numbers that are read off a table, the rest to the rows that it changes
(:func:`protocols.conditions.version_of`). "degradation" is the version of the seed paper's noise;
every other family has one of its own."""


@dataclass(frozen=True)
class Family:
    """A family of degradations: what a noise rule of this name does.

    Attributes:
        version: raised whenever the same draw and level would give another input; None for the
            noise of the seed paper, whose version is ``RULE_VERSIONS["degradation"]``.
        severity: what λ means.
        source: where it comes from.
        omits: what of the real thing it does not model.
        random: whether draws differ; what is not random has one.
        fills: whether it is about what stands in the place of a missing modality. Such a rule does
            something with nothing available too.
        rewrites: whether it acts on transcripts before their encoder (:mod:`protocols.rewriting`);
            a data set must have been rewritten for it, and nothing is trained under it.
        spares: the modalities that stay clean where they are there.
    """

    version: int | None
    severity: str
    source: str
    omits: str
    random: bool = True
    fills: bool = False
    rewrites: bool = False
    spares: tuple[Modality, ...] = ()


_TEXT: tuple[Modality, ...] = ("text",)
_SIGNALS: tuple[Modality, ...] = ("audio", "vision")
_OURS = "this project"
_NO_CAUSE = "that a cause harms several modalities, or neighbouring steps, together"

FAMILIES: dict[NoiseRule, Family] = {
    "seed_a1": Family(
        None,
        "audio, vision: noise of standard deviation λσ; text: each step zeroed with chance λ",
        "QA-MoE, Appendix A.1",
        "words lost before the encoder: its outputs already mix their neighbours",
    ),
    "gaussian_all": Family(
        None,
        "noise of standard deviation λσ on text, audio and vision",
        f"{_OURS}, a reading of QA-MoE's Table 4",
        "text is no signal: no microphone adds noise to an embedding",
    ),
    "gaussian_av": Family(
        None,
        "noise of standard deviation λσ on audio and vision; text stays clean",
        f"{_OURS}, a reading of QA-MoE's Table 4",
        "noise that depends on the signal or lasts over steps",
        spares=_TEXT,
    ),
    "frames": Family(
        1,
        "each real step of each modality is zeroed with chance λ",
        "LNLN (Zhang et al., NeurIPS 2024), its random missing rate",
        "the [UNK] token that LNLN puts in place of a word before the encoder; bursts",
    ),
    "blocks": Family(
        1,
        "one stretch of a share λ of each modality's real steps is zeroed",
        f"{_OURS}: a dropped connection, an occluded face",
        _NO_CAUSE.replace(", or neighbouring steps,", ""),
    ),
    "shift": Family(
        1,
        "audio and vision each move by λ/2 of their real steps, earlier or later; what moves out "
        "is lost, zeros move in",
        f"{_OURS}: streams that are not synchronised",
        "drift, a shift that changes with time; text stays in place",
        spares=_TEXT,
    ),
    "impulse": Family(
        1,
        "each audio and vision value is replaced by ±4σ with chance λ",
        "salt-and-pepper noise, as QMF and PDF have it for images",
        "spikes that hit all channels of a step; text stays clean",
        spares=_TEXT,
    ),
    "gain": Family(
        1,
        "each audio and vision channel is multiplied by exp(λa/2) and moved by λσb over the whole "
        "sample, a and b standard normal",
        f"{_OURS}: another microphone or camera",
        "a device that is the same for many samples; filters over neighbouring channels",
        spares=_TEXT,
    ),
    "quantise": Family(
        1,
        "audio and vision are rounded to multiples of 2λσ",
        f"{_OURS}: coarse sensors, lossy transport",
        "artefacts of codecs, which act before the features",
        random=False,
        spares=_TEXT,
    ),
    "unk": Family(
        1,
        "each token of the transcript is [UNK] with chance λ before the encoder; audio, vision: "
        "each step zeroed with chance λ",
        "LNLN (Zhang et al., NeurIPS 2024), its random missing rate",
        "a recogniser that writes another word where it heard none; bursts",
        rewrites=True,
    ),
    "words": Family(
        1,
        "each word of the transcript is lost with chance λ before the encoder; one always stays",
        f"{_OURS}: what a recogniser did not hear",
        "words that are hard to hear being lost more often; audio and vision stay clean",
        rewrites=True,
        spares=_SIGNALS,
    ),
    "characters": Family(
        1,
        "each letter or digit of the transcript is left out, doubled or replaced with chance λ/5 "
        "before the encoder",
        f"{_OURS}: what is typed in haste, or read from a picture",
        "which letters lie side by side or look alike; audio and vision stay clean",
        rewrites=True,
        spares=_SIGNALS,
    ),
    "fill_mean": Family(
        1,
        "a missing modality is λ times the train mean of its real steps instead of zeros",
        "imputation by the mean; that of standardised audio and vision is zero: only text differs",
        "imputation from the modalities that are there",
        random=False,
        fills=True,
        spares=_TEXT + _SIGNALS,
    ),
    "fill_noise": Family(
        1,
        "a missing modality is noise of standard deviation λσ instead of zeros",
        "DCER (2026) on zero against noise masks",
        "a sensor that delivers another scene",
        fills=True,
        spares=_TEXT + _SIGNALS,
    ),
}
"""Noise rule -> what it is: ``benchmark list degradations`` and docs/degradations.md say it."""

REWRITING: tuple[NoiseRule, ...] = tuple(r for r, family in FAMILIES.items() if family.rewrites)
"""The rules that act on transcripts."""


def harmed(rule: str, present: Iterable[Modality]) -> list[Modality]:
    """Of the modalities that are there those that a noise rule changes."""
    known = [family for name, family in FAMILIES.items() if name == rule]
    return [m for m in present if not any(m in family.spares for family in known)]


def family_version(rule: NoiseRule) -> dict[str, int]:
    """The versions that a noise rule's rows depend on, by name; 0 of a rule that is not known."""
    family = FAMILIES.get(rule)
    if family is None:
        own = {str(rule): 0}
    elif family.version is None:
        own = {"degradation": RULE_VERSIONS["degradation"]}
    else:
        own = {str(rule): family.version}
    return {**own, "draw": RULE_VERSIONS["draw"]}
