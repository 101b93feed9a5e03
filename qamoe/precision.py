"""Fusion by precisions, an extension of ours: each modality a Gaussian, the answer their product.

A modality answers o_m = w_m . y_m + b_m with variance v_m = mean_k sigma2_mk + 1e-4, the mixture
y_m of Eq. 7 without its gate. Its precision p_m = sigmoid(alpha_m) / v_m stands beside that of a
prior, p_0 = exp(-c) with mean mu_0 (alpha, c and mu_0 learned, 0 at first):

    y^ = (sum_m p_m o_m + p_0 mu_0) / (sum_m p_m + p_0),   variance 1 / (sum_m p_m + p_0).

What says nothing is left to the prior by arithmetic. For classes o_m and mu_0 are logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from protocols.modalities import Modality

LEAST_VARIANCE = 1e-4
LOG_VARIANCE_LIMIT = 10.0
"""A log-variance that is learned is clamped to plus and minus this."""


@dataclass(frozen=True)
class Fused:
    """The product of Gaussians and its factors, for B samples and M modalities.

    Attributes:
        prediction: (B, C) mean of the product.
        log_variance: (B,) log of its variance.
        own: (B, M, C) the modalities' own answers o_m.
        own_variance: (B, M) their variances v_m.
    """

    prediction: Tensor
    log_variance: Tensor
    own: Tensor
    own_variance: Tensor


class PrecisionFusion(nn.Module):
    """The product over the modalities that the data set has; an absent one has precision 0.

    Args:
        width: d of y_m.
        outputs: C, 1 for regression.
        present: the modalities, M of them.
    """

    def __init__(self, width: int, outputs: int, present: Sequence[Modality]) -> None:
        super().__init__()
        self.present = tuple(present)
        self.own = nn.ModuleDict({m: nn.Linear(width, outputs) for m in self.present})
        self.trust = nn.Parameter(torch.zeros(len(self.present)))  # alpha
        self.prior_log_variance = nn.Parameter(torch.zeros(()))  # c
        self.prior_mean = nn.Parameter(torch.zeros(outputs))  # mu_0

    def forward(self, y: Mapping[Modality, Tensor], variance: Mapping[Modality, Tensor]) -> Fused:
        """Fuse y_m (B, d) by mean_k sigma2_m (B,)."""
        own = torch.stack([self.own[m](y[m]) for m in self.present], dim=1)
        own_variance = torch.stack([variance[m] for m in self.present], dim=1) + LEAST_VARIANCE
        precision = self.trust.sigmoid() / own_variance
        return product(own, own_variance, precision, self.prior_log_variance, self.prior_mean)


def product(
    own: Tensor,
    own_variance: Tensor,
    precision: Tensor,
    prior_log_variance: Tensor,
    prior_mean: Tensor,
) -> Fused:
    """The answers (B, M, C), each with its precision (B, M), and a prior with mean (C,)."""
    prior = torch.exp(-prior_log_variance)
    total = precision.sum(dim=1) + prior
    weighted = (precision[..., None] * own).sum(dim=1) + prior * prior_mean
    return Fused(weighted / total[:, None], -total.log(), own, own_variance)
