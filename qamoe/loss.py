"""Eq. 10 and its classification form, and the terms that supervise quality and routing."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, cross_entropy, nll_loss

MC_DRAWS = 10


def heteroscedastic_nll(
    prediction: Tensor, log_variance: Tensor, label: Tensor, beta: float = 0.0
) -> Tensor:
    """mean of 0.5 exp(-s) (y - ŷ)² + 0.5 s (Eq. 10); (B,) tensors to a scalar.

    With ``beta`` > 0 each term is weighed by sigma^(2 beta), held constant (beta-NLL).
    """
    terms = 0.5 * torch.exp(-log_variance) * (label - prediction).square() + 0.5 * log_variance
    if beta > 0:
        terms = terms * (beta * log_variance.detach()).exp()
    return terms.mean()


def classification_nll(
    logits: Tensor,
    log_variance: Tensor,
    label: Tensor,
    kind: Literal["attenuated_ce", "plain_ce", "mc_logit"],
) -> Tensor:
    """The readings of A23; (B, C) logits, (B,) s, (B,) classes to a scalar.

    ``attenuated_ce``: exp(-s) CE + 0.5 s. ``plain_ce``: CE. ``mc_logit``: logits get Gaussian
    noise of standard deviation exp(s / 2); the softmax is averaged over 10 draws.
    """
    if kind == "plain_ce":
        return cross_entropy(logits, label)
    if kind == "attenuated_ce":
        terms = cross_entropy(logits, label, reduction="none")
        return (torch.exp(-log_variance) * terms + 0.5 * log_variance).mean()
    noise = torch.randn(MC_DRAWS, *logits.shape, device=logits.device, dtype=logits.dtype)
    noisy = logits + (0.5 * log_variance).exp()[:, None] * noise
    averaged = noisy.log_softmax(dim=-1).logsumexp(dim=0) - torch.log(
        torch.full((), float(MC_DRAWS), device=logits.device)
    )
    return nll_loss(averaged, label)


def unimodal_quality_loss(
    own_prediction: Tensor, mean_variance: Tensor, label: Tensor, classification: bool
) -> Tensor:
    """Extension, not in the paper: what error would this modality alone make?

    Each modality's linear head predicts the label from mu_m, and mean_k sigma2_m is the variance
    of that prediction's NLL, so sigma2_m must rise where the modality alone is unreliable.

    Args:
        own_prediction: (B, M) values, or (B, M, C) logits.
        mean_variance: (B, M) positive.
        label: (B,).
        classification: whether to attenuate cross-entropy instead.

    Returns:
        The mean over samples and modalities.
    """
    log_variance = mean_variance.log()
    if classification:
        modalities = own_prediction.shape[1]
        repeated = label[:, None].expand(-1, modalities)
        errors = cross_entropy(own_prediction.flatten(0, 1), repeated.flatten(), reduction="none")
        return (errors.reshape_as(mean_variance) / mean_variance + 0.5 * log_variance).mean()
    errors = (own_prediction - label[:, None]).square()
    return (0.5 * errors / mean_variance + 0.5 * log_variance).mean()


def availability_loss(reliability: Tensor, missing: Tensor) -> Tensor:
    """As released, by what is known of it: r_m as the probability that modality m is there.

    The binary cross-entropy of (B, M) r_m against (B, M) flags, 1 = missing; the mean of all.
    """
    return binary_cross_entropy(reliability, 1.0 - missing)


def load_balance_loss(kept: Tensor, probability: Tensor) -> Tensor:
    """N sum_i f_i P_i, which even routing makes k, its least where f follows P.

    Fedus, Zoph, Shazeer: "Switch Transformers", JMLR 2022, Eq. 4, for top-k routing.

    Args:
        kept: (..., N) 1 where an input's top k hold expert i; f_i is its mean.
        probability: (..., N) softmax over all experts; P_i is its mean.
    """
    experts = kept.shape[-1]
    share, mean = kept.flatten(0, -2).mean(dim=0), probability.flatten(0, -2).mean(dim=0)
    return experts * (share * mean).sum()
