"""The degradation operator T(u; λ, S): Eq. 2, 12 and 13.

ũ_m = (1 - I_miss) · (u_m + ε_m): noise of intensity λ on the valid steps, then whole modalities
zeroed. Three noise rules say what noise is:

- ``seed_a1`` (Appendix A.1): audio and vision get ε ~ N(0, (λ σ_ref)² I); each valid text step is
  zeroed independently with probability λ. The steps are encoder outputs, and these already mix
  their neighbours, so this is milder than dropping words before the encoder.
- ``gaussian_all``: ε ~ N(0, (λ σ_ref)² I) on all three.
- ``gaussian_av``: the same on audio and vision; text stays clean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from protocols.draws import NoiseDraw, gaussian_noise, token_uniforms
from protocols.modalities import MODALITIES, Modalities, Modality
from protocols.rules import NoiseRule

_GAUSSIAN: dict[NoiseRule, tuple[Modality, ...]] = {
    "seed_a1": ("audio", "vision"),
    "gaussian_all": ("text", "audio", "vision"),
    "gaussian_av": ("audio", "vision"),
}
_TOKEN_DROPOUT: tuple[NoiseRule, ...] = ("seed_a1",)


def keyed_noise(
    rule: NoiseRule, draw_seed: int, split: str, sample_ids: Sequence[str], batch: Modalities
) -> NoiseDraw:
    """The noise of named samples (common random numbers), on the CPU; shapes follow ``batch``."""
    gaussian = {
        m: gaussian_noise(draw_seed, split, sample_ids, m, *batch.features[m].shape[1:])
        for m in _GAUSSIAN[rule]
    }
    steps = batch.features["text"].shape[1]
    token = token_uniforms(draw_seed, split, sample_ids, steps) if rule in _TOKEN_DROPOUT else None
    return NoiseDraw(gaussian, token)


def fresh_noise(rule: NoiseRule, batch: Modalities, generator: torch.Generator) -> NoiseDraw:
    """New noise for a training batch, drawn on the batch's device."""

    def like(x: Tensor, draw: Literal["randn", "rand"]) -> Tensor:
        return getattr(torch, draw)(x.shape, generator=generator, device=x.device, dtype=x.dtype)

    gaussian = {m: like(batch.features[m], "randn") for m in _GAUSSIAN[rule]}
    token = None
    if rule in _TOKEN_DROPOUT:
        token = like(batch.features["text"][..., 0], "rand")
    return NoiseDraw(gaussian, token)


def degrade(
    batch: Modalities,
    intensity: Tensor | float,
    available: Tensor,
    noise: NoiseDraw,
    sigma_ref: Mapping[Modality, Tensor],
) -> Modalities:
    """Apply T(u; λ, S).

    Args:
        batch: B clean samples.
        intensity: λ, a number, a scalar tensor, or (B,).
        available: (3,) or (B, 3) bool: S, in the order t, a, v. What ``batch`` already lacks
            stays missing.
        noise: the draw, for the same B samples and on the same device.
        sigma_ref: modality -> (d_m,) or scalar reference standard deviation, on the batch's
            device; 0 keeps a channel as it is.

    Returns:
        The degraded batch. Padding masks are unchanged, padding stays zero; with λ = 0 and all
        available the features are the batch's own, bit for bit.
    """
    level = torch.as_tensor(intensity, dtype=torch.float32, device=batch.device).reshape(-1, 1, 1)
    available = batch.available & available
    features: dict[Modality, Tensor] = {}
    for position, m in enumerate(MODALITIES):
        x, mask = batch.features[m], batch.masks[m][..., None]
        if m in noise.gaussian:
            noisy = x + level * sigma_ref[m] * noise.gaussian[m]
            x = torch.where(mask & (level > 0), noisy, x)
        if m == "text" and noise.token is not None:
            x = x.masked_fill(noise.token[..., None] < level, 0.0)
        features[m] = x.masked_fill(~available[:, position, None, None], 0.0)
    return Modalities(features, batch.masks, available, batch.label)
