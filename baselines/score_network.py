"""IMDer's networks: the conditional score network, a U-Net over time, and the refiner after it.

As in the official code of Wang, Li, Cui, "Incomplete Multimodality-Diffused Emotion Recognition",
NeurIPS 2023. Sequences are (B, L, d) throughout, so a convolution is one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.diffusion import deviation
from baselines.layers import EncoderStack

LEVELS = 4
_FREQUENCIES, _FREQUENCY_SCALE = 128, 30.0
_ATTENTION_LAYERS = 2
_TAPS = 3
_SQUEEZED = 4


class Convolution(nn.Module):
    """A convolution over 3 steps, with a zero step at each end.

    Args:
        width_in: d.
        width_out: d'.
        stride: 1 or 2; L becomes L / stride.
        bias: whether there is one.
        fan: weights start uniform within (3 fan)^-0.5, torch's rule; by default d. Of a transposed
            convolution of stride 1, which is this with its taps reversed, it is d'.
    """

    def __init__(
        self,
        width_in: int,
        width_out: int,
        stride: int = 1,
        bias: bool = False,
        fan: int | None = None,
    ) -> None:
        super().__init__()
        self.stride, bound = stride, (_TAPS * (fan or width_in)) ** -0.5
        self.weight = _uniform(bound, _TAPS * width_in, width_out)
        self.bias = _uniform(bound, width_out) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d) to (B, L / stride, d')."""
        padded, last = F.pad(x, (0, 0, 1, 1)), x.shape[1] - 1
        taps = [padded[:, tap : tap + last + 1 : self.stride] for tap in range(_TAPS)]
        return F.linear(torch.cat(taps, -1), self.weight.t(), self.bias)


class Doubling(nn.Module):
    """A transposed convolution over 3 steps, of stride 2, that makes 2L steps of L, bias-free.

    Step 2i is tap 1 of step i; step 2i + 1 is tap 2 of step i and tap 0 of step i + 1.

    Args:
        width_in: d.
        width_out: d'.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.weight = _uniform((_TAPS * width_out) ** -0.5, width_in, _TAPS * width_out)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d) to (B, 2L, d')."""
        before, here, after = (x @ self.weight).chunk(_TAPS, -1)
        odd = after + F.pad(before[:, 1:], (0, 0, 0, 1))
        return torch.stack([here, odd], 2).flatten(1, 2)


class Stage(nn.Module):
    """One level of the U-Net: a convolution, attention to the condition, the time, a norm, swish.

    Args:
        convolve: of the stream.
        follow: the condition's own convolution, to the same shape; None: it is of that shape.
        width: d' after the convolution.
        heads: of the attention.
        time_width: of the embedded time.
        groups: of the group normalisation.
    """

    def __init__(
        self,
        convolve: nn.Module,
        follow: nn.Module | None,
        width: int,
        heads: int,
        time_width: int,
        groups: int,
    ) -> None:
        super().__init__()
        self.convolve, self.follow = convolve, follow or nn.Identity()
        self.attention = EncoderStack(width, heads, _ATTENTION_LAYERS)
        self.time = nn.Linear(time_width, width)
        self.norm = nn.GroupNorm(groups, width)

    def forward(self, h: Tensor, condition: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, d), the condition at that level and the embedded time (B or 1, e) to the next."""
        h, condition = self.convolve(h), self.follow(condition)
        h = h + self.attention(h[None], condition[None])[0] + self.time(time)[:, None]
        return F.silu(_normalised(self.norm, h)), condition


class ScoreNetwork(nn.Module):
    """The score of a stream with noise on it, given another stream as its condition.

    Four levels of d, 2d, 4d and 8d channels and L, L/2, L/4 and L/8 steps, and back; on the way
    back each level also reads what the way down had there.

    Args:
        width: d, a multiple of 8.
        heads: of all attention.
    """

    frequencies: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        e = 2 * _FREQUENCIES
        self.register_buffer("frequencies", _FREQUENCY_SCALE * torch.randn(_FREQUENCIES))
        self.time = nn.Linear(e, e)
        widths = [width * 2**level for level in range(LEVELS)]
        first = Stage(Convolution(width, width), None, width, heads, e, width // 8)
        self.down = nn.ModuleList([first])
        for a, b in pairwise(widths):
            convolutions = Convolution(a, b, 2), Convolution(a, b, 2)
            self.down.append(Stage(*convolutions, b, heads, e, width))
        self.up = nn.ModuleList()
        for level in range(LEVELS - 1, 0, -1):
            a, b = widths[level], widths[level - 1]
            read = a if level == LEVELS - 1 else 2 * a
            self.up.append(Stage(Doubling(read, b), Doubling(a, b), b, heads, e, width))
        self.last = Convolution(2 * width, width, bias=True, fan=width)
        self.last_follow = Convolution(width, width, bias=True)
        self.last_attention = EncoderStack(width, heads, _ATTENTION_LAYERS)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it the weights stand still: see :meth:`~baselines.layers.EncoderStack.held`."""
        with ExitStack() as stack:
            for part in self.modules():
                if isinstance(part, EncoderStack):
                    stack.enter_context(part.held())
            yield

    def forward(self, x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """The score (B, L, d).

        Args:
            x: (B, L, d), L a multiple of 8.
            time: (B,) or (1,) times u in (0, 1].
            condition: (B, L, d).
        """
        angles = 2 * math.pi * time[:, None] * self.frequencies
        embedded = F.silu(self.time(torch.cat([angles.sin(), angles.cos()], -1)))
        h, kept = x, []
        for stage in self.down:
            h, condition = stage(h, condition, embedded)
            kept.append(h)
        kept.pop()
        for stage in self.up:
            h, condition = stage(h, condition, embedded)
            h = torch.cat([h, kept.pop()], -1)
        h, condition = self.last(h), self.last_follow(condition)
        h = h + self.last_attention(h[None], condition[None])[0]
        return h / deviation(time)[:, None, None]


class Refiner(nn.Module):
    """Residual blocks with attention over channels, on what was sampled.

    Args:
        width: d; inside it is 2d.
        blocks: number of blocks.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.blocks = nn.ModuleList(RefinerBlock(2 * width) for _ in range(blocks))
        self.joined = Convolution(2 * width, 2 * width, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, d) to the same."""
        x = h = self.enter(x)
        for block in self.blocks:
            h = block(h)
        return self.leave(x + self.joined(h))


class RefinerBlock(nn.Module):
    """x + y s(y): y two convolutions with a ReLU, s a weight for each of y's channels.

    Args:
        width: of x.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = Convolution(width, width, bias=True)
        self.outer = Convolution(width, width, bias=True)
        self.squeeze, self.weigh = nn.Linear(width, _SQUEEZED), nn.Linear(_SQUEEZED, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, width) to the same."""
        y = self.outer(F.relu(self.inner(x)))
        s = self.weigh(F.relu(self.squeeze(y.mean(1)))).sigmoid()
        return x + y * s[:, None]


def _uniform(bound: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def _normalised(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Group normalisation of (B, L, d): over the steps and a group's channels."""
    return norm(x.transpose(1, 2).unsqueeze(-1))[..., 0].transpose(1, 2)
