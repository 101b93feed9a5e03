"""MMA's layer: a transformer layer whose output is corrected by a mixture of multimodal adapters.

As in the official code of Chen, Wang, Ben, Tang, Hao, "Mixture of Multimodal Adapters for Sentiment
Analysis", NAACL 2025, where such layers are those of a frozen BERT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import attention, dropout
from baselines.layers import TemporalProjection
from protocols.modalities import Modality

STREAMS: tuple[Modality, ...] = ("text", "audio", "vision")
OF_A_STREAM = 2
EXPERTS = OF_A_STREAM * len(STREAMS)
"""Adapters of a layer, in the order t1 t2 a1 a2 v1 v2."""
KERNEL = 3
_FULL_RANK = 32
_SPREAD = 0.02


class Source(NamedTuple):
    """Audio or vision as a layer reads it: (B, S, e) keys and their (B, S) real steps."""

    keys: Tensor
    real: Tensor


class AdapterLayer(nn.Module):
    """One layer: self-attention, audio and vision read by its states, adapters, feed-forward.

    t = LN(x + attention(x)); x_m = t + attention(t, c_m, c_m) without parameters, where c_m is a
    convolution of the raw audio or vision; then LN(t + FFN(t)), plus the adapters' mixture of
    t, x_a and x_v, which no normalisation follows.

    Args:
        width: e, a multiple of ``heads``.
        heads: attention heads, of both kinds of attention.
        sources: audio's and vision's width and number of steps.
        rank: of an adapter.
        top_k: adapters that a step is routed to.
        rate: dropout rate of the transformer's parts.
        adapter_rate: dropout rate within an adapter.
        norm_eps: added to the variance in the two normalisations.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        sources: Mapping[Modality, tuple[int, int]],
        rank: int,
        top_k: int,
        rate: float,
        adapter_rate: float,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        self.projection, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm_1, self.norm_2 = (nn.LayerNorm(width, eps=norm_eps) for _ in range(2))
        self.convert = nn.ModuleDict(
            {m: Convolution(d, width, min(KERNEL, steps)) for m, (d, steps) in sources.items()}
        )
        self.router = Router(width, top_k)
        self.experts = Adapters(width, rank, adapter_rate)

    def forward(self, x: Tensor, mask: Tensor, sources: Sequence[Source]) -> tuple[Tensor, Tensor]:
        """(B, T, e) states with a (B, T) key mask to the same, and the load-balancing loss."""
        t = self.attend(x, mask)
        return self.mix(t, [self.read(t, source) for source in sources])

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """t (B, T, e): what the states have from each other."""
        return self.norm_1(x + self._dropout(self.output(self._attended(x, mask))))

    def source(self, modality: Modality, features: Tensor, mask: Tensor) -> Source:
        """What t can read of audio or vision. A key is real where its first step is."""
        keys = self.convert[modality](features)
        return Source(keys, mask[:, : keys.shape[1]])

    def read(self, t: Tensor, source: Source) -> Tensor:
        """x_m (B, T, e): what t attends to in audio or vision, added to it.

        Scores are divided by the root of e, not of a head's width. Where no key is real, all weigh
        the same.
        """
        k = self._heads(source.keys)
        q = self._heads(t * self.heads**-0.5)
        read = attention(q, k, k, None, _key_bias(source.real, t), (0.0,))
        return t + read[0].transpose(1, 2).flatten(2)

    def mix(
        self, t: Tensor, read: Sequence[Tensor], fed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """t, what it read, and what was fed forward, if that is known, to what the layer gives."""
        streams = torch.stack([t, *read])
        weights, balance = self.router(streams)
        added = self.experts(streams, weights)
        return (self.feed(t) if fed is None else fed) + added, balance

    def feed(self, t: Tensor) -> Tensor:
        """LN(t + FFN(t))."""
        return self.norm_2(t + self._dropout(self.outer(F.gelu(self.inner(t)))))

    def _attended(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (self._heads(part) for part in self.projection(x).chunk(3, -1))
        rate = self.rate if self.training else 0.0
        return attention(q, k, v, None, _key_bias(mask, x), (rate,))[0].transpose(1, 2).flatten(2)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, e) to (1, B, H, T, w)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)[None]

    def _dropout(self, x: Tensor) -> Tensor:
        return dropout(x, self.rate, self.training)


class Convolution(nn.Module):
    """A convolution over time without padding, to the layer's width.

    Args:
        width_in: d.
        width: e.
        kernel: its steps, at most the sequence's.
    """

    def __init__(self, width_in: int, width: int, kernel: int) -> None:
        super().__init__()
        self.taps = TemporalProjection(width_in, width, kernel)
        bound = (width_in * kernel) ** -0.5  # torch's default, as the taps'
        self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) to (B, T - kernel + 1, e)."""
        return self.taps(x) + self.bias


class Router(nn.Module):
    """Chooses adapters for each step from its three vectors, and weighs them.

    The vectors attend to each other, without parameters, and one linear layer gives each of them
    the logits of its stream's adapters.

    Args:
        width: e.
        top_k: adapters chosen.
    """

    def __init__(self, width: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.score = nn.Linear(width, OF_A_STREAM)

    def forward(self, streams: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of the adapters, and how unevenly they are used.

        Args:
            streams: (3, B, T, e).

        Returns:
            (B, T, 6) weights that sum to 1, zero where an adapter is not chosen. A scalar, twice
            the sum over the adapters of the share of steps that chose one (no gradient) times its
            mean probability; 1 where the probabilities are even and 3 are chosen. Padding counts.
        """
        steps = streams.permute(1, 2, 0, 3)
        scores = steps @ steps.transpose(2, 3) * streams.shape[-1] ** -0.5
        # a mean of vectors through a linear layer is the mean of what it gives for each
        logits = (scores.softmax(-1) @ self.score(steps)).flatten(2)
        best, chosen = logits.topk(self.top_k, -1)
        none = torch.zeros_like(logits)
        used = none.scatter(-1, chosen, 1.0).mean((0, 1))
        balance = 2.0 * (used * logits.softmax(-1).mean((0, 1))).sum()
        return none.scatter(-1, chosen, best.softmax(-1)), balance


class Adapters(nn.Module):
    """Six bottlenecks E(x) = s U dropout(relu(D LN(x))), two for each stream, and their mixture.

    All are computed for every step, the weights of those not chosen being zero. Stored with a
    first axis of 6. Parameters: 6 (2e + 2 e r + r + e + 1).

    Args:
        width: e.
        rank: r; what they give is scaled by 32 / r.
        rate: dropout rate after the ReLU.
    """

    def __init__(self, width: int, rank: int, rate: float) -> None:
        super().__init__()
        self.rank, self.rate = rank, rate
        self.gain = nn.Parameter(torch.ones(EXPERTS, width))
        self.shift = nn.Parameter(torch.zeros(EXPERTS, width))
        self.down = nn.Parameter(torch.empty(EXPERTS, width, rank).normal_(std=_SPREAD))
        self.down_bias = nn.Parameter(torch.zeros(EXPERTS, rank))
        self.up = nn.Parameter(torch.empty(EXPERTS, rank, width).normal_(std=_SPREAD))
        self.up_bias = nn.Parameter(torch.zeros(EXPERTS, width))
        self.scale = nn.Parameter(torch.ones(EXPERTS))

    def forward(self, streams: Tensor, weights: Tensor) -> Tensor:
        """(3, B, T, e) streams and (B, T, 6) weights to the (B, T, e) mixture."""
        # the normalisation's gain and shift are worked into the first product
        down = _by_stream(self.gain[..., None] * self.down)
        bias = _by_stream((self.shift[:, None] @ self.down) + self.down_bias[:, None])
        normal = F.layer_norm(streams, streams.shape[-1:]).flatten(1, 2)
        hidden = dropout(torch.baddbmm(bias, normal, down).relu(), self.rate, self.training)
        each = hidden.transpose(0, 1).reshape(-1, EXPERTS, self.rank)
        shares = (weights * self.scale * (_FULL_RANK / self.rank)).flatten(0, 1)
        mixed = (each * shares[..., None]).flatten(1) @ self.up.flatten(0, 1)
        return (mixed + shares @ self.up_bias).view_as(streams[0])


def _by_stream(weight: Tensor) -> Tensor:
    """(6, n, r) weights as (3, n, 2r): those of a stream's two adapters side by side."""
    return weight.unflatten(0, (len(STREAMS), OF_A_STREAM)).transpose(1, 2).flatten(2)


def _key_bias(mask: Tensor, like: Tensor) -> Tensor:
    """(1, B, T) on the scores: finite, so that a sample with no real key weighs all the same."""
    lowest = torch.finfo(like.dtype).min / 2
    return torch.where(mask, 0.0, lowest).to(like.dtype)[None]
