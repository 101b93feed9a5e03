"""Dropout, attention and feed-forward blocks for many small encoders at once.

Sizes here are small (50 steps, head width 4 to 10), so the time goes into passes over the
attention weights and into drawing dropout masks, not into arithmetic. On a CPU both are done by
hand below; elsewhere torch's own kernels serve.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_LANES = 1 << 16


def keep_probability(rate: float) -> float:
    """The probability of keeping an element at dropout ``rate``, to 1/65536."""
    return 1.0 - round(rate * _LANES) / _LANES


def _threshold(rate: float) -> int:
    """The lane value below which an element is dropped."""
    return round(rate * _LANES) - _LANES // 2


def _draw_lanes(shape: Sequence[int]) -> Tensor:
    """Uniform 16-bit integers.

    On a CPU torch draws a full-precision number per element for a dropout mask, which costs more
    than the layer around it. Four 16-bit lanes of one 64-bit draw are enough for a rate to
    1/65536. They come from torch's global generator, so a seed or a restored generator state
    reproduces them.
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
    keep = torch.ge(_draw_lanes(x.shape), _threshold(rate), out=torch.empty_like(x))
    return x * keep.mul_(1.0 / keep_probability(rate))


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
    keeps the weights row-major, where autograd would hand a transposed view to an elementwise
    product; nothing of the size of the weights but the dropout lanes outlives a piece, since
    touching fresh memory costs more than computing the weights again; and dropout's rescaling is
    applied to the small output.
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
        q, k, v = (x.contiguous() for x in (query, key, value))
        out = torch.empty_like(q.transpose(-1, -2), memory_format=torch.contiguous_format)
        ctx.save_for_backward(q, k, v, mask, key_bias)
        ctx.rates, ctx.lanes, ctx.weights = rates, [], []
        ctx.keep = any(ctx.needs_input_grad) and q.shape[1] == _samples_per_piece(q, k)
        weights, keep = _buffers(q, k, 2)
        for piece in _pieces(q, k):
            rate = rates[piece[0]]
            w, f = weights[: _rows(q, piece)], keep[: _rows(q, piece)]
            if ctx.keep:
                w = torch.empty_like(w)
                ctx.weights.append(w)
            _weights(w, q[piece], k[piece], mask, None if key_bias is None else key_bias[piece])
            lanes = _draw_lanes(w.shape) if rate else None
            ctx.lanes.append(lanes)
            if lanes is not None:
                w = torch.mul(w, torch.ge(lanes, _threshold(rate), out=f), out=f)
            o = out[piece].flatten(0, 1)
            torch.bmm(v[piece].flatten(0, 1).transpose(1, 2), w.transpose(1, 2), out=o)
            if rate:
                o.mul_(1.0 / keep_probability(rate))
        return out.transpose(-1, -2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask, key_bias = ctx.saved_tensors
        grads = [
            torch.empty_like(x.transpose(-1, -2), memory_format=torch.contiguous_format)
            for x in (q, k, v)
        ]
        weights, dropped, grad_scores = _buffers(q, k, 3)
        scale = q.shape[-1] ** -0.5
        for piece, lanes in zip(_pieces(q, k), ctx.lanes, strict=True):
            rate, rows = ctx.rates[piece[0]], _rows(q, piece)
            w, d, g = weights[:rows], dropped[:rows], grad_scores[:rows]
            qc, kc, vc = (x[piece].flatten(0, 1).transpose(1, 2) for x in (q, k, v))
            grad_q, grad_k, grad_v = (x[piece].flatten(0, 1) for x in grads)
            # (rows, w, Tq)
            grad_o = grad[piece].transpose(-1, -2).reshape(rows, -1, q.shape[-2])
            if ctx.keep:
                w = ctx.weights[piece[0]]
            else:
                _weights(w, q[piece], k[piece], mask, None if key_bias is None else key_bias[piece])
            if lanes is None:
                d = w
            else:
                torch.mul(w, torch.ge(lanes, _threshold(rate), out=d), out=d)
                grad_o = grad_o * (1.0 / keep_probability(rate))
            torch.bmm(grad_o, d, out=grad_v)
            # Softmax and dropout together: with d the dropped weights w and g the gradient at d,
            # the scores get d g - w sum(d g).
            torch.bmm(grad_o.transpose(1, 2), vc, out=g).mul_(d)
            g.addcmul_(w, g.sum(-1, keepdim=True), value=-1.0)
            torch.bmm(kc, g.transpose(1, 2), out=grad_q).mul_(scale)
            torch.bmm(qc, g, out=grad_k).mul_(scale)
        return (*(x.transpose(-1, -2) for x in grads), None, None, None)


_PIECE = 1 << 19
"""Attention weights held at once: they should stay in the processor's cache."""

Piece = tuple[int, slice]


def _samples_per_piece(q: Tensor, k: Tensor) -> int:
    return max(1, min(q.shape[1], _PIECE // (q.shape[2] * q.shape[3] * k.shape[3])))


def _pieces(q: Tensor, k: Tensor) -> Iterator[Piece]:
    """(group, samples) slices of a (G, B, ...) batch."""
    size = _samples_per_piece(q, k)
    for group in range(q.shape[0]):
        for start in range(0, q.shape[1], size):
            yield group, slice(start, min(start + size, q.shape[1]))


def _rows(q: Tensor, piece: Piece) -> int:
    """The number of attention matrices in a piece."""
    return (piece[1].stop - piece[1].start) * q.shape[2]


def _buffers(q: Tensor, k: Tensor, number: int) -> list[Tensor]:
    """Room for the weights of one piece, several times."""
    rows = _samples_per_piece(q, k) * q.shape[2]
    return [q.new_empty(rows, q.shape[3], k.shape[3]) for _ in range(number)]


def _weights(
    out: Tensor, q: Tensor, k: Tensor, mask: Tensor | None, key_bias: Tensor | None
) -> None:
    """The softmax of one piece's scores, from (b, H, T, w), into ``out`` (b H, Tq, Tk)."""
    q, k_t, scale = q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), q.shape[-1] ** -0.5
    if mask is None:
        torch.bmm(q, k_t, out=out).mul_(scale)
    else:
        torch.baddbmm(mask, q, k_t, alpha=scale, out=out)
    if key_bias is not None:
        out.view(key_bias.shape[0], -1, *out.shape[1:]).add_(key_bias[:, None, None, :])
    torch.softmax(out, -1, out=out)


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
    """The widest tensors of the network: one is kept, and its gradient never leaves the cache."""

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
