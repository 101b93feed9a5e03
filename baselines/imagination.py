"""The networks of MMIN: a text encoder, a recurrent one, and the cascade that imagines.

As in the official code of Zhao, Li, Jin, "Missing Modality Imagination Network for Emotion
Recognition with Uncertain Missing Modalities", ACL 2021.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import dropout
from baselines.layers import TemporalProjection
from baselines.recurrent import LSTM, Order, order_of

KERNELS = (3, 4, 5)
SLOPE = 0.01
LINEAR_GAIN, RESIDUAL_GAIN = 1.0, 0.1
"""Of the layers that no ReLU follows, and of those that end a residual branch, at the start. The
original gives all a ReLU's gain: the stream's mean square then grows fivefold with each block, and
by 10^7 through both cascades."""


class RecurrentMaximum(nn.Module):
    """The maximum over time of the states of an LSTM in one direction.

    Args:
        width_in: d.
        width: h.
        every_step: run over padded steps too, as the original does.
    """

    def __init__(self, width_in: int, width: int, every_step: bool) -> None:
        super().__init__()
        self.every_step = every_step
        self.recurrent = LSTM(width_in, width)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) and a (B, T) mask to (B, h)."""
        order = _all_steps(mask) if self.every_step else order_of(mask)
        states, _ = self.recurrent(order.front(features), order)
        return _maximum(states, order)


class TextConvolutions(nn.Module):
    """Convolutions over 3, 4 and 5 steps with ReLU, their maxima over time, and a layer.

    A window counts if its first step is real. A sequence shorter than a window is filled up with
    zero steps; one of nothing but padding counts as one zero step.

    Args:
        width_in: d.
        width: h, of the answer and of each convolution.
        rate: dropout rate on the maxima.
        every_step: windows over padding count too, as in the original.
    """

    def __init__(self, width_in: int, width: int, rate: float, every_step: bool) -> None:
        super().__init__()
        self.rate, self.every_step = rate, every_step
        self.convolutions = nn.ModuleList(TemporalProjection(width_in, width, k) for k in KERNELS)
        for convolution in self.convolutions:
            assert isinstance(convolution, TemporalProjection)
            nn.init.normal_(convolution.weight, std=(2 / convolution.weight[..., 0].numel()) ** 0.5)
        self.biases = nn.Parameter(torch.zeros(len(KERNELS), width))
        self.project = _linear(len(KERNELS) * width, width)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) and a (B, T) mask to (B, h)."""
        order = _all_steps(mask) if self.every_step else order_of(mask)
        x = order.front(features)
        # what follows the longest sequence of the batch: windows do not depend on the neighbours
        wanted = max(KERNELS[-1], min(order.steps + KERNELS[-1] - 1, mask.shape[1]))
        x = F.pad(x, (0, 0, 0, max(0, wanted - order.steps)))
        maxima = torch.cat([_maximum(c(x), order) for c in self.convolutions], -1)
        # a bias is the same at all steps and the ReLU is monotone: both can come after the maximum
        codes = dropout(F.relu(maxima + self.biases.flatten()), self.rate, self.training)
        return F.relu(self.project(codes))


class Imagination(nn.Module):
    """A cascade of residual autoencoders, and a transition from the last to what is imagined.

    Block i reads the sum of block i-1's input and output (x_1 = h) and gives a code z_i; the
    imagined vector is two layers of the last block's sum.

    Args:
        width: w: vectors are 3w wide, and the blocks go 3w, 2w, w, w/2 and back.
        blocks: number of autoencoders.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        narrowing = (3 * width, 2 * width, width, width // 2)
        self.encoders = nn.ModuleList(
            _chain(narrowing, nn.LeakyReLU(SLOPE), LINEAR_GAIN) for _ in range(blocks)
        )
        self.decoders = nn.ModuleList(
            _chain(narrowing[::-1], nn.ReLU(), RESIDUAL_GAIN) for _ in range(blocks)
        )
        self.transition = _chain((3 * width,) * 3, nn.ReLU(), LINEAR_GAIN)

    def forward(self, h: Tensor) -> Tensor:
        """The imagined (B, 3w) vector of a (B, 3w) vector."""
        return self.imagine(*self.encode(h))

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The codes z_i side by side (B, blocks w/2), and the last block's input (B, 3w)."""
        x = h
        codes: list[Tensor] = []
        for number, encoder in enumerate(self.encoders):
            if number:
                x = x + self.decoders[number - 1](codes[-1])
            codes.append(encoder(x))
        return torch.cat(codes, -1), x

    def imagine(self, codes: Tensor, last: Tensor) -> Tensor:
        """The imagined (B, 3w) vector from what :meth:`encode` gave."""
        code = codes.chunk(len(self.encoders), -1)[-1]
        return self.transition(last + self.decoders[-1](code))


class Head(nn.Module):
    """Two layers with ReLU and dropout, and a linear answer.

    Args:
        width_in: width of the input.
        width: of the two layers.
        width_out: of the answer.
        rate: dropout rate.
    """

    def __init__(self, width_in: int, width: int, width_out: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.layers = nn.ModuleList((_linear(width_in, width), _linear(width, width)))
        self.answer = _linear(width, width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width_in) to (B, width_out)."""
        for layer in self.layers:
            x = dropout(F.relu(layer(x)), self.rate, self.training)
        return self.answer(x)


def _linear(width_in: int, width_out: int) -> nn.Linear:
    """A linear layer with Kaiming-normal weights and zero biases, as everywhere in the original."""
    layer = nn.Linear(width_in, width_out)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _chain(widths: tuple[int, ...], between: nn.Module, last: float) -> nn.Sequential:
    """Linear layers through the widths, an activation between, the last one of gain ``last``."""
    linear = [_linear(a, b) for a, b in pairwise(widths)]
    linear[-1].weight.data.mul_(last * 0.5**0.5)  # from the gain of a ReLU, 2^0.5, to ``last``
    inner = [part for layer in linear[:-1] for part in (layer, between)]
    return nn.Sequential(*inner, linear[-1])


def _all_steps(mask: Tensor) -> Order:
    """The order in which padded steps count as real."""
    size, steps = mask.shape
    return Order(None, steps, torch.full((size,), steps - 1, device=mask.device))


def _maximum(x: Tensor, order: Order) -> Tensor:
    """The maximum (B, h) of (B, T'', h) over the real steps, which come first."""
    place = torch.arange(x.shape[1], device=x.device)
    return x.masked_fill((place > order.last[:, None])[..., None], -torch.inf).amax(1)
