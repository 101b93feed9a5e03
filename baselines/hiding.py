"""Modalities that a method hides from itself in training, so that it learns to do without them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from protocols.modalities import MODALITIES, Modality


def shown_patterns(present: Sequence[Modality]) -> Tensor:
    """The (P, 3) non-empty subsets of the present modalities, in the order t, a, v."""
    there = torch.tensor([m in present for m in MODALITIES])
    subsets = torch.cartesian_prod(*[torch.tensor([False, True])] * 3)
    return subsets[(subsets <= there).all(1) & subsets.any(1)]


def incomplete_patterns(present: Sequence[Modality]) -> Tensor:
    """The (P, 3) subsets of the present modalities, in the order t, a, v: not all, not none."""
    within = shown_patterns(present)
    return within[(within != within.any(0)).any(1)]


def draw_shown(available: Tensor, patterns: Tensor) -> Tensor:
    """What a model sees of (B, M) available modalities.

    A sample with all that the patterns know keeps one of the (P, M) patterns, all equally likely;
    the others stay as they are. The draw is from torch's global generator.
    """
    if not len(patterns):
        return available
    draw = torch.randint(len(patterns), (len(available),), device=available.device)
    return _dealt(available, patterns, draw)


def balanced_shown(available: Tensor, patterns: Tensor) -> Tensor:
    """:func:`draw_shown`, but the patterns are as many of each as the size of the batch allows."""
    order = torch.rand(len(available), device=available.device).argsort()
    return _dealt(available, patterns, order % len(patterns))


def _dealt(available: Tensor, patterns: Tensor, numbers: Tensor) -> Tensor:
    complete = (available | ~patterns.any(0)).all(1, keepdim=True)
    return available & torch.where(complete, patterns[numbers], True)
