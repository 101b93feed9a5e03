"""Common random numbers: the randomness of a corruption, drawn once and then only scaled.

A draw is a pure function of (draw seed, split, sample id, modality, purpose), made on the CPU by
a counter-based generator whose key is a hash of those. Every model, device, batch size and order
therefore meets the same corruption; noise scales with λ and masks nest in λ and η.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from protocols.conditions import JOINTS, Joint
from protocols.missing import UNIFORMS_PER_SAMPLE
from protocols.modalities import MODALITIES, Modality


@dataclass(frozen=True)
class NoiseDraw:
    """The noise of B samples before it is scaled by λ.

    Attributes:
        gaussian: modality -> (B, T_m, d_m) standard normal; only the modalities that the noise
            rule perturbs additively.
        token: (B, T_text) uniform in [0, 1), or None when the rule drops no tokens.
    """

    gaussian: Mapping[Modality, Tensor]
    token: Tensor | None

    def to(self, device: torch.device | str) -> NoiseDraw:
        """The same draw on ``device``."""
        return NoiseDraw(
            {m: z.to(device) for m, z in self.gaussian.items()},
            None if self.token is None else self.token.to(device),
        )


NO_NOISE = NoiseDraw({}, None)
"""The draw of an input that only loses modalities."""


def keyed_generator(
    draw_seed: int, split: str, sample_id: str, modality: str, purpose: str
) -> np.random.Generator:
    """The generator of one (draw seed, split, sample, modality, purpose)."""
    text = "\x1f".join((str(draw_seed), split, sample_id, modality, purpose))
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def gaussian_noise(
    draw_seed: int,
    split: str,
    sample_ids: Sequence[str],
    modality: Modality,
    steps: int,
    width: int,
) -> Tensor:
    """Standard normal noise, (N, steps, width) float32, keyed by sample."""
    noise = np.empty((len(sample_ids), steps, width), dtype=np.float32)
    for row, sample_id in zip(noise, sample_ids, strict=True):
        generator = keyed_generator(draw_seed, split, sample_id, modality, "gaussian")
        generator.standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(noise)


def token_uniforms(draw_seed: int, split: str, sample_ids: Sequence[str], steps: int) -> Tensor:
    """Uniforms that decide which text steps are dropped, (N, steps) float32, keyed by sample."""
    return _uniforms(draw_seed, split, sample_ids, "text", "token", steps)


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


def _uniforms(
    draw_seed: int, split: str, sample_ids: Sequence[str], modality: str, purpose: str, count: int
) -> Tensor:
    values = np.empty((len(sample_ids), count), dtype=np.float32)
    for row, sample_id in zip(values, sample_ids, strict=True):
        keyed_generator(draw_seed, split, sample_id, modality, purpose).random(
            dtype=np.float32, out=row
        )
    return torch.from_numpy(values)
