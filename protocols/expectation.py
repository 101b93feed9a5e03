"""The three missing rules of the field, exactly: how likely each availability subset is at a
missing rate η. Expectations over what is missing need no Monte-Carlo noise.

- ``bernoulli`` (Eq. 2): each modality is missing independently with probability η.
- ``at_least_one`` (GCNet's protocol, behind Table 3): one uniformly chosen modality is always kept;
  each other one is kept with the probability that brings the expected missing fraction to η, which
  saturates at (M - 1) / M.
- ``imder_batch`` (IMDer's protocol): a whole batch has none, one or two modalities missing, in
  the published fractions per rate (linear between the published rates). Three modalities only.

The formulas that a draw needs too (:mod:`protocols.missing`) take arrays and tensors alike.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from protocols.availability import MASK_COUNT, contains, mask_of
from protocols.modalities import MODALITIES, Modality
from protocols.rules import MissingRule

if TYPE_CHECKING:
    from torch import Tensor

Rates = TypeVar("Rates", "Tensor", NDArray[np.float64])

# IMDer's fractions of batches with two and with one modality missing, at rates 0, .1, ..., .7.
_IMDER_TWO = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
_IMDER_ONE = (0.0, 0.1, 0.2, 0.3, 0.2, 0.1, 0.0, 0.0)


def availability_weights(
    rule: MissingRule, rate: ArrayLike, present: tuple[Modality, ...]
) -> NDArray[np.float64]:
    """The probability of each availability subset at missing rate η.

    Args:
        rule: the missing rule.
        rate: η in [0, 1], a number or an array of any shape.
        present: the modalities that the data set has; the others are in no subset.

    Returns:
        (..., 8), indexed by bit mask, summing to 1.

    Raises:
        ValueError: for ``imder_batch`` with fewer than three modalities.
    """
    rates = np.asarray(rate, dtype=np.float64)[..., None]
    total = len(present)
    kept = np.array([mask.bit_count() for mask in range(MASK_COUNT)])
    lost = np.maximum(total - kept, 0)  # of a possible subset; the others have no weight below
    if rule == "bernoulli":
        weights = (1 - rates) ** kept * rates**lost
    elif rule == "at_least_one":
        keep, others = others_kept(rates, total), np.maximum(kept - 1, 0)
        weights = kept / total * keep**others * (1 - keep) ** np.maximum(total - 1 - others, 0)
    else:
        require_three(present)
        two, one = imder_fractions(rates)
        by_lost = np.concatenate([1 - two - one, one / 3, two / 3, np.zeros_like(two)], axis=-1)
        weights = by_lost[..., lost]
    possible = [mask & ~mask_of(present) == 0 for mask in range(MASK_COUNT)]
    return np.where(possible, weights, 0.0)


def uneven_weights(rates: ArrayLike, present: tuple[Modality, ...]) -> NDArray[np.float64]:
    """The probability of each availability subset where every sensor fails at a rate of its own.

    Modalities are missing independently; with equal rates this is ``bernoulli``.

    Args:
        rates: (..., 3) η_t, η_a, η_v in [0, 1]; that of an absent modality is not read.
        present: the modalities that the data set has; the others are in no subset.

    Returns:
        (..., 8), indexed by bit mask, summing to 1.
    """
    missing = np.asarray(rates, dtype=np.float64)
    weights = np.ones((*missing.shape[:-1], MASK_COUNT))
    for mask in range(MASK_COUNT):
        for place, m in enumerate(MODALITIES):
            here = contains(mask, m)
            if m in present:
                weights[..., mask] *= 1 - missing[..., place] if here else missing[..., place]
            elif here:
                weights[..., mask] = 0
    return weights


def others_kept(rate: Rates, total: int) -> Rates:
    """The chance that a modality other than the kept one is available, under at_least_one."""
    if total == 1:
        return 0 * rate + 1
    return ((total * (1 - rate) - 1) / (total - 1)).clip(min=0.0)


def imder_fractions(rate: Rates) -> tuple[Rates, Rates]:
    """The fractions of batches with two and with one modality missing; constant above 0.7."""
    return _piecewise_linear(rate, _IMDER_TWO), _piecewise_linear(rate, _IMDER_ONE)


def _piecewise_linear(rate: Rates, values: tuple[float, ...]) -> Rates:
    """Interpolate values given at 0, .1, .2, ...; a sum of ramps, so that no constant table has
    to be copied to the device inside a training step."""
    slopes = [10 * (high - low) for low, high in pairwise(values)] + [0.0]
    result = values[0] + slopes[0] * rate
    for place, (before, after) in enumerate(pairwise(slopes), start=1):
        result = result + (after - before) * (rate - place / 10).clip(min=0.0)
    return result


def require_three(present: tuple[Modality, ...]) -> None:
    """Raises ValueError where ``imder_batch`` is not defined."""
    if len(present) != len(MODALITIES):
        raise ValueError(
            "the missing rule 'imder_batch' is defined for three modalities only; this data set "
            f"has {', '.join(present)}: use 'bernoulli' or 'at_least_one'"
        )
