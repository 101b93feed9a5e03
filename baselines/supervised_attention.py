"""Attention whose scores are supervised by orderings: real above noise, enhanced above real.

The parts of SAM-LML as reconstructed from "Guided Attention Learning" (official code of the same
first author, read): a pair of sequences attended to by the third, a score per interaction, and
hinge losses that rank attention logits and scores. Masks enter as weights, never as indices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

LatentNoise = Literal["uniform01", "gaussian_std"]


@dataclass(frozen=True)
class Attended:
    """What an interaction gives.

    Attributes:
        pooled: (B, d), the interaction o.
        queries: (B, Tq, d), mapped and scaled.
        keys: (B, S, d), mapped.
        logits: (B, Tq, S), before masks and softmax.
    """

    pooled: Tensor
    queries: Tensor
    keys: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Query:
    """The asking sequence of an interaction, for the losses.

    Attributes:
        mapped: (B, Tq, d) mapped and scaled queries.
        as_keys: (B, Tq, d), the same steps through the key map.
        counted: (B, Tq) bool, the steps that the losses count: real and not missing.
    """

    mapped: Tensor
    as_keys: Tensor
    counted: Tensor


@dataclass(frozen=True)
class Member:
    """One modality's part in the keys of an interaction, for the losses.

    Attributes:
        mapped: (B, T, d) mapped keys.
        logits: (B, Tq, T), before masks and softmax.
        counted: (B, T) bool, as in :class:`Query`.
    """

    mapped: Tensor
    logits: Tensor
    counted: Tensor


class Interaction(nn.Module):
    """One attention: a query sequence over key sequences joined in time; the values are the keys.

    Args:
        width: d of every sequence.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, query: Tensor, query_real: Tensor, keys: Tensor, keys_real: Tensor
    ) -> Attended:
        """Attend and pool.

        Args:
            query: (B, Tq, d), and query_real: (B, Tq) bool, the steps that the mean is over.
            keys: (B, S, d), and keys_real: (B, S) bool, the steps that attention may look at.
                A row of either that is all false counts as all true: the result stays finite.
        """
        q = self.query(query) * query.shape[-1] ** -0.5
        k = self.key(keys)
        logits = q @ k.transpose(1, 2)
        lowest = torch.finfo(logits.dtype).min / 2
        weights = logits.masked_fill(~_some(keys_real)[:, None], lowest).softmax(-1)
        attended = self.norm(weights @ keys)
        share = _some(query_real).to(attended.dtype)
        pooled = (share[:, None] @ attended)[:, 0] / share.sum(1, keepdim=True)
        return Attended(pooled, q, k, logits)

    def noise_loss(
        self, query: Query, member: Member, noise: Tensor, at: Tensor, margin: float
    ) -> Tensor:
        """Noise in place of steps must get logits lower than the steps' by a margin.

        Args:
            query: what asks.
            member: whose steps are replaced.
            noise: (B, K, d) rows that stand in for the steps.
            at: (K,) long, which steps.
            margin: the difference asked for.

        Returns:
            The mean of relu(noise logit + margin - logit) over counted (query, key) steps.
        """
        noisy = query.mapped @ self.key(noise).transpose(1, 2)
        hinge = (noisy + margin - member.logits.index_select(2, at)).relu()
        return _mean_where(
            hinge, query.counted[:, :, None] & member.counted[:, None].index_select(2, at)
        )


def enhancement_loss(query: Query, member: Member, share: float, margin: float) -> Tensor:
    """A key mixed with a share of its query step must get a higher logit from that step.

    The key map is affine, so the mixture's key is the mixture of the keys. Where the lengths
    differ, the query step of a key step is the one at the same relative position.

    Returns:
        The mean of relu(logit + margin - enhanced logit) over counted (step, step) pairs.
    """
    asked, own, counted = query.mapped, query.as_keys, query.counted
    steps, length = asked.shape[1], member.mapped.shape[1]
    if steps != length:
        at = (torch.arange(length, device=asked.device) * steps) // length
        asked, own, counted = (x.index_select(1, at) for x in (asked, own, counted))
    logit = (asked * member.mapped).sum(-1)
    enhanced = (asked * ((1 - share) * member.mapped + share * own)).sum(-1)
    return _mean_where((logit + margin - enhanced).relu(), counted & member.counted)


def _some(real: Tensor) -> Tensor:
    """(B, T) bool; a row without any true becomes all true."""
    return real | ~real.any(1, keepdim=True)


def _mean_where(x: Tensor, counted: Tensor) -> Tensor:
    """The mean of ``x`` where ``counted`` (broadcast to it); 0 where nothing is."""
    weight = counted.to(x.dtype).expand_as(x)
    return (x * weight).sum() / weight.sum().clamp_min(1.0)


def pick_steps(length: int, share: float, device: torch.device) -> Tensor:
    """floor(share length) distinct random steps of a sequence, (K,) long; K may be 0."""
    return torch.rand(length, device=device).argsort()[: int(share * length)]


def latent_noise(kind: LatentNoise, shape: Sequence[int], like: Tensor) -> Tensor:
    """Noise among vectors of width d.

    Args:
        kind: uniform in [0, 1] (the official code), or Gaussian with the channels' own spread.
        shape: of the result, (..., d).
        like: (B, T, d) vectors that have the spread.

    Returns:
        Constants of the given shape.
    """
    if kind == "uniform01":
        return torch.rand(tuple(shape), device=like.device, dtype=like.dtype)
    spread = like.detach().flatten(0, 1).std(0, correction=0)
    return torch.randn(tuple(shape), device=like.device, dtype=like.dtype) * spread


def ranking_loss(scores: Tensor, errors: Tensor, noise_score: Tensor, margin: float) -> Tensor:
    """Interactions that predict better must score higher, and noise lower than all.

    Args:
        scores: (B, P) of the P interactions.
        errors: (B, P) losses of their own predictors; only their order matters.
        noise_score: scalar, the score of a noise vector.
        margin: the difference asked for.

    Returns:
        Sum over pairs of interactions of the batch mean of relu(margin - (better - worse)), plus
        the sum over interactions of the batch mean of relu(noise + margin - score).
    """
    total = (noise_score + margin - scores).relu().mean(0).sum()
    for i, j in combinations(range(scores.shape[1]), 2):
        order = 2.0 * (errors[:, i] < errors[:, j]) - 1.0
        total = total + (margin - order * (scores[:, i] - scores[:, j])).relu().mean()
    return total


def degradation_ranking_loss(
    clean: Tensor, perturbed: Tensor, noise: Tensor, affected: Tensor, margin: float
) -> Tensor:
    """An interaction's score must fall as one of its keys gets worse: clean, perturbed, noise.

    Args:
        clean: (B, P) scores of the input; perturbed and noise: the same for its worse versions.
        affected: (B, P) float, 1 where the modality that was made worse is among the keys.
        margin: the difference asked for at each of the two steps.

    Returns:
        The batch mean of the hinges, summed over the affected interactions.
    """
    hinges = (margin - (clean - perturbed)).relu() + (margin - (perturbed - noise)).relu()
    return (hinges * affected).sum(1).mean()
