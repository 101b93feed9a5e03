"""The quick training paths of TFN's and MISA's fusion against plain ones."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from baselines import tensor_product
from baselines.postnorm import PostNormLayer
from baselines.tensor_product import product_linear


def operands() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    shapes = ((3, 5), (3, 4), (2, 20), (2,))
    return tuple(torch.randn(s, dtype=torch.double, requires_grad=True) for s in shapes)


@pytest.mark.parametrize("piece", [1, 24, 1 << 17])
def test_product_linear_is_the_plain_layer(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(tensor_product, "_PIECE", piece)
    left, right, weight, bias = operands()
    product = torch.einsum("bv,bk->bvk", left, right).flatten(1)
    expected = F.linear(product, weight, bias)
    result = product_linear(left, right, weight, bias, 0.0)
    torch.testing.assert_close(result, expected)
    slope = torch.randn_like(expected)
    inputs = (left, right, weight, bias)
    for mine, plain in zip(
        torch.autograd.grad(result, inputs, slope),
        torch.autograd.grad(expected, inputs, slope),
        strict=True,
    ):
        torch.testing.assert_close(mine, plain)


def test_product_linear_drops_entries_and_keeps_their_gradient_consistent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensor_product, "_PIECE", 24)

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(7)  # the same entries each time
        return product_linear(*inputs, 0.4)

    assert torch.autograd.gradcheck(run, operands())


def test_product_linear_drops_at_its_rate_and_rescales() -> None:
    torch.manual_seed(0)
    left, right = torch.ones(64, 20), torch.ones(64, 30)
    results = product_linear(left, right, torch.ones(1, 600), torch.zeros(1), 0.3)
    # each result is a count of kept entries over 0.7: mean 600, variance 600 * 0.3 / 0.7
    assert results.mean().item() == pytest.approx(600, abs=4 * (600 * 0.3 / 0.7 / 64) ** 0.5)
    assert results.var().item() == pytest.approx(600 * 0.3 / 0.7, rel=0.6)


@pytest.mark.parametrize("training", [False, True])
def test_the_post_norm_layer_is_torchs(training: bool) -> None:
    torch.manual_seed(0)
    mine = PostNormLayer(8, 2, 12, 0.0).train(training)
    x = torch.randn(5, 6, 8, requires_grad=True)
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    result, expected = mine(x), mine.layer(x)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    slope = torch.randn_like(result)
    inputs = (x, *mine.parameters())
    for gradient, plain in zip(
        torch.autograd.grad(result, inputs, slope),
        torch.autograd.grad(expected, inputs, slope),
        strict=True,
    ):
        torch.testing.assert_close(gradient, plain, atol=1e-5, rtol=1e-4)


def test_the_post_norm_layer_drops_out_in_training_only() -> None:
    torch.manual_seed(0)
    layer, x = PostNormLayer(8, 2, 12, 0.5), torch.randn(5, 6, 8)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
