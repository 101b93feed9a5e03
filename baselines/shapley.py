"""What each modality contributes, as exact Shapley values, and the gradient factors made of them.

PaSE (He et al., AAAI 2026): the modality that contributes least keeps its gradients, the others'
are damped, so that no modality learns at the cost of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import factorial

import torch
from torch import Tensor

Pair = tuple[int, int]

_LEAST_VALUE = 1e-9


def coalition_value(
    members: tuple[int, ...], intra: Tensor, inter: Mapping[Pair, Tensor], rho: float
) -> Tensor:
    """v(S) = rho / (1 + sum of L_inter over S's pairs) + (1 - rho) / (1 + sum of L_intra over S).

    0 for nobody.

    Args:
        members: S, ascending.
        intra: (M,) how far each modality's samples are from their classes.
        inter: pair (i, j), i < j -> how far the prototypes of two modalities are from each other.
        rho: the share of the second in the value.
    """
    if not members:
        return intra.new_zeros(())
    apart = intra.new_zeros(()) + sum(inter[pair] for pair in combinations(members, 2))
    spread = sum(intra[i] for i in members)
    return rho / (1 + apart) + (1 - rho) / (1 + spread)


def shapley_values(intra: Tensor, inter: Mapping[Pair, Tensor], rho: float) -> Tensor:
    """(M,) mean of v(S + m) - v(S) over the orders in which M modalities can arrive.

    Arguments as for :func:`coalition_value`. Their sum is the value of all.
    """
    players = range(len(intra))
    total = intra.new_zeros(len(intra))
    for m in players:
        others = [i for i in players if i != m]
        for size in range(len(intra)):
            orders = factorial(size) * factorial(len(intra) - size - 1) / factorial(len(intra))
            for rest in combinations(others, size):
                joined = tuple(sorted((*rest, m)))
                gain = coalition_value(joined, intra, inter, rho)
                total[m] += orders * (gain - coalition_value(rest, intra, inter, rho))
    return total


def gradient_factors(values: Tensor) -> Tensor:
    """phi_m = exp(psi_min / psi_m - 1) in (0.3679, 1]; 1 for the smallest, which is at least 1e-9.

    A negative value counts as the least one: v falls as a coalition grows.
    """
    values = values.clamp_min(_LEAST_VALUE)
    return torch.exp(values.min() / values - 1)
