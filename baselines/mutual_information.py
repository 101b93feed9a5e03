"""Estimates of mutual information: the Barber-Agakov bound, CPC scores, Gaussian entropies.

As MMIM has them (Han, Chen, Poria, EMNLP 2021; official code). Subsets of a batch are weights, not
boolean indices: nothing here makes the host wait for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOG_VARIANCE_LIMIT = 8.0
JITTER = 1e-4
SMALLEST_NORM = 1e-8


class GaussianBound(nn.Module):
    """The module of one modality pair: q(y|x), a diagonal Gaussian, and a projection of y.

    Args:
        width_x: width of the given vector x.
        width_y: width of the predicted vector y; also the hidden width.
    """

    def __init__(self, width_x: int, width_y: int) -> None:
        super().__init__()
        self.mean = _two_layers(width_x, width_y)
        self.log_variance = _two_layers(width_x, width_y)
        self.entropy_projection = nn.Linear(width_y, max(1, width_y // 4))

    def log_likelihood(self, x: Tensor, y: Tensor, frozen: bool) -> Tensor:
        """The batch mean of log q(y|x), as far as the official code has it.

        The code leaves out the constant and the term -sum(log variance)/2 of a Gaussian's
        log-density, so a larger variance always raises it; the clamp bounds that.

        Args:
            x: (B, width_x).
            y: (B, width_y).
            frozen: treat this module's own parameters as constants (the main stage).

        Returns:
            A scalar: mean over B of -sum_j (mean_j - y_j)^2 / (2 variance_j).
        """
        mean = _apply(self.mean, x, frozen)
        log_variance = _apply(self.log_variance, x, frozen)
        log_variance = log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
        return -0.5 * ((mean - y).square() * (-log_variance).exp()).sum(-1).mean()

    def project(self, y: Tensor) -> Tensor:
        """(B, width_y) to the (B, width_y // 4) projection in (-1, 1) whose entropy is measured."""
        return self.entropy_projection(y).tanh()


def _two_layers(width_in: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, width), nn.ReLU(), nn.Linear(width, width))


def _apply(layers: nn.Sequential, x: Tensor, frozen: bool) -> Tensor:
    """Linear, ReLU, linear; with constant weights where ``frozen``."""
    first, _, last = layers
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    weights = (first.weight, first.bias, last.weight, last.bias)
    w1, b1, w2, b2 = (w.detach() for w in weights) if frozen else weights
    return F.linear(F.linear(x, w1, b1).relu(), w2, b2)


def unit(x: Tensor) -> Tensor:
    """(B, d) rows at length 1. A zero row stays zero and its gradient stays finite and small."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / norm.masked_fill(norm <= SMALLEST_NORM, 1.0)


def contrastive_loss(x: Tensor, guess: Tensor) -> Tensor:
    """CPC's InfoNCE over a batch: each row of ``guess`` must point to its own row of ``x``.

    Args:
        x: (B, d) vectors of one modality.
        guess: (B, d), what the fused vector says of them.

    Returns:
        -mean_i [x_i.g_i - log sum_j exp(x_i.g_j)] of unit vectors; no temperature.
    """
    scores = unit(x) @ unit(guess).T
    return (scores.logsumexp(1) - scores.diagonal()).mean()


def gaussian_entropies(e: Tensor, subsets: Tensor) -> Tensor:
    """Half the log-determinant of each subset's covariance, its entropy up to a constant.

    Args:
        e: (P, N, k) projections of P modality pairs.
        subsets: (S, N) float, 1 where a sample belongs to the subset; a subset may be empty.

    Returns:
        (P, S): logdet(covariance + JITTER I) / 2 with the biased covariance of the subset.
    """
    share = subsets / subsets.sum(1, keepdim=True).clamp_min(1.0)
    mean = share @ e  # (P, S, k)
    centred = e[:, None] - mean[:, :, None]  # (P, S, N, k)
    covariance = (centred * share[..., None]).transpose(-1, -2) @ centred
    covariance = covariance + JITTER * torch.eye(e.shape[-1], device=e.device, dtype=e.dtype)
    factor, _ = torch.linalg.cholesky_ex(covariance)
    return factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class EntropyMemory(nn.Module):
    """The detached projections of the last batches, whose entropy is measured with the current.

    It starts empty in every epoch, fills up, then drops the oldest. What it holds is written over
    in place, as a recorded step needs it (benchmark/replay.py); a row that is not yet filled
    belongs to no subset.

    Args:
        batches: how many batches it holds, of the first one's size.
    """

    rows: Tensor
    members: Tensor
    pushed: Tensor

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.batches = batches
        for name in ("rows", "members"):  # (P, batches B, k) and (S, batches B) once B is known
            self.register_buffer(name, torch.empty(0), persistent=False)
        self.register_buffer("pushed", torch.zeros((), dtype=torch.long), persistent=False)

    def clear(self) -> None:
        """Forget everything: a new epoch."""
        self.members.zero_()
        self.pushed.zero_()

    def push(self, e: Tensor, subsets: Tensor) -> None:
        """Remember a batch: (P, B, k) projections and their (S, B) subsets."""
        if self.rows.dim() == 1:
            room = self.batches * e.shape[1]
            self.rows = e.new_zeros(len(e), room, e.shape[2])
            self.members = subsets.new_zeros(len(subsets), room)
        new = min(e.shape[1], self.rows.shape[1])
        for held, one in ((self.rows, e.detach()), (self.members, subsets)):
            held.copy_(torch.cat([held[:, new:], one[:, -new:]], 1))
        self.pushed += 1

    def entropy(self, e: Tensor, subsets: Tensor) -> Tensor:
        """H of memory and current batch together, summed over the pairs, averaged over subsets.

        Zero, with zero gradient, while a subset has fewer than k + 2 samples: its covariance
        says nothing then.

        Args:
            e: (P, B, k) projections of the current batch, through which the gradient flows.
            subsets: (S, B) float memberships.
        """
        everything, members = e, subsets
        if self.rows.dim() > 1:
            everything = torch.cat([self.rows, e], 1)
            members = torch.cat([self.members, subsets], 1)
        entropy = gaussian_entropies(everything, members).mean(1).sum()
        too_few = (members.sum(1) < e.shape[-1] + 2).any()
        return entropy.masked_fill(too_few, 0.0)
