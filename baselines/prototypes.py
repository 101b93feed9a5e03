"""Prototypes of classes in each modality, and the optimal transport between two modalities' ones.

PaSE (He et al., AAAI 2026). Everything is masked by the classes seen, without a data-dependent
branch: nothing here waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_MOMENTUM = 0.98
_REGULARISATION = 0.05
_LEAST_NORM = 1e-6
_NEVER = -1e4
"""The logarithm of nothing: far below any cost's, and finite, so that no gradient is NaN."""


@dataclass(frozen=True)
class BatchMeans:
    """The mean vector of each class in a batch.

    Attributes:
        mean: (M, K, d), zero for a class without a sample; gradients reach the vectors.
        there: (M, K) bool, whether the batch has a sample of the class.
    """

    mean: Tensor
    there: Tensor


def batch_means(h: Tensor, present: Tensor, classes: Tensor, count: int) -> BatchMeans:
    """The classes' means over the samples that have the modality.

    Args:
        h: (B, M, d).
        present: (B, M) bool.
        classes: (B,) class of each sample.
        count: K.
    """
    member = F.one_hot(classes, count)[:, None] * present[..., None]  # (B, M, K)
    number = member.sum(0)
    total = torch.einsum("bmk,bmd->mkd", member.to(h.dtype), h)
    return BatchMeans(total / number.clamp_min(1)[..., None], number > 0)


class Prototypes(nn.Module):
    """A vector for each class in each modality: a running mean of the classes' batch means.

    The vectors are buffers, and learn from :meth:`update` alone.

    Args:
        modalities: M.
        count: K.
        width: d.
    """

    vector: Tensor
    seen: Tensor

    def __init__(self, modalities: int, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("vector", torch.zeros(modalities, count, width))
        self.register_buffer("seen", torch.zeros(modalities, count))  # 1 = has had a sample

    @torch.no_grad()
    def update(self, batch: BatchMeans) -> None:
        """c <- 0.98 c + 0.02 mean for the classes in the batch; the first time, c <- mean."""
        mixed = _MOMENTUM * self.vector + (1 - _MOMENTUM) * batch.mean
        new = torch.where(self.seen[..., None] > 0, mixed, batch.mean)
        self.vector.copy_(torch.where(batch.there[..., None], new, self.vector))
        self.seen.copy_(torch.where(batch.there, 1.0, self.seen))

    def similarities(self, h: Tensor) -> Tensor:
        """(B, M, K) cosines of (B, M, d) vectors with the prototypes; 0 of a zero vector."""
        return torch.einsum("bmd,mkd->bmk", _unit(h), _unit(self.vector))

    def log_shares(self, similarities: Tensor, temperature: float) -> Tensor:
        """(B, M, K) log of the softmax over the classes seen; even where none was."""
        logits = (similarities / temperature).masked_fill(self.seen == 0, _NEVER)
        return logits.log_softmax(-1)

    def largest(self, similarities: Tensor) -> Tensor:
        """(B, M) the largest cosine over the classes seen; 0 where none was."""
        shown = similarities.masked_fill(self.seen == 0, -1.0).amax(-1)
        return shown * (self.seen > 0).any(-1)

    def with_gradient(self, batch: BatchMeans) -> Tensor:
        """(M, K, d) the prototypes, with the gradient of the batch's means where it has the class.

        The running mean itself carries none.
        """
        passed = batch.mean - batch.mean.detach()
        return self.vector + torch.where(batch.there[..., None], passed, 0.0)


@dataclass(frozen=True)
class Transport:
    """How far two sets of prototypes are from each other, for P pairs of sets.

    Attributes:
        match: (P,) sum of plan times cost.
        omega: (P,) squared distance of the plan from its target; carries no gradient.
    """

    match: Tensor
    omega: Tensor


def transport(
    one: Tensor, other: Tensor, shared: Tensor, iterations: int, target: str
) -> Transport:
    """Optimal transport between the unit-length prototypes of P pairs of modalities.

    C_ij = |a_i - b_j|^2, so at most 4; T from :func:`sinkhorn`, held constant.

    Args:
        one, other: (P, K, d).
        shared: (P, K) bool, the classes seen in both; with fewer than two everything is 0.
        iterations: of the plan.
        target: "uniform": I / K', K' the number of shared classes, a permutation's plan; or
            "identity".
    """
    cost = (_unit(one)[:, :, None] - _unit(other)[:, None]).square().sum(-1)
    plan = sinkhorn(cost.detach(), shared, iterations)
    number = shared.sum(1).clamp_min(1)
    diagonal = torch.diag_embed(shared.to(cost.dtype))
    if target == "uniform":
        diagonal = diagonal / number[:, None, None]
    enough = (shared.sum(1) >= 2).to(cost.dtype)
    return Transport(
        (plan * cost).sum((1, 2)) * enough, (plan - diagonal).square().sum((1, 2)) * enough
    )


@torch.no_grad()
def sinkhorn(cost: Tensor, shared: Tensor, iterations: int) -> Tensor:
    """Entropic transport plans with uniform marginals over the shared classes, regularised by 0.05.

    In the log domain: exp(-cost / 0.05) itself vanishes for costs above 5.

    Args:
        cost: (P, K, K).
        shared: (P, K) bool.
        iterations: of Sinkhorn's two steps.

    Returns:
        (P, K, K), zero at classes that are not shared; the columns are exact.
    """
    both = shared[:, :, None] & shared[:, None]
    kernel = (-cost / _REGULARISATION).masked_fill(~both, _NEVER)
    marginal = -shared.sum(1, keepdim=True).clamp_min(1).to(cost.dtype).log()
    rows, columns = torch.zeros_like(cost[:, 0]), torch.zeros_like(cost[:, 0])
    for _ in range(iterations):
        rows = (marginal - (kernel + columns[:, None]).logsumexp(2)).where(shared, 0.0)
        columns = (marginal - (kernel + rows[:, :, None]).logsumexp(1)).where(shared, 0.0)
    return (kernel + rows[:, :, None] + columns[:, None]).exp() * both


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1, eps=_LEAST_NORM)
