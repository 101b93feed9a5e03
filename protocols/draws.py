"""Common random numbers: the randomness of a corruption, drawn once and then only scaled.

A draw is a pure function of (draw seed, split, sample id, modality, purpose), made on the CPU by
a counter-based generator whose key is a hash of those. Every model, device, batch size and order
therefore meets the same corruption; noise scales with λ and masks nest in λ and η.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from protocols.conditions import JOINTS, Joint
from protocols.missing import UNIFORMS_PER_SAMPLE
from protocols.modalities import MODALITIES, Modality
from protocols.rules import NoiseRule


@dataclass(frozen=True)
class NoiseDraw:
    """The randomness of B samples before it is scaled by λ or compared with it.

    Attributes:
        rule: the noise rule; None for an input that only loses modalities.
        drawn: modality -> (B, ...), in the shape that the rule's effect on it has; without the
            modalities that the rule leaves alone or changes without chance.
    """

    rule: NoiseRule | None
    drawn: Mapping[Modality, Tensor]

    def to(self, device: torch.device | str) -> NoiseDraw:
        """The same draw on ``device``."""
        return NoiseDraw(self.rule, {m: x.to(device) for m, x in self.drawn.items()})


NO_NOISE = NoiseDraw(None, {})
"""The draw of an input that only loses modalities."""


def keyed_generator(
    draw_seed: int, split: str, sample_id: str, modality: str, purpose: str
) -> np.random.Generator:
    """The generator of one (draw seed, split, sample, modality, purpose)."""
    text = "\x1f".join((str(draw_seed), split, sample_id, modality, purpose))
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def drawn(
    kind: Literal["normal", "uniform"],
    shape: tuple[int, ...],
    key: tuple[int, str, str, str],
    sample_ids: Sequence[str],
) -> Tensor:
    """Random numbers keyed by sample, (N, *shape) float32: standard normal, or uniform in [0, 1).

    Args:
        kind: how they are distributed.
        shape: of one sample's.
        key: (draw seed, split, modality, purpose).
        sample_ids: N ids.
    """
    draw_seed, split, modality, purpose = key
    values = np.empty((len(sample_ids), *shape), dtype=np.float32)
    for row, sample_id in zip(values, sample_ids, strict=True):
        generator = keyed_generator(draw_seed, split, sample_id, modality, purpose)
        make = generator.standard_normal if kind == "normal" else generator.random
        make(dtype=np.float32, out=row)
    return torch.from_numpy(values)


def missing_uniforms(draw_seed: int, split: str, sample_ids: Sequence[str]) -> Tensor:
    """Uniforms that decide what is missing, (N, 4) float32: text, audio, vision, choice."""
    columns = [
        _uniforms(draw_seed, split, sample_ids, m, "missing", 1) for m in (*MODALITIES, "choice")
    ]
    assert len(columns) == UNIFORMS_PER_SAMPLE
    return torch.cat(columns, dim=1)


def intensity_uniforms(draw_seed: int, split: str, sample_ids: Sequence[str]) -> Tensor:
    """Uniforms behind each sample's (λ_i, η_i) of Protocol III, (N, 2) float32."""
    return _uniforms(draw_seed, split, sample_ids, "joint", "intensity", 2)


def joint_levels(
    joint: Joint, draw: int, split: str, sample_ids: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Protocol III's per-sample λ_i and η_i of a draw: two (N,) float32 tensors."""
    drawn = intensity_uniforms(draw, split, sample_ids) * JOINTS[joint]
    return drawn[:, 0], drawn[:, 1]


def family_uniforms(draw_seed: int, split: str, sample_ids: Sequence[str]) -> Tensor:
    """Uniforms that decide which of several families a sample meets, (N,) float32."""
    return _uniforms(draw_seed, split, sample_ids, "joint", "family", 1)[:, 0]


def _uniforms(
    draw_seed: int, split: str, sample_ids: Sequence[str], modality: str, purpose: str, count: int
) -> Tensor:
    return drawn("uniform", (count,), (draw_seed, split, modality, purpose), sample_ids)
