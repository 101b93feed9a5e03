"""Layers that several baselines share: the crossmodal transformer encoder and its input stage.

The encoder is the one of MulT (Tsai et al., ACL 2019) as its official code has it. G encoders of
one shape are held as one module with stacked weights, so that the six crossmodal encoders of a
model cost as many operations as one: at these sizes a step is bound by their number on a GPU, and
by how much of each operation is overhead on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import attention, dropout, feed_forward
from baselines.positions import causal_mask, sinusoidal_code

T = TypeVar("T")


class TemporalProjection(nn.Module):
    """Bias-free convolution over time without padding, to a common width.

    A step count T becomes T - kernel + 1. The weight is (input width, kernel, output width): all
    taps are one matrix product over the steps and no window of the wide input is ever copied.
    """

    def __init__(self, width_in: int, width_out: int, kernel: int) -> None:
        super().__init__()
        bound = (width_in * kernel) ** -0.5  # torch's default for Conv1d, which the originals use
        self.weight = nn.Parameter(torch.empty(width_in, kernel, width_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width_in) to (B, T - kernel + 1, width_out)."""
        kernel, steps = self.weight.shape[1], x.shape[1] - self.weight.shape[1] + 1
        taps = (x @ self.weight.flatten(1)).unflatten(-1, self.weight.shape[1:]).unbind(2)
        out = taps[0][:, :steps]
        for shift in range(1, kernel):
            out = out + taps[shift][:, shift : shift + steps]
        return out


class EncoderStack(nn.Module):
    """G parallel transformer encoders of one shape, pre-norm, for self- or cross-attention.

    Each encoder: x = sqrt(e) x_in + position code, dropout; then per layer, with one normalisation
    LN0 shared by queries and sources, x += attention(LN0 x, LN0 source) and x += FFN(LN1 x), ReLU,
    hidden width 4e; a last normalisation. A source gets its own scaling and code, and independent
    dropout as keys and as values, once for all layers. (Tsai et al. 2019, section 3.2; official
    code.) A step whose first channel is exactly 0 has no position code there.

    A sequence that is zero throughout is given the codes of all its steps, with ``position_code``
    or without: as long as the biases are zero, each normalisation of its all-zero rows would
    multiply the gradient by 1/sqrt(1e-5), to a norm of 1e14 in all. Other sequences keep theirs.

    Weights are stored (G, layers, in, out); parameters: G (layers (12e^2 + 13e) + 2e).

    Args:
        width: e, at least 4 and a multiple of ``heads``.
        heads: attention heads.
        layers: number of layers.
        attention_dropout: one rate of the attention weights for each of the G encoders.
        relu_dropout: rate after the ReLU.
        residual_dropout: rate on what is added to the residual stream.
        embedding_dropout: rate after the position code.
        causal: mask sources later than the target step (see :func:`causal_mask`).
        position_code: add the sinusoidal code to every sequence.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        attention_dropout: Sequence[float] = (0.0,),
        relu_dropout: float = 0.0,
        residual_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        causal: bool = True,
        position_code: bool = True,
    ) -> None:
        super().__init__()
        if width % heads or width < 4:
            raise ValueError(f"width {width} must be at least 4 and a multiple of {heads} heads")
        self.width, self.heads, self.layers = width, heads, layers
        self.attention_dropout = tuple(attention_dropout)
        self.relu_dropout, self.residual_dropout = relu_dropout, residual_dropout
        self.embedding_dropout = embedding_dropout
        self.causal, self.position_code = causal, position_code
        groups, wide = len(self.attention_dropout), 4 * width
        self.projection = _xavier(groups, layers, width, 3 * width)
        self.projection_bias = nn.Parameter(torch.zeros(groups, layers, 1, 3 * width))
        self.output = _xavier(groups, layers, width, width)
        self.output_bias = nn.Parameter(torch.zeros(groups, layers, 1, width))
        self.inner = _xavier(groups, layers, width, wide)
        self.inner_bias = nn.Parameter(torch.zeros(groups, layers, 1, wide))
        self.outer = _xavier(groups, layers, wide, width)
        self.outer_bias = nn.Parameter(torch.zeros(groups, layers, 1, width))
        self.attention_gain = nn.Parameter(torch.ones(groups, layers, 1, width))
        self.attention_shift = nn.Parameter(torch.zeros(groups, layers, 1, width))
        self.inner_gain = nn.Parameter(torch.ones(groups, layers, 1, width))
        self.inner_shift = nn.Parameter(torch.zeros(groups, layers, 1, width))
        self.last_gain = nn.Parameter(torch.ones(groups, 1, 1, width))
        self.last_shift = nn.Parameter(torch.zeros(groups, 1, 1, width))
        self._kept: dict[Any, Any] | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it the weights stand still, so that what is made of them alone is made once.

        For a sampler, say, whose every step runs the encoders anew. Not while they are to learn.
        """
        self._kept = {}
        try:
            yield
        finally:
            self._kept = None

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What does not depend on the sequences: made anew for each, or once where it is held."""
        if self._kept is None:
            return make()
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def forward(
        self,
        x: Tensor,
        source: Tensor | None = None,
        real_keys: Tensor | None = None,
        step: Tensor | None = None,
        groups: Sequence[int] | None = None,
    ) -> Tensor:
        """Encode G x B sequences.

        Args:
            x: (G, B, T, e) targets.
            source: (G, B, S, e) for cross-attention; None for self-attention.
            real_keys: (G, B, S) bool, false = key to leave out (the original has no such mask).
                A target left with none attends to padding, so that the output stays finite.
            step: (G, B) long, the only step of each sequence that is wanted. The last layer then
                computes nothing else, with the same result.
            groups: the encoders that are wanted, of which alone x and the others then have rows;
                None for all. Not while training.

        Returns:
            (G, B, T, e), or (G, B, 1, e) with ``step``.
        """
        sources = x.shape[2] if source is None else source.shape[2]
        mask = self._mask(x, sources) if self.causal else None
        # finite, unlike the causal mask: a row with nothing but padding stays a distribution
        lowest = torch.finfo(x.dtype).min / 2
        bias = None if real_keys is None else torch.where(real_keys, 0.0, lowest).to(x.dtype)
        layers = self._once(("layers", groups and tuple(groups)), lambda: self._layers(groups))
        memory = None if source is None else self._memory(source, layers)
        x = self._embed(x)
        for number, layer in enumerate(layers):
            only = step if number == self.layers - 1 else None
            x = self._attend(x, layer, memory[number] if memory else None, mask, bias, only)
            outer = self._feed_forward(_normalise(x), layer)
            x = x + self._dropout(outer, self.residual_dropout)
        shift, gain = (_only(w, groups) for w in (self.last_shift, self.last_gain))
        return torch.addcmul(shift, _normalise(x), gain)

    def _mask(self, x: Tensor, sources: int) -> Tensor:
        """(T, S), what is added to a target's scores of the sources."""
        return self._once(
            ("mask", x.shape[2], sources),
            lambda: causal_mask(x.shape[2], sources, x.device).to(x.dtype),
        )

    def _layers(self, groups: Sequence[int] | None) -> list[_Layer]:
        """The weights layer by layer, with each normalisation's gain and shift worked in."""
        stacked = (
            self.projection * self.attention_gain.transpose(-1, -2),
            self.projection_bias + self.attention_shift @ self.projection,
            self.output,
            self.output_bias,
            self.inner * self.inner_gain.transpose(-1, -2),
            self.inner_bias + self.inner_shift @ self.inner,
            self.outer,
            self.outer_bias,
        )
        by_layer = zip(*(w.unbind(1) for w in stacked), strict=True)
        return [_Layer(*(_only(w, groups) for w in own)) for own in by_layer]

    def _embed(self, x: Tensor) -> Tensor:
        """Scale, position code, dropout."""
        coded = ~x.flatten(2).any(-1)[..., None, None]
        if self.position_code:
            coded = coded | (x[..., :1] != 0.0)
        code = self._once(
            ("code", x.shape[2]),
            lambda: sinusoidal_code(x.shape[2], self.width, x.device).to(x.dtype),
        )
        scaled = torch.addcmul(x * math.sqrt(self.width), coded.to(x.dtype), code)
        return self._dropout(scaled, self.embedding_dropout)

    def _memory(self, source: Tensor, layers: list[_Layer]) -> list[tuple[Tensor, Tensor]]:
        """Keys and values (G, B, S, H, w) of every layer, by one product for all layers."""
        split = (len(layers), 2, self.width)
        weight, bias = self._once(("memory", id(layers)), lambda: self._memory_weights(layers))
        heads = (self.heads, self.width // self.heads)
        if not self.training or self.embedding_dropout == 0.0:
            both = _linear(_normalise(self._embed(source)), weight.flatten(2), bias.flatten(2))
            keys, values = both.unflatten(-1, split[:2] + heads).unbind(4)
        else:
            keys, values = (
                _linear(
                    _normalise(self._embed(source)),
                    weight[..., kind, :].flatten(2),
                    bias[..., kind, :].flatten(2),
                ).unflatten(-1, split[:1] + heads)
                for kind in (0, 1)
            )
        return list(zip(keys.unbind(3), values.unbind(3), strict=True))

    def _memory_weights(self, layers: list[_Layer]) -> list[Tensor]:
        """Weights (G, e, layers, 2, e) and biases (G, 1, layers, 2, e) of all keys and values."""
        return [
            torch.cat([own[..., self.width :] for own in part], -1).unflatten(
                -1, (len(layers), 2, self.width)
            )
            for part in ([w.projection for w in layers], [w.projection_bias for w in layers])
        ]

    def _attend(
        self,
        x: Tensor,
        layer: _Layer,
        memory: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        bias: Tensor | None,
        only: Tensor | None,
    ) -> Tensor:
        """The attention half of a layer: (G, B, T, e) to the same, or to (G, B, 1, e)."""
        heads, width = (self.heads, self.width // self.heads), self.width
        normal = _normalise(x)
        if memory is None and only is None:
            fused = _linear(normal, layer.projection, layer.projection_bias)
            query, key, value = fused.unflatten(-1, (3, *heads)).unbind(3)
        else:
            weights = layer.projection.split([width, 2 * width], -1)
            biases = layer.projection_bias.split([width, 2 * width], -1)
            if memory is None:
                fused = _linear(normal, weights[1], biases[1])
                memory = fused.unflatten(-1, (2, *heads)).unbind(3)
            key, value = memory
            if only is not None:
                x, normal = _pick(x, only), _pick(normal, only)
                mask, bias = None, _key_bias(mask, bias, only)
            query = _linear(normal, weights[0], biases[0]).unflatten(-1, heads)
        q, k, v = (part.transpose(2, 3) for part in (query, key, value))
        rates = self.attention_dropout if self.training else (0.0,) * len(self.attention_dropout)
        mixed = attention(q, k, v, mask, bias, rates).transpose(2, 3).flatten(3)
        added = _linear(mixed, layer.output, layer.output_bias)
        return x + self._dropout(added, self.residual_dropout)

    def _feed_forward(self, normal: Tensor, layer: _Layer) -> Tensor:
        rate = self.relu_dropout if self.training else 0.0
        weights = (layer.inner, layer.inner_bias, layer.outer, layer.outer_bias)
        return feed_forward(normal.flatten(1, 2), *weights, rate).unflatten(1, normal.shape[1:3])

    def _dropout(self, x: Tensor, rate: float) -> Tensor:
        return dropout(x, rate, self.training)


class _Layer(NamedTuple):
    """One layer's weights, each (G, in, out), and biases, each (G, 1, out)."""

    projection: Tensor
    projection_bias: Tensor
    output: Tensor
    output_bias: Tensor
    inner: Tensor
    inner_bias: Tensor
    outer: Tensor
    outer_bias: Tensor


def _xavier(*shape: int) -> nn.Parameter:
    """Xavier-uniform weights (..., in, out), each matrix by its own fans."""
    bound = math.sqrt(6.0 / (shape[-2] + shape[-1]))
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def _only(weight: Tensor, groups: Sequence[int] | None) -> Tensor:
    """The weights of some of the stacked encoders."""
    return weight if groups is None else torch.stack([weight[group] for group in groups])


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(G, B, T, in) by the (G, in, out) weights and (G, 1, out) biases of G layers."""
    return torch.baddbmm(bias, x.flatten(1, 2), weight).unflatten(1, x.shape[1:3])


def _normalise(x: Tensor) -> Tensor:
    """Layer normalisation without gain and shift, which the next linear layer has worked in."""
    return F.layer_norm(x, x.shape[-1:])


def _pick(x: Tensor, step: Tensor) -> Tensor:
    """(G, B, T, e) at the (G, B) steps: (G, B, 1, e)."""
    return x.take_along_dim(step[..., None, None], 2)


def _key_bias(mask: Tensor | None, bias: Tensor | None, step: Tensor) -> Tensor | None:
    """The (G, B, S) score bias of one target step per sequence: its row of the mask, padding."""
    if mask is None:
        return bias
    row = mask[step]
    return row if bias is None else row + bias
