"""The rules' names, and the version of what each part of a degradation means.

A rule's formula is where it is applied: noise in :mod:`protocols.effects`, missing modalities in
:mod:`protocols.expectation` and :mod:`protocols.missing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
        does: what is done to each modality, by a name that families share which do the same; a
            modality without one stays clean. Of a rule that fills, what stands in a missing one's
            place.
    """

    version: int | None
    severity: str
    source: str
    omits: str
    does: Mapping[Modality, str]
    random: bool = True
    fills: bool = False
    rewrites: bool = False


def _signals(name: str) -> dict[Modality, str]:
    return {"audio": name, "vision": name}


def _each(name: str) -> dict[Modality, str]:
    return {"text": name, **_signals(name)}


_OURS = "this project"
_NO_CAUSE = "that a cause harms several modalities, or neighbouring steps, together"

FAMILIES: dict[NoiseRule, Family] = {
    "seed_a1": Family(
        None,
        "audio, vision: noise of standard deviation λσ; text: each step zeroed with chance λ",
        "QA-MoE, Appendix A.1",
        "words lost before the encoder: its outputs already mix their neighbours",
        {**_signals("noise"), "text": "drop"},
    ),
    "gaussian_all": Family(
        None,
        "noise of standard deviation λσ on text, audio and vision",
        f"{_OURS}, a reading of QA-MoE's Table 4",
        "text is no signal: no microphone adds noise to an embedding",
        _each("noise"),
    ),
    "gaussian_av": Family(
        None,
        "noise of standard deviation λσ on audio and vision; text stays clean",
        f"{_OURS}, a reading of QA-MoE's Table 4",
        "noise that depends on the signal or lasts over steps",
        _signals("noise"),
    ),
    "frames": Family(
        1,
        "each real step of each modality is zeroed with chance λ",
        "LNLN (Zhang et al., NeurIPS 2024), its random missing rate",
        "the [UNK] token that LNLN puts in place of a word before the encoder; bursts",
        _each("drop"),
    ),
    "blocks": Family(
        1,
        "one stretch of a share λ of each modality's real steps is zeroed",
        f"{_OURS}: a dropped connection, an occluded face",
        _NO_CAUSE.replace(", or neighbouring steps,", ""),
        _each("block"),
    ),
    "shift": Family(
        1,
        "audio and vision each move by λ/2 of their real steps, earlier or later; what moves out "
        "is lost, zeros move in",
        f"{_OURS}: streams that are not synchronised",
        "drift, a shift that changes with time; text stays in place",
        _signals("shift"),
    ),
    "impulse": Family(
        1,
        "each audio and vision value is replaced by ±4σ with chance λ",
        "salt-and-pepper noise, as QMF and PDF have it for images",
        "spikes that hit all channels of a step; text stays clean",
        _signals("impulse"),
    ),
    "gain": Family(
        1,
        "each audio and vision channel is multiplied by exp(λa/2) and moved by λσb over the whole "
        "sample, a and b standard normal",
        f"{_OURS}: another microphone or camera",
        "a device that is the same for many samples; filters over neighbouring channels",
        _signals("gain"),
    ),
    "quantise": Family(
        1,
        "audio and vision are rounded to multiples of 2λσ",
        f"{_OURS}: coarse sensors, lossy transport",
        "artefacts of codecs, which act before the features",
        _signals("quantise"),
        random=False,
    ),
    "unk": Family(
        1,
        "each token of the transcript is [UNK] with chance λ before the encoder; audio, vision: "
        "each step zeroed with chance λ",
        "LNLN (Zhang et al., NeurIPS 2024), its random missing rate",
        "a recogniser that writes another word where it heard none; bursts",
        {"text": "unk", **_signals("drop")},
        rewrites=True,
    ),
    "words": Family(
        1,
        "each word of the transcript is lost with chance λ before the encoder; one always stays",
        f"{_OURS}: what a recogniser did not hear",
        "words that are hard to hear being lost more often; audio and vision stay clean",
        {"text": "words"},
        rewrites=True,
    ),
    "characters": Family(
        1,
        "each letter or digit of the transcript is left out, doubled or replaced with chance λ/5 "
        "before the encoder",
        f"{_OURS}: what is typed in haste, or read from a picture",
        "which letters lie side by side or look alike; audio and vision stay clean",
        {"text": "characters"},
        rewrites=True,
    ),
    "fill_mean": Family(
        1,
        "a missing modality is λ times the train mean of its real steps instead of zeros",
        "imputation by the mean; that of standardised audio and vision is zero: only text differs",
        "imputation from the modalities that are there",
        _each("mean instead"),
        random=False,
        fills=True,
    ),
    "fill_noise": Family(
        1,
        "a missing modality is noise of standard deviation λσ instead of zeros",
        "DCER (2026) on zero against noise masks",
        "a sensor that delivers another scene",
        _each("noise instead"),
        fills=True,
    ),
}
"""Noise rule -> what it is: ``benchmark list degradations`` and docs/degradations.md say it."""

_by_name: Mapping[str, Family] = {str(rule): family for rule, family in FAMILIES.items()}

REWRITING: tuple[NoiseRule, ...] = tuple(r for r, family in FAMILIES.items() if family.rewrites)
"""The rules that act on transcripts."""


def harmed(rule: str, present: Iterable[Modality]) -> list[Modality]:
    """Of the modalities that are there those that a noise rule changes."""
    family = _by_name.get(rule)
    if family is None:
        return list(present)
    return [m for m in present if m in family.does and not family.fills]


def is_met(rule: str, modality: Modality, families: Iterable[str]) -> bool:
    """Whether some of these families do to a modality what a noise rule does to it."""
    done = [_by_name[name].does.get(modality) for name in families if name in _by_name]
    family = _by_name.get(rule)
    return family is not None and modality in family.does and family.does[modality] in done


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
