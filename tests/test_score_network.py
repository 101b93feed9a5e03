"""IMDer's score network and refiner against torch's own modules, channels first."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.score_network import Convolution, Doubling, Refiner, RefinerBlock, ScoreNetwork
from benchmark.interface import count_parameters
from tests.test_layers import randomise, reference_encode


def taps_of(layer: Convolution) -> Tensor:
    """(d', d, 3), as conv1d has its weight."""
    return layer.weight.unflatten(0, (3, -1)).permute(2, 1, 0)


def conv(x: Tensor, layer: Convolution) -> Tensor:
    """(B, d, L) to (B, d', L / stride) by torch."""
    return F.conv1d(x, taps_of(layer), layer.bias, layer.stride, padding=1)


def reversed_conv(x: Tensor, layer: Convolution) -> Tensor:
    """The same by a transposed convolution of stride 1, whose taps go the other way."""
    weight = taps_of(layer).flip(2).transpose(0, 1)
    return F.conv_transpose1d(x, weight, layer.bias, padding=1)


def doubled(x: Tensor, layer: Doubling) -> Tensor:
    """(B, d, L) to (B, d', 2L) by torch."""
    weight = layer.weight.unflatten(1, (3, -1)).permute(0, 2, 1)
    return F.conv_transpose1d(x, weight, None, 2, padding=1, output_padding=1)


def reference_score(net: ScoreNetwork, x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
    """The score of (B, L, d), as the description of the network reads."""

    def attended(h: Tensor, c: Tensor, stack: nn.Module) -> Tensor:
        found = reference_encode(stack, 0, h.transpose(1, 2), c.transpose(1, 2))  # type: ignore[arg-type]
        return h + found.transpose(1, 2)

    angle = 2 * math.pi * time[:, None] * net.frequencies
    e = net.time(torch.cat([angle.sin(), angle.cos()], 1))
    e = e * e.sigmoid()
    h, c = x.transpose(1, 2), condition.transpose(1, 2)
    levels = []
    for number, stage in enumerate(net.down):
        h = conv(h, stage.convolve)
        c = conv(c, stage.follow) if number else c
        h = stage.norm(attended(h, c, stage.attention) + stage.time(e)[:, :, None])
        h = h * h.sigmoid()
        levels.append(h)
    for stage, level in zip(net.up, (None, levels[2], levels[1]), strict=True):
        h = doubled(h if level is None else torch.cat([h, level], 1), stage.convolve)
        c = doubled(c, stage.follow)
        h = stage.norm(attended(h, c, stage.attention) + stage.time(e)[:, :, None])
        h = h * h.sigmoid()
    h = reversed_conv(torch.cat([h, levels[0]], 1), net.last)
    h = attended(h, reversed_conv(c, net.last_follow), net.last_attention)
    s = ((25 ** (2 * time) - 1) / (2 * math.log(25))).sqrt()
    return h.transpose(1, 2) / s[:, None, None]


@pytest.mark.parametrize("steps", [8, 16])
def test_the_score_network_is_the_described_one(steps: int) -> None:
    torch.manual_seed(0)
    net = ScoreNetwork(8, 2)
    randomise(net)
    x, condition = torch.randn(2, 3, steps, 8)
    time = torch.tensor([0.1, 0.5, 1.0])
    torch.testing.assert_close(
        net(x, time, condition), reference_score(net, x, time, condition), atol=1e-4, rtol=1e-4
    )
    together = net(x, torch.tensor([0.3]), condition)
    torch.testing.assert_close(together, net(x, torch.full((3,), 0.3), condition))


def test_levels_have_the_published_channels_groups_and_starts() -> None:
    torch.manual_seed(0)
    net = ScoreNetwork(32, 8)
    stages = [*net.down, *net.up]
    assert [stage.norm.num_channels for stage in stages] == [32, 64, 128, 256, 128, 64, 32]
    assert [stage.norm.num_groups for stage in stages] == [4, 32, 32, 32, 32, 32, 32]
    assert count_parameters(net) == 3_457_536
    assert net.frequencies.numel() == 128
    assert 24 < net.frequencies.std() < 36
    for layer, fan in ((net.down[2].convolve, 64), (net.up[1].convolve, 64), (net.last, 32)):
        assert layer.weight.detach().abs().max() == pytest.approx((3 * fan) ** -0.5, rel=0.01)


def test_the_frequencies_are_kept_and_not_trained() -> None:
    net = ScoreNetwork(8, 2)
    assert "frequencies" in net.state_dict()
    assert "frequencies" not in dict(net.named_parameters())


def test_a_refiners_block_is_the_described_one() -> None:
    torch.manual_seed(0)
    block, x = RefinerBlock(16), torch.randn(3, 8, 16)
    y = conv(conv(x.transpose(1, 2), block.inner).relu(), block.outer)
    s = block.weigh(block.squeeze(y.mean(2)).relu()).sigmoid()
    expected = x + (y * s[:, :, None]).transpose(1, 2)
    torch.testing.assert_close(block(x), expected)


def test_the_refiner_adds_a_convolution_of_its_blocks() -> None:
    torch.manual_seed(0)
    refiner, x = Refiner(8, 2), torch.randn(3, 8, 8)
    entered = refiner.enter(x)
    blocks = refiner.blocks[1](refiner.blocks[0](entered))
    joined = conv(blocks.transpose(1, 2), refiner.joined).transpose(1, 2)
    torch.testing.assert_close(refiner(x), refiner.leave(entered + joined))
    assert count_parameters(Refiner(32, 20)) == 522_224


def test_held_weights_give_the_same_bits_and_are_then_let_go() -> None:
    torch.manual_seed(0)
    network = ScoreNetwork(8, 2)
    x, condition, time = torch.randn(3, 16, 8), torch.randn(3, 16, 8), torch.full((1,), 0.5)
    with torch.no_grad():
        plain = network(x, time, condition)
        with network.held():
            held = [network(x, time, condition), network(x, time, condition)]
            shorter = network(x[:, :8], time, condition[:, :8])
        assert all(torch.equal(one, plain) for one in held)
        assert torch.equal(shorter, network(x[:, :8], time, condition[:, :8]))
        for weight in network.parameters():
            weight.mul_(1.5)
        assert not torch.equal(network(x, time, condition), plain)
