"""Dropout, attention and feed-forward blocks for many small encoders at once.

At 50 steps and head width 4 to 10, time goes into passes over the attention weights and into
drawing dropout masks, not into arithmetic. On a CPU both are done by hand here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_LANES = 1 << 16


def keep_probability(rate: float) -> float:
    """The probability of keeping an element at dropout ``rate``, to 1/65536."""
    return 1.0 - round(rate * _LANES) / _LANES


def drop_threshold(rate: float) -> int:
    """The lane value below which an element is dropped."""
    return round(rate * _LANES) - _LANES // 2


def draw_lanes(shape: Sequence[int]) -> Tensor:
    """Uniform 16-bit integers.

    On a CPU torch draws a full-precision number per element for a dropout mask, which costs more
    than the layer around it; four lanes of one 64-bit draw do for a rate to 1/65536. They come
    from torch's global generator, so a seed or a restored generator state reproduces them.
    """
    count = math.prod(shape)
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[:count].view(*shape)


def dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Inverted dropout of any tensor; the same law as ``torch.nn.functional.dropout``."""
    if not training or rate == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, rate)
    keep = torch.ge(draw_lanes(x.shape), drop_threshold(rate), out=torch.empty_like(x))
    return x * keep.mul_(1.0 / keep_probability(rate))


def only_where(condition: Tensor, make: Callable[[], Tensor], otherwise: Tensor) -> Tensor:
    """What is made where a condition, a scalar, holds; else the other.

    A CPU makes it only then. A GPU makes it always: to learn whether it must, it would have to be
    waited for.
    """
    if condition.device.type == "cpu" and not condition:
        return otherwise
    return torch.where(condition, make(), otherwise)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    key_bias: Tensor | None,
    rates: Sequence[float],
) -> Tensor:
    """Scaled dot-product attention of G parallel groups, each with its own weight dropout.

    Args:
        query: (G, B, H, Tq, w).
        key: (G, B, H, Tk, w); value the same.
        mask: (Tq, Tk) added to every score, or None.
        key_bias: (G, B, Tk) added to the scores of a sample's keys, or None.
        rates: G dropout rates of the attention weights; zeros when not training.

    Returns:
        (G, B, H, Tq, w).
    """
    if query.device.type == "cpu":
        return _CpuAttention.apply(query, key, value, mask, key_bias, tuple(rates))
    return fused_attention(query, key, value, mask, key_bias, rates)


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    key_bias: Tensor | None,
    rates: Sequence[float],
) -> Tensor:
    """:func:`attention` by torch's fused kernel, one call per run of equal dropout rates."""
    bias = mask
    if key_bias is not None:
        bias = key_bias[:, :, None, None, :]
        bias = bias.expand(-1, -1, -1, query.shape[-2], -1) if mask is None else bias + mask
    parts = []
    for run, rate in _runs(rates):
        own = bias[run].flatten(0, 1) if bias is not None and bias.dim() == 5 else bias
        part = F.scaled_dot_product_attention(
            query[run].flatten(0, 1), key[run].flatten(0, 1), value[run].flatten(0, 1), own, rate
        )
        parts.append(part.unflatten(0, (-1, query.shape[1])))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _runs(rates: Sequence[float]) -> Iterator[tuple[slice, float]]:
    """The slices of neighbouring groups that have one rate."""
    start = 0
    for rate, members in groupby(rates):
        stop = start + len(list(members))
        yield slice(start, stop), rate
        start = stop


class _CpuAttention(torch.autograd.Function):
    """Explicit attention with its gradient written out, a cache-sized piece at a time.

    Measured at 50 steps and head width 5: torch's fused CPU kernel takes three times as long, and
    with dropout it falls back to a slower path still. What matters: the output is computed
    transposed, because a product with 46 columns vectorises and one with 5 does not; the gradient
    keeps the weights row-major, where autograd would hand on a transposed view; the softmax is
    left unnormalised (see :func:`_exponentials`), so that its division and dropout's rescaling
    act on the small output; long sequences are computed again for the gradient, not kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        key_bias: Tensor | None,
        rates: tuple[float, ...],
    ) -> Tensor:
        out = query.new_empty(*query.shape[:3], query.shape[4], query.shape[3])
        pieces = list(_pieces(query, key))
        keep = any(ctx.needs_input_grad) and len(pieces) == len(query)
        ctx.save_for_backward(query, key, value, mask, key_bias)
        ctx.rates, ctx.pieces, ctx.lanes, ctx.kept = rates, pieces, [], []
        # where nothing is kept, all pieces use the same memory
        room = None if keep else _room(query, key, pieces[0])
        dropped = _room(query, key, pieces[0]) if any(rates) else None
        for piece in pieces:
            rate = rates[piece[0]]
            q, k, v = (x[piece].flatten(0, 1) for x in (query, key, value))
            e = _room(query, key, piece) if room is None else room[: len(q)]
            norm = _exponentials(e, q, k, mask, None if key_bias is None else key_bias[piece])
            lanes = draw_lanes(e.shape) if rate else None
            ctx.lanes.append(lanes)
            if keep:
                ctx.kept.append((q, k, v, e, norm))
            if lanes is not None and dropped is not None:
                d = dropped[: len(q)]
                e = torch.mul(e, torch.ge(lanes, drop_threshold(rate), out=d), out=d)
                norm = norm * (1.0 / keep_probability(rate))
            o = out[piece].flatten(0, 1)
            torch.bmm(v.transpose(1, 2), e.transpose(1, 2), out=o).mul_(norm.transpose(1, 2))
        return out.transpose(-1, -2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mask, key_bias = ctx.saved_tensors
        inputs = (query, key, value)
        grads = [x.new_empty(*x.shape[:3], x.shape[4], x.shape[3]) for x in inputs]
        room, dropped, scores = (_room(query, key, ctx.pieces[0]) for _ in range(3))
        scale = query.shape[-1] ** -0.5
        for number, (piece, lanes) in enumerate(zip(ctx.pieces, ctx.lanes, strict=True)):
            if ctx.kept:
                q, k, v, e, norm = ctx.kept[number]
            else:
                q, k, v = (x[piece].flatten(0, 1) for x in inputs)
                e = room[: len(q)]
                norm = _exponentials(e, q, k, mask, None if key_bias is None else key_bias[piece])
            d, factor = e, norm
            if lanes is not None:
                rate, d = ctx.rates[piece[0]], dropped[: len(q)]
                torch.mul(e, torch.ge(lanes, drop_threshold(rate), out=d), out=d)
                factor = norm * (1.0 / keep_probability(rate))
            # (rows, w, Tq), with the division and the rescaling of the output
            grad_o = grad[piece].flatten(0, 1).transpose(1, 2) * factor.transpose(1, 2)
            grad_q, grad_k, grad_v = (x[piece].flatten(0, 1) for x in grads)
            torch.bmm(grad_o, d, out=grad_v)
            # Softmax and dropout together: with d what is left of the exponentials e, and g the
            # gradient at d, the scores get d g - e sum(d g) / sum(e).
            g = scores[: len(q)]
            torch.bmm(grad_o.transpose(1, 2), v.transpose(1, 2), out=g).mul_(d)
            g.addcmul_(e, g.sum(-1, keepdim=True).mul_(norm), value=-1.0)
            torch.bmm(k.transpose(1, 2), g.transpose(1, 2), out=grad_q).mul_(scale)
            torch.bmm(q.transpose(1, 2), g, out=grad_k).mul_(scale)
        return (*(x.transpose(-1, -2) for x in grads), None, None, None)


_PIECE = 1 << 19
"""Attention weights held at once: they should stay in the processor's cache."""

_Piece = tuple[int, slice]


def _pieces(q: Tensor, k: Tensor) -> Iterator[_Piece]:
    """Even (group, samples) slices of a (G, B, H, Tq, w) batch that attends to (..., Tk, w)."""
    most = max(1, _PIECE // (q.shape[2] * q.shape[3] * k.shape[3]))
    size = math.ceil(q.shape[1] / math.ceil(q.shape[1] / most))
    for group in range(q.shape[0]):
        for start in range(0, q.shape[1], size):
            yield group, slice(start, min(start + size, q.shape[1]))


def _room(q: Tensor, k: Tensor, piece: _Piece) -> Tensor:
    """Memory for the (rows, Tq, Tk) weights of a piece."""
    rows = (piece[1].stop - piece[1].start) * q.shape[2]
    return q.new_empty(rows, q.shape[3], k.shape[3])


def _exponentials(
    out: Tensor, q: Tensor, k: Tensor, mask: Tensor | None, key_bias: Tensor | None
) -> Tensor:
    """One piece's softmax, unnormalised into ``out`` (b H, Tq, Tk), from (b H, T, w).

    Returns the (b H, Tq, 1) factors that normalise it. Subtracting each row's maximum, and the
    exponential to base e, are most of a softmax's time. So powers of 2 of the plain scores come
    first, and only if a row's sum is not well inside a float's range, the careful way.
    """
    _scores(out, q, k, mask, key_bias, math.log2(math.e))
    total = out.exp2_().sum(-1, keepdim=True)
    low, high = total.aminmax()
    if low > 2.0**-60 and high < 2.0**60:
        return total.reciprocal_()
    _scores(out, q, k, mask, key_bias, 1.0)
    torch.softmax(out, -1, out=out)
    return total.fill_(1.0)


def _scores(
    out: Tensor, q: Tensor, k: Tensor, mask: Tensor | None, key_bias: Tensor | None, unit: float
) -> None:
    """The scaled and masked scores, times ``unit``."""
    scale = unit * q.shape[-1] ** -0.5
    if mask is None:
        torch.bmm(q, k.transpose(1, 2), out=out).mul_(scale)
    else:
        torch.baddbmm(mask * unit, q, k.transpose(1, 2), alpha=scale, out=out)
    if key_bias is not None:
        bias = (key_bias * unit)[:, None, None, :]
        out.view(len(bias), -1, *out.shape[1:]).add_(bias)


def feed_forward(
    x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor, rate: float
) -> Tensor:
    """Linear, ReLU, dropout, linear for G parallel groups.

    Args:
        x: (G, N, e).
        inner: (G, e, f) weights; its bias (G, 1, f).
        outer: (G, f, e) weights; its bias (G, 1, e).
        rate: dropout rate after the ReLU; zero when not training.

    Returns:
        (G, N, e).
    """
    if x.device.type == "cpu":
        return _CpuFeedForward.apply(x, inner, inner_bias, outer, outer_bias, rate)
    hidden = F.dropout(F.relu(torch.baddbmm(inner_bias, x, inner)), rate)
    return torch.baddbmm(outer_bias, hidden, outer)


class _CpuFeedForward(torch.autograd.Function):
    """Keeps one of the network's widest tensors; its gradient never leaves the cache."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        inner: Tensor,
        inner_bias: Tensor,
        outer: Tensor,
        outer_bias: Tensor,
        rate: float,
    ) -> Tensor:
        hidden = torch.baddbmm(inner_bias, x, inner).relu_()
        if rate:
            hidden = dropout(hidden, rate, training=True)
        ctx.save_for_backward(x, hidden, inner, outer)
        ctx.rescale = 1.0 / keep_probability(rate)
        return torch.baddbmm(outer_bias, hidden, outer)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, inner, outer = ctx.saved_tensors
        grad_x, grad_inner, grad_outer = (
            torch.empty(t.shape, dtype=t.dtype) for t in (x, inner, outer)
        )
        grad_inner_bias = x.new_empty(inner.shape[0], 1, inner.shape[2])
        for i, g in enumerate(grad):
            torch.mm(hidden[i].t(), g, out=grad_outer[i])
            wide = torch.mm(g, outer[i].t())
            # what the ReLU or dropout set to zero passes no gradient; the rest was rescaled
            torch.ops.aten.threshold_backward.grad_input(wide, hidden[i], 0.0, grad_input=wide)
            if ctx.rescale != 1.0:
                wide.mul_(ctx.rescale)
            torch.sum(wide, 0, keepdim=True, out=grad_inner_bias[i])
            torch.mm(x[i].t(), wide, out=grad_inner[i])
            torch.mm(wide, inner[i].t(), out=grad_x[i])
        return grad_x, grad_inner, grad_inner_bias, grad_outer, grad.sum(1, keepdim=True), None
