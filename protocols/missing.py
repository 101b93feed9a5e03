"""One draw of which modalities are available at missing rate η, under the rules of
:mod:`protocols.expectation`.

A map from fixed uniforms to a subset, monotone in η: what is missing at a rate stays missing at
every higher rate. For training and for the single-draw estimator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from protocols.availability import contains
from protocols.expectation import imder_fractions, others_kept, require_three
from protocols.modalities import MODALITIES, Modality
from protocols.rules import MissingRule

UNIFORMS_PER_SAMPLE = 4
"""Columns of the uniforms of a draw: text, audio, vision, choice."""

_CHOICE = 3


def draw_availability(
    rule: MissingRule, rate: Tensor | float, uniforms: Tensor, present: tuple[Modality, ...]
) -> Tensor:
    """One availability draw per sample, from fixed uniforms; monotone in η.

    Args:
        rule: the missing rule. For ``imder_batch`` the caller repeats one row of uniforms over
            the samples of a batch (:func:`share_over_batches`).
        rate: η, a number or a tensor that broadcasts to (N,).
        uniforms: (N, 4) in [0, 1).
        present: the modalities that the data set has.

    Returns:
        (N, 3) bool on the uniforms' device; a modality that the data set lacks is never available.

    Raises:
        ValueError: for ``imder_batch`` with fewer than three modalities.
    """
    rate = torch.as_tensor(rate, dtype=uniforms.dtype, device=uniforms.device)
    rate = rate.expand(len(uniforms))[:, None]
    own, choice = uniforms[:, :3], uniforms[:, _CHOICE:]
    if rule == "bernoulli":
        available = own >= rate
    elif rule == "at_least_one":
        available = own < others_kept(rate, len(present))
        kept = (choice * len(present)).long()
        places = [present.index(m) if m in present else -1 for m in MODALITIES]
        available = available | torch.cat([kept == place for place in places], dim=1)
    else:
        require_three(present)
        two, one = imder_fractions(rate)
        missing_count = (choice >= 1 - two - one).long() + (choice >= 1 - two).long()
        rank = own.argsort(dim=1).argsort(dim=1)  # the order in which modalities are lost
        available = rank >= missing_count
    return torch.stack([available[:, i] & (m in present) for i, m in enumerate(MODALITIES)], dim=1)


def draw_incomplete(rate: float, uniforms: Tensor, present: tuple[Modality, ...]) -> Tensor:
    """With probability ``rate`` one of the incomplete patterns, each as likely; else all there.

    A pattern keeps at least one modality: of three modalities there are six.

    Args:
        rate: the probability that a sample is incomplete.
        uniforms: (N, 4) in [0, 1), of which the choice is used.
        present: the modalities that the data set has.

    Returns:
        (N, 3) bool on the uniforms' device; a modality that the data set lacks is never available.
    """
    full = 2 ** len(present) - 1  # patterns as bits over the present ones: 1 to full - 1
    choice = uniforms[:, _CHOICE]
    pattern = (1 + (choice / rate * (full - 1)).long()).clamp(max=full)
    columns = [
        (pattern >> present.index(m)) % 2 == 1 if m in present else torch.zeros_like(choice).bool()
        for m in MODALITIES
    ]
    return torch.stack(columns, dim=1)


def share_over_batches(uniforms: Tensor, batch_size: int) -> Tensor:
    """Give every sample of a run of ``batch_size`` the uniforms of its first: (N, 4) -> (N, 4)."""
    index = torch.arange(len(uniforms), device=uniforms.device)
    return uniforms[index - index % batch_size]


def as_bools(mask: int) -> Tensor:
    """A mask as a (3,) bool tensor in the order t, a, v."""
    return torch.tensor([contains(mask, m) for m in MODALITIES])


def as_masks(available: Tensor) -> Tensor:
    """(N, 3) bool availability -> (N,) long bit masks."""
    weights = torch.tensor([1, 2, 4], device=available.device)
    return (available.long() * weights).sum(-1)
