"""A linear layer over the outer product of two vectors, with dropout on the product.

The product of TFN has 140,481 entries for each sample. In training on a CPU it is never held as a
whole: fresh memory of that size costs as much as the arithmetic on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.kernels import draw_lanes, drop_threshold, dropout, keep_probability

_PIECE = 1 << 17
"""Entries of the product that are held at once: they should stay in the processor's cache."""


def product_linear(
    left: Tensor, right: Tensor, weight: Tensor, bias: Tensor, rate: float
) -> Tensor:
    """Outer product, dropout of its entries, linear layer.

    Args:
        left: (B, V).
        right: (B, K).
        weight: (P, V K), the entry of ``left`` slowest.
        bias: (P,).
        rate: dropout rate; zero when not training.

    Returns:
        (B, P).
    """
    if left.device.type == "cpu":
        return _CpuProductLinear.apply(left, right, weight, bias, rate)
    product = torch.bmm(left[:, :, None], right[:, None, :]).flatten(1)
    return F.linear(dropout(product, rate, training=True), weight, bias)


class _CpuProductLinear(torch.autograd.Function):
    """The product is made a cache-sized piece at a time, and once more for the gradient."""

    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor, weight: Tensor, bias: Tensor, rate: float
    ) -> Tensor:
        ctx.save_for_backward(left, right, weight)
        ctx.rate, ctx.lanes = rate, []
        out = left.new_zeros(len(left), len(weight))
        product, keep = _buffers(left, right, 2)
        for rows, columns in _pieces(left, right):
            lanes = draw_lanes(left[:, rows].shape + right.shape[1:]) if rate else None
            ctx.lanes.append(lanes)
            z = _product(left[:, rows], right, product)
            if lanes is not None:
                z.mul_(_kept(lanes, rate, keep))
            out.addmm_(z.flatten(1), weight[:, columns].t())
        return out.mul_(1.0 / keep_probability(rate)).add_(bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, right, weight = ctx.saved_tensors
        grad_bias, scaled = grad.sum(0), grad * (1.0 / keep_probability(ctx.rate))
        grad_left, grad_right = torch.empty_like(left), torch.zeros_like(right)
        grad_weight = torch.empty_like(weight)
        product, keep, wanted = _buffers(left, right, 3)
        for (rows, columns), lanes in zip(_pieces(left, right), ctx.lanes, strict=True):
            z = _product(left[:, rows], right, product)
            grad_z = wanted[: z.numel()].view(z.shape)
            torch.mm(scaled, weight[:, columns], out=grad_z.flatten(1))
            if lanes is not None:
                kept = _kept(lanes, ctx.rate, keep)
                z.mul_(kept)
                grad_z.mul_(kept)
            torch.mm(scaled.t(), z.flatten(1), out=grad_weight[:, columns])
            grad_left[:, rows] = torch.bmm(grad_z, right[:, :, None])[..., 0]
            grad_right.add_(torch.bmm(left[:, None, rows], grad_z)[:, 0])
        return grad_left, grad_right, grad_weight, grad_bias, None


def _pieces(left: Tensor, right: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of ``left``'s width, and of the product's."""
    size, width = _rows_per_piece(left, right), right.shape[1]
    for start in range(0, left.shape[1], size):
        stop = min(start + size, left.shape[1])
        yield slice(start, stop), slice(start * width, stop * width)


def _rows_per_piece(left: Tensor, right: Tensor) -> int:
    return max(1, min(left.shape[1], _PIECE // max(1, right.numel())))


def _buffers(left: Tensor, right: Tensor, number: int) -> list[Tensor]:
    """Room for one piece, several times."""
    return [right.new_empty(_rows_per_piece(left, right) * right.numel()) for _ in range(number)]


def _product(left: Tensor, right: Tensor, room: Tensor) -> Tensor:
    """(B, v, K) products in ``room``."""
    out = room[: left.numel() * right.shape[1]].view(*left.shape, right.shape[1])
    return torch.mul(left[:, :, None], right[:, None, :], out=out)


def _kept(lanes: Tensor, rate: float, room: Tensor) -> Tensor:
    """Ones where an entry is kept, zeros where it is dropped, in ``room``."""
    return torch.ge(lanes, drop_threshold(rate), out=room[: lanes.numel()].view(lanes.shape))
