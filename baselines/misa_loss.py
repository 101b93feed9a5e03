"""MISA's losses over the codes: difference, central moment discrepancy, gradient reversal.

As in the official code of Hazarika, Zimmermann, Poria, "MISA", ACM Multimedia 2020.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import torch
from torch import Tensor

MOMENTS = 5
ROOT_FLOOR = 1e-12
NORM_FLOOR = 1e-6


def difference_loss(private: Tensor, shared: Tensor) -> Tensor:
    """How much of one code is linear in another, over a batch.

    For each pair (p_m, c_m) and (p_m, p_n): both (B, h) matrices centred over the batch, their
    rows divided by their norms, which get no gradient; then the mean of the squared entries of
    X^T Y. The sum of these is computed by |X^T Y|^2 = <X X^T, Y Y^T>, with one small matrix for
    each code.

    Args:
        private: (M, B, h).
        shared: (M, B, h).

    Returns:
        The sum over the M + M (M - 1) / 2 pairs, a scalar.
    """
    codes = torch.cat([private, shared])
    codes = codes - codes.mean(1, keepdim=True)
    codes = codes / (codes.detach().norm(dim=2, keepdim=True) + NORM_FLOOR)
    grams = (codes @ codes.transpose(1, 2)).flatten(1)  # (2M, B B)
    products = grams @ grams.t()
    number = len(private)
    between_private = products[:number, :number].triu(1).sum()
    private_shared = products[:number, number:].diagonal().sum()
    return (between_private + private_shared) / codes.shape[2] ** 2


def central_moment_discrepancy(codes: Tensor) -> Tensor:
    """The mean over pairs of how far apart the first moments of two codes are.

    For a pair: the distance of the means, plus that of the central moments of orders 2 to 5, all
    over the batch. (Zellinger et al. 2017, without their interval's factors, as MISA has it.)

    Args:
        codes: (M, B, h).

    Returns:
        A scalar. The root has a floor, so that its gradient is finite where two codes coincide.
    """
    mean = codes.mean(1)
    centred = codes - mean[:, None]
    moments, power = [mean], centred
    for _ in range(2, MOMENTS + 1):
        power = power * centred
        moments.append(power.mean(1))
    each = torch.stack(moments)  # (orders, M, h)
    pairs = list(combinations(range(len(codes)), 2))
    apart = torch.stack([each[:, i] - each[:, j] for i, j in pairs])
    return (apart.square().sum(-1) + ROOT_FLOOR).sqrt().sum() / len(pairs)


class ReverseGradient(torch.autograd.Function):
    """The identity, whose gradient is reversed and weighted (Ganin and Lempitsky 2015)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        """Return ``x``."""
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Minus the gradient, times the weight."""
        return -ctx.weight * grad, None
