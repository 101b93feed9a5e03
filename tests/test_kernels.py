"""Dropout, attention and feed-forward kernels against their plain definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from baselines import kernels
from baselines.positions import causal_mask


def explicit_attention(q, k, v, mask, bias) -> Tensor:
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    scores = scores + (0 if mask is None else mask)
    scores = scores + (0 if bias is None else bias[:, :, None, None, :])
    return scores.softmax(-1) @ v


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("piece", [1, 60, 1 << 19])
def test_attention_and_its_gradient(monkeypatch, masked: bool, biased: bool, piece: int) -> None:
    monkeypatch.setattr(kernels, "_PIECE", piece)
    torch.manual_seed(0)
    shapes = ((2, 3, 2, 4, 5), (2, 3, 2, 6, 5), (2, 3, 2, 6, 5))
    ours = [torch.randn(s, dtype=torch.double, requires_grad=True) for s in shapes]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    mask = causal_mask(4, 6).double() if masked else None
    bias = torch.randn(2, 3, 6, dtype=torch.double) if biased else None
    out = kernels.attention(*ours, mask, bias, (0.0, 0.0))
    expected = explicit_attention(*theirs, mask, bias)
    torch.testing.assert_close(out, expected)
    fused = kernels.fused_attention(*ours, mask, bias, (0.0, 0.0))
    torch.testing.assert_close(fused, expected)
    weight = torch.randn_like(out)
    (out * weight).sum().backward()
    (expected * weight).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("shift", [-1e4, -50.0, 0.0, 50.0, 1e4])
def test_attention_where_exponentials_leave_the_range_of_a_float(shift: float) -> None:
    """A constant on all scores of a row changes nothing: the reference is without it."""
    torch.manual_seed(0)
    ours = [torch.randn(1, 2, 1, 9, 4, dtype=torch.double, requires_grad=True) for _ in "qkv"]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    ones = torch.ones(1, 2, 1, 9, 1, dtype=torch.double)
    rows = torch.linspace(0, 1, 9, dtype=torch.double)[:, None] * shift  # some rows only
    # a further coordinate with weight 1; the scale of attention is that of width 5 instead of 4
    q, k = torch.cat([ours[0], rows * ones], -1), torch.cat([ours[1], ones], -1)
    v = torch.cat([ours[2], ones], -1)
    out = kernels.attention(q, k, v, None, None, (0.0,))
    expected = explicit_attention(theirs[0] * (4 / 5) ** 0.5, *theirs[1:], None, None)
    torch.testing.assert_close(out[..., :4], expected)
    torch.testing.assert_close(out[..., 4:], ones)
    out[..., :4].square().sum().backward()
    expected.square().sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("piece", [40, 1 << 19])
def test_gradient_of_attention_with_dropout(monkeypatch, piece: int) -> None:
    monkeypatch.setattr(kernels, "_PIECE", piece)
    inputs = [torch.randn(2, 2, 1, 3, 2, dtype=torch.double, requires_grad=True) for _ in "qkv"]

    def same_draw(*qkv: Tensor) -> Tensor:
        torch.manual_seed(3)
        return kernels.attention(*qkv, None, None, (0.0, 0.4))

    assert torch.autograd.gradcheck(same_draw, inputs)


def test_attention_dropout_drops_weights_at_its_rate_in_its_group() -> None:
    steps = 64
    q = torch.zeros(3, 4, 2, steps, steps)  # uniform weights 1/steps; values the unit vectors
    v = torch.eye(steps).expand(3, 4, 2, steps, steps)
    out = kernels.attention(q, q, v, None, None, (0.3, 0.0, 0.7)) * steps
    for group, rate in enumerate((0.3, 0.0, 0.7)):
        assert float((out[group] == 0).float().mean()) == pytest.approx(rate, abs=0.01)
        kept = out[group][out[group] != 0]
        torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=1e-4, atol=0)


def test_feed_forward_and_its_gradient() -> None:
    torch.manual_seed(0)
    shapes = ((2, 5, 3), (2, 3, 7), (2, 1, 7), (2, 7, 3), (2, 1, 3))
    inputs = [torch.randn(s, dtype=torch.double, requires_grad=True) for s in shapes]
    x, w1, b1, w2, b2 = inputs
    torch.testing.assert_close(kernels.feed_forward(*inputs, 0.0), ((x @ w1 + b1).relu() @ w2) + b2)

    def same_draw(*tensors: Tensor) -> Tensor:
        torch.manual_seed(3)
        return kernels.feed_forward(*tensors, 0.4)

    assert torch.autograd.gradcheck(same_draw, inputs)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_rate_scale_and_independence(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 501, requires_grad=True)
    out = kernels.dropout(x, rate, training=True)
    spread = 5 * math.sqrt(rate * (1 - rate) / x.numel())
    assert float((out == 0).float().mean()) == pytest.approx(rate, abs=spread)
    kept = out[out != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=2e-4, atol=0)
    dropped = (out == 0).double()
    for a, b in ((dropped[:, 1:], dropped[:, :-1]), (dropped[1:], dropped[:-1])):
        correlation = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        assert abs(float(correlation)) < 0.012
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach())
    assert kernels.dropout(x, rate, training=False) is x


def test_dropout_follows_the_global_generator() -> None:
    x = torch.ones(33, 7)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second = (kernels.dropout(x, 0.5, training=True) for _ in range(2))
    torch.set_rng_state(state)
    assert torch.equal(kernels.dropout(x, 0.5, training=True), first)
    assert not torch.equal(first, second)
