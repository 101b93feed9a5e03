"""The three missing rules of the field: which modalities are available at missing rate η.

Each rule is given twice: as the exact distribution over the 8 subsets (`availability_weights`, for
expectations without Monte-Carlo noise) and as a map from fixed uniforms to one subset
(`draw_availability`, for training and for the single-draw estimator). The second is monotone in η:
what is missing at a rate stays missing at every higher rate.

- ``bernoulli`` (Eq. 2): each modality is missing independently with probability η.
- ``at_least_one`` (GCNet's protocol, behind Table 3): one uniformly chosen modality is always kept;
  each other one is kept with the probability that brings the expected missing fraction to η, which
  saturates at (M - 1) / M.
- ``imder_batch`` (IMDer's protocol): a whole batch has none, one or two modalities missing, in
  the published fractions per rate (linear between the published rates). Three modalities only.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from protocols.availability import MASK_COUNT, mask_of
from protocols.modalities import MODALITIES, Modality

MissingRule = Literal["bernoulli", "at_least_one", "imder_batch"]
MISSING_RULES: tuple[MissingRule, ...] = get_args(MissingRule)

MISSING_VERSION = 1
UNIFORMS_PER_SAMPLE = 4
"""Columns of the uniforms of a draw: text, audio, vision, choice."""

_CHOICE = 3
# IMDer's fractions of batches with two and with one modality missing, at rates 0, .1, ..., .7.
_IMDER_TWO = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
_IMDER_ONE = (0.0, 0.1, 0.2, 0.3, 0.2, 0.1, 0.0, 0.0)


def availability_weights(
    rule: MissingRule, rate: Tensor | float, present: tuple[Modality, ...]
) -> Tensor:
    """The probability of each availability subset at missing rate η.

    Args:
        rule: the missing rule.
        rate: η in [0, 1], a number or a tensor of any shape.
        present: the modalities that the data set has; the others are in no subset.

    Returns:
        (..., 8) float64, indexed by bit mask, summing to 1.

    Raises:
        ValueError: for ``imder_batch`` with fewer than three modalities.
    """
    rate = torch.as_tensor(rate, dtype=torch.float64)[..., None]
    size = torch.tensor([mask.bit_count() for mask in range(MASK_COUNT)], dtype=torch.float64)
    possible = torch.tensor([mask & ~mask_of(present) == 0 for mask in range(MASK_COUNT)])
    total = len(present)
    if rule == "bernoulli":
        weights = (1 - rate) ** size * rate ** (total - size)
    elif rule == "at_least_one":
        keep = _others_kept(rate, total)
        others = (size - 1).clamp(min=0)
        weights = size / total * keep**others * (1 - keep) ** (total - 1 - others)
    else:
        _require_three(present)
        two, one = _imder_fractions(rate)
        by_missing = torch.cat([1 - two - one, one / 3, two / 3, torch.zeros_like(two)], dim=-1)
        weights = by_missing[..., (total - size).long()]
    return torch.where(possible, weights, 0.0)


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
        available = own < _others_kept(rate, len(present))
        kept = (choice * len(present)).long()
        places = [present.index(m) if m in present else -1 for m in MODALITIES]
        available = available | torch.cat([kept == place for place in places], dim=1)
    else:
        _require_three(present)
        two, one = _imder_fractions(rate)
        missing_count = (choice >= 1 - two - one).long() + (choice >= 1 - two).long()
        rank = own.argsort(dim=1).argsort(dim=1)  # the order in which modalities are lost
        available = rank >= missing_count
    return torch.stack([available[:, i] & (m in present) for i, m in enumerate(MODALITIES)], dim=1)


def share_over_batches(uniforms: Tensor, batch_size: int) -> Tensor:
    """Give every sample of a run of ``batch_size`` the uniforms of its first: (N, 4) -> (N, 4)."""
    index = torch.arange(len(uniforms), device=uniforms.device)
    return uniforms[index - index % batch_size]


def _others_kept(rate: Tensor, total: int) -> Tensor:
    """The chance that a modality other than the kept one is available, under at_least_one."""
    if total == 1:
        return torch.ones_like(rate)
    return ((total * (1 - rate) - 1) / (total - 1)).clamp(min=0.0)


def _imder_fractions(rate: Tensor) -> tuple[Tensor, Tensor]:
    """The fractions of batches with two and with one modality missing; constant above 0.7."""
    return _piecewise_linear(rate, _IMDER_TWO), _piecewise_linear(rate, _IMDER_ONE)


def _piecewise_linear(rate: Tensor, values: tuple[float, ...]) -> Tensor:
    """Interpolate values given at 0, .1, .2, ...; a sum of ramps, so that no constant table has
    to be copied to the device inside a training step."""
    slopes = [10 * (high - low) for low, high in pairwise(values)] + [0.0]
    result = values[0] + slopes[0] * rate
    for place, (before, after) in enumerate(pairwise(slopes), start=1):
        result = result + (after - before) * (rate - place / 10).clamp(min=0)
    return result


def _require_three(present: tuple[Modality, ...]) -> None:
    if len(present) != len(MODALITIES):
        raise ValueError(
            "the missing rule 'imder_batch' is defined for three modalities only; this data set "
            f"has {', '.join(present)}: use 'bernoulli' or 'at_least_one'"
        )
