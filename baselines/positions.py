"""Steps of a sequence: their codes, which of them a target may see, and which one is the last."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def sinusoidal_code(steps: int, width: int, device: torch.device | None = None) -> Tensor:
    """The (steps, width) codes of the positions 1 to ``steps``: all sines, then all cosines.

    Frequencies are 10000^(-i / (width/2 - 1)); an odd width ends in a column of zeros (official
    MulT code, after tensor2tensor).
    """
    half = width // 2
    frequency = torch.exp(torch.arange(half, device=device) * (-math.log(10000.0) / (half - 1)))
    angle = torch.arange(1, steps + 1, device=device).unsqueeze(1) * frequency
    return F.pad(torch.cat([angle.sin(), angle.cos()], dim=1), (0, width % 2))


def causal_mask(targets: int, sources: int, device: torch.device | None = None) -> Tensor:
    """(targets, sources), -inf strictly above the diagonal 1 + \\|sources - targets\\|, else 0."""
    full = torch.full((targets, sources), -math.inf, device=device)
    return full.triu(1 + abs(sources - targets))


def last_step(real: Tensor, padding_too: bool) -> Tensor:
    """(B,) index of the last step of (B, T) sequences: of all steps, or of the real ones.

    A sequence without a real step gives 0.
    """
    steps = torch.arange(real.shape[1], device=real.device)
    return steps[-1].expand(real.shape[0]) if padding_too else (steps * real).amax(1)
