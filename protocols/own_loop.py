"""Degrade batches in a training loop of your own: the benchmark's corruption, and nothing else.

::

    import torch
    from protocols import degrade

    generator = torch.Generator().manual_seed(1)
    for text, audio, vision, label in loader:
        batch = {"text": text, "audio": audio, "vision": vision}
        batch = degrade(batch, intensity=0.3, missing=0.2, generator=generator)

What ``benchmark run`` trains under is this, with λ and η of its regime
(:mod:`protocols.training`); what ``benchmark.evaluate`` asks is the same operator with draws that
are keyed by sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from protocols import degradation
from protocols.missing import UNIFORMS_PER_SAMPLE, draw_availability
from protocols.modalities import MODALITIES, Modalities, Modality
from protocols.rules import MissingRule, NoiseRule

B = TypeVar("B", Modalities, dict[str, Tensor])


def degrade(
    batch: B,
    *,
    intensity: Tensor | float = 0.0,
    missing: Tensor | float = 0.0,
    generator: torch.Generator | None = None,
    noise_rule: NoiseRule = "seed_a1",
    missing_rule: MissingRule = "bernoulli",
    sigma_ref: Mapping[Modality, Tensor | float] | None = None,
) -> B:
    """A batch with noise of intensity λ, and modalities lost at rate η.

    Args:
        batch: some of "text", "audio", "vision", each (B, T_m, d_m), in which a step that is all
            zeros is padding; or :class:`protocols.modalities.Modalities`.
        intensity: λ, from 0, a number or (B,). Audio and vision get Gaussian noise of λ times
            ``sigma_ref`` on their real steps; of the text each step is zeroed with probability λ.
        missing: η in [0, 1], a number or (B,): the chance that a modality is all zeros.
        generator: on the batch's device, the only source of randomness; by default one that
            ``torch.manual_seed`` decides.
        noise_rule: what noise is (:mod:`protocols.degradation`).
        missing_rule: what a missing rate means (:mod:`protocols.missing`).
        sigma_ref: modality -> standard deviation of its features, a number or (d_m,); by default 1,
            which is right for standardised features.

    Returns:
        The same kind of batch; ``batch`` is left as it is.

    Raises:
        ValueError: for a batch without modalities, sizes that differ, a rate outside [0, 1], or a
            rule that acts on transcripts.
    """
    samples = batch if isinstance(batch, Modalities) else _modalities(batch)
    present = tuple(m for m in MODALITIES if isinstance(batch, Modalities) or m in batch)
    _check_levels(intensity, missing)
    device = samples.device
    if generator is None:
        seed = int(torch.randint(2**62, ()).item())
        generator = torch.Generator(device).manual_seed(seed)
    rows = 1 if missing_rule == "imder_batch" else len(samples)
    uniforms = torch.rand((rows, UNIFORMS_PER_SAMPLE), generator=generator, device=device)
    uniforms = uniforms.expand(len(samples), UNIFORMS_PER_SAMPLE)
    available = draw_availability(missing_rule, missing, uniforms, present)
    noise = degradation.fresh_noise(noise_rule, samples, generator)
    scales = sigma_ref or {}
    sigma = {m: torch.as_tensor(scales.get(m, 1.0), device=device) for m in MODALITIES}
    degraded = degradation.degrade(samples, intensity, available, noise, sigma)
    if isinstance(batch, Modalities):
        return degraded  # type: ignore[return-value]  # a batch is one kind or the other
    return {name: degraded.features[name] for name in batch}  # type: ignore[index]


def _modalities(batch: Mapping[str, Tensor]) -> Modalities:
    """Plain tensors as a batch; what is not given is one step of padding."""
    unknown = [name for name in batch if name not in MODALITIES]
    if unknown or not batch:
        raise ValueError(
            f"a batch holds some of {', '.join(MODALITIES)}, not {', '.join(unknown) or 'nothing'}"
        )
    shapes = {name: tuple(x.shape) for name, x in batch.items()}
    if any(x.dim() != 3 for x in batch.values()) or len({s[0] for s in shapes.values()}) > 1:
        raise ValueError(f"each modality must be (B, T, d) with one B, not {shapes}")
    first = next(iter(batch.values()))
    nothing = first.new_zeros(len(first), 1, 1)
    features: dict[Modality, Tensor] = {m: batch.get(m, nothing) for m in MODALITIES}
    masks = {m: (x != 0).any(-1) for m, x in features.items()}
    available = torch.stack([masks[m].any(-1) for m in MODALITIES], dim=1)
    return Modalities(features, masks, available)


def _check_levels(intensity: Tensor | float, missing: Tensor | float) -> None:
    """Of numbers; to look into a tensor would make a GPU wait."""
    if not isinstance(missing, Tensor) and not 0 <= missing <= 1:
        raise ValueError(f"missing is a rate from 0 to 1, not {missing}")
    if not isinstance(intensity, Tensor) and not intensity >= 0:
        raise ValueError(f"intensity is at least 0, not {intensity}")
