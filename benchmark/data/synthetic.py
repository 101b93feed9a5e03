"""The embedded data: generated from a fixed seed in about a second, shaped and behaving like MOSI.

What is alike: the split sizes, the label distribution, text that says more than audio and vision,
a signal that sits on a few steps among many that carry nothing, speakers that colour every step and
never cross a split, unequal lengths, audio and vision that partly repeat each other. What is not:
everything else. It shows how the suite works, and tells nothing about the world.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.data.dataset import SPLITS, Dataset, Split
from benchmark.data.standardise import (
    Moments,
    Scale,
    channel_sigma,
    constant_channels,
    span_mask,
)
from benchmark.interface import DataSpec
from protocols.modalities import MODALITIES, Modalities, Modality, Task

Doubles = NDArray[np.float64]

SEED = 1284
COUNTS = {"train": 1284, "valid": 229, "test": 686}
TINY = {"train": 96, "valid": 32, "test": 64}
SPEAKERS = {"train": 52, "valid": 10, "test": 31}
CLASS_SHARES = (0.32, 0.22, 0.16, 0.13, 0.10, 0.07)
CUES = 3
"""Directions in feature space that carry the answer, per modality."""


@dataclass(frozen=True)
class Channel:
    """How one modality is generated.

    Attributes:
        steps, width: T_m and d_m; lengths are uniform from ``shortest`` to T_m.
        informative: steps that carry the answer; the others are noise.
        cue_noise: std of the error of what the modality knows, in units of the answer.
        strength: length of a cue's direction, where the noise of a step has std 1 per channel.
        speaker: std of a speaker's constant offset per channel.
    """

    steps: int
    width: int
    shortest: int
    informative: int
    cue_noise: float
    strength: float
    speaker: float


CHANNELS: dict[Modality, Channel] = {
    "text": Channel(12, 48, 4, 3, 1.10, 2.0, 0.25),
    "audio": Channel(20, 12, 8, 4, 2.60, 1.7, 0.35),
    "vision": Channel(16, 16, 6, 4, 2.30, 1.7, 0.35),
}


def regression(data_dir: Path | None = None) -> Dataset:
    """Sentiment in [-3, 3] in steps of 0.2; ``data_dir`` is not used."""
    return _generate("synthetic", "regression", _sentiment, _sentiment_cues)


def tiny(data_dir: Path | None = None) -> Dataset:
    """Of the same making, with so few samples that a whole plan takes seconds: to try things."""
    return _generate("synthetic-tiny", "regression", _sentiment, _sentiment_cues, TINY)


def classification(data_dir: Path | None = None) -> Dataset:
    """Six classes of unequal size; ``data_dir`` is not used."""
    return _generate("synthetic-intent", "classification", _classes, _class_cues)


def _generator(*key: int) -> np.random.Generator:
    """A counter-based generator of its own for each key."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((SEED, *key))))


def _sentiment(count: int, draw: np.random.Generator) -> Doubles:
    """(N,) labels with two humps and few exact zeros, as the mean of five annotators has."""
    sign = np.where(draw.random(count) < 0.52, 1.0, -1.0)
    strength = 3 * draw.beta(1.8, 1.9, count)
    neutral = draw.random(count) < 0.04
    return np.where(neutral, 0.0, np.round(sign * strength * 5) / 5)


def _sentiment_cues(label: Doubles, modality: int) -> Doubles:
    """(N, CUES): valence, its strength, and a cue that only tells clearly negative ones."""
    return np.stack([label, np.abs(label) - 1.6, 0.7 * np.minimum(label, 0) + 0.5], axis=1)


def _classes(count: int, draw: np.random.Generator) -> Doubles:
    return draw.choice(len(CLASS_SHARES), size=count, p=CLASS_SHARES).astype(np.float64)


def _class_cues(label: Doubles, modality: int) -> Doubles:
    """(N, CUES): each modality places the classes differently, so that each tells others apart."""
    places = _generator(3, modality).normal(size=(len(CLASS_SHARES), CUES)) * 1.7
    return places[label.astype(np.int64)]


def _features(
    channel: Channel,
    cues: Doubles,
    speakers: NDArray[np.int64],
    loadings: Doubles,
    draw: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features (N, T, d) before standardisation and their mask (N, T).

    No matrix product, and rounded to four decimals: so the bits, and with them the data's hash,
    are the same on every machine.
    """
    count = len(cues)
    lengths = draw.integers(channel.shortest, channel.steps + 1, count)
    mask = span_mask(np.zeros(count, np.int64), lengths, channel.steps)
    order = np.where(mask, draw.random(mask.shape), np.inf).argsort(axis=1).argsort(axis=1)
    informative = (order < channel.informative)[..., None]
    offsets = channel.speaker * draw.normal(size=(speakers.max() + 1, channel.width))
    values = draw.normal(size=(*mask.shape, channel.width)) + offsets[speakers][:, None]
    for k in range(CUES):
        wobble = 0.5 * draw.normal(size=(*mask.shape, 1))
        values += informative * (cues[:, k, None, None] + wobble) * loadings[k]
    return np.round(values * mask[..., None], 4).astype(np.float32), mask


def _cue_errors(count: int, channel: Channel, shared: Doubles, own: np.random.Generator) -> Doubles:
    """(N, CUES) errors, half of whose variance all modalities share: they partly repeat."""
    return channel.cue_noise * (
        np.sqrt(0.4) * shared + np.sqrt(0.6) * own.normal(size=(count, CUES))
    )


def _generate(
    name: str,
    task: Task,
    draw_label: Callable[[int, np.random.Generator], Doubles],
    draw_cues: Callable[[Doubles, int], Doubles],
    counts: Mapping[str, int] = COUNTS,
) -> Dataset:
    labels: dict[str, Doubles] = {}
    ids: dict[str, tuple[str, ...]] = {}
    arrays: dict[tuple[str, Modality], tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
    form = 0 if task == "regression" else 1
    for s, split in enumerate(SPLITS):
        count = counts[split]
        labels[split] = draw_label(count, _generator(0, form, s))
        speakers = np.sort(_generator(1, form, s).integers(0, SPEAKERS[split], count))
        ids[split] = _sample_ids(split, speakers)
        shared = _generator(2, form, s).normal(size=(count, CUES))
        for m, modality in enumerate(MODALITIES):
            channel = CHANNELS[modality]
            loadings = _loadings(channel, _generator(4, form, m))
            draw = _generator(5, form, s, m)
            cues = draw_cues(labels[split], m) + _cue_errors(count, channel, shared, draw)
            arrays[split, modality] = _features(channel, cues, speakers, loadings, draw)
    return _assemble(name, task, labels, ids, arrays)


def _loadings(channel: Channel, draw: np.random.Generator) -> Doubles:
    """(CUES, d) directions of length ``strength``."""
    directions = draw.normal(size=(CUES, channel.width))
    length = np.sqrt((directions**2).sum(axis=1, keepdims=True))
    return channel.strength * directions / length


def _sample_ids(split: str, speakers: NDArray[np.int64]) -> tuple[str, ...]:
    seen: dict[int, int] = {}
    ids = []
    for speaker in speakers.tolist():
        seen[speaker] = seen.get(speaker, 0) + 1
        ids.append(f"{split}{speaker:02d}$_${seen[speaker]}")
    return tuple(ids)


def _assemble(
    name: str,
    task: Task,
    labels: dict[str, Doubles],
    ids: dict[str, tuple[str, ...]],
    arrays: dict[tuple[str, Modality], tuple[NDArray[np.float32], NDArray[np.bool_]]],
) -> Dataset:
    """Standardise as an import does, hash, and turn into tensors."""
    digest = hashlib.sha256(f"{name} 1".encode())
    sigma_ref: dict[Modality, torch.Tensor] = {}
    scales: dict[Modality, Scale] = {}
    for modality in MODALITIES:
        values, mask = arrays["train", modality]
        moments = Moments.of(values[mask])
        if modality == "text":
            constant = constant_channels(values, mask)
            sigma_ref[modality] = torch.from_numpy(channel_sigma(moments.pooled_std, constant))
            continue
        scales[modality] = Scale.of(moments)
        sigma_ref[modality] = torch.from_numpy(channel_sigma(1.0, scales[modality].constant))
        for split in SPLITS:
            scales[modality].apply(*arrays[split, modality])
    splits = {}
    for split in SPLITS:
        count = len(ids[split])
        kind = np.float32 if task == "regression" else np.int64
        label = labels[split].astype(kind)
        digest.update("\n".join(ids[split]).encode() + label.tobytes())
        for modality in MODALITIES:
            for array in arrays[split, modality]:
                digest.update(array.tobytes())
        splits[split] = Split(
            ids[split],
            Modalities(
                {m: torch.from_numpy(arrays[split, m][0]) for m in MODALITIES},
                {m: torch.from_numpy(arrays[split, m][1]) for m in MODALITIES},
                torch.ones(count, len(MODALITIES), dtype=torch.bool),
                torch.from_numpy(label),
            ),
        )
    spec = DataSpec(
        {m: CHANNELS[m].width for m in MODALITIES},
        {m: CHANNELS[m].steps for m in MODALITIES},
        MODALITIES,
        task,
        1 if task == "regression" else len(CLASS_SHARES),
    )
    return Dataset(name, digest.hexdigest(), spec, splits, sigma_ref, True, scales)
