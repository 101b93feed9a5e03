"""Fusion by precisions whose errors are shared, with an answer of all modalities together.

An extension of ours. Beside the modalities' own answers o_m of variance v_m
(:mod:`qamoe.precision`) stands a joint one: h as Eq. 8 fuses the y_m, o_J = w_J . h + b_J, of a
variance that knows what it was built from, log v_J = w_s . h + b_s + sum_m softplus(b_m) log v_m.

The errors of these M + 1 answers are not independent. A share a_i^2 of each one's variance is an
error that all have in common (learned, 0.8 at first), so their covariance is
S = diag(v)^1/2 (a a' + diag(1 - a^2)) diag(v)^1/2. With the weights of the best linear unbiased
answer, none below 0, and a prior of precision p_0 and mean mu_0 (learned),

    w = max(S^-1 1, 0),   P = sum_i w_i + p_0,   y^ = (w . o + p_0 mu_0) / P,   variance 1 / P.

Where an answer repeats the error of a more precise one it gets no weight: where all modalities are
there the joint answer speaks nearly alone, where one fails the others' own do. With shares of 0
this is the product of independent Gaussians.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from protocols.modalities import MODALITIES, Modality
from qamoe.fusion import FusionLayer
from qamoe.precision import LEAST_VARIANCE, LOG_VARIANCE_LIMIT, Fused, product

SHARE_AT_FIRST = 0.8
FASTER = 10.0
"""A share is a sigmoid of so many times its parameter, which a step moves by about its rate."""


class SharedErrorsFusion(nn.Module):
    """The modalities' own answers and a joint one, weighed by precisions under a shared error.

    Args:
        width: d of y_m.
        outputs: C, 1 for regression.
        present: the modalities that the data set has, M of them.
        joint: the fusion layer of Eq. 8, of all three y_m.
    """

    def __init__(
        self, width: int, outputs: int, present: Sequence[Modality], joint: FusionLayer
    ) -> None:
        super().__init__()
        self.present, answers = tuple(present), len(present) + 1
        self.own = nn.ModuleDict({m: nn.Linear(width, outputs) for m in self.present})
        self.joint, self.joint_own = joint, nn.Linear(width, outputs)
        self.joint_log_variance = nn.Linear(width, 1)
        self.variance_weight = nn.Parameter(torch.zeros(len(self.present)))  # b_m
        start = math.log(SHARE_AT_FIRST / (1 - SHARE_AT_FIRST)) / FASTER
        self.shared = nn.Parameter(torch.full((answers,), start))
        self.prior_log_variance = nn.Parameter(torch.zeros(()))  # -log p_0
        self.prior_mean = nn.Parameter(torch.zeros(outputs))  # mu_0

    def shares(self) -> Tensor:
        """a^2 (M + 1,), in (0, 1): the modalities' in order, then the joint answer's."""
        return (FASTER * self.shared).sigmoid()

    def forward(self, y: Mapping[Modality, Tensor], variance: Mapping[Modality, Tensor]) -> Fused:
        """Fuse y_m (B, d) by mean_k sigma2_m (B,); the last of the own answers is the joint one."""
        h = self.joint(torch.stack([y[m] for m in MODALITIES], dim=1))
        own = torch.stack([*(self.own[m](y[m]) for m in self.present), self.joint_own(h)], dim=1)
        single = torch.stack([variance[m] for m in self.present], dim=1) + LEAST_VARIANCE
        read = (softplus(self.variance_weight) * single.log()).sum(dim=1)
        log_joint = self.joint_log_variance(h)[:, 0] + read
        joint = log_joint.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT).exp() + LEAST_VARIANCE
        own_variance = torch.cat([single, joint[:, None]], dim=1)
        weight = self._weights(own_variance)
        return product(own, own_variance, weight, self.prior_log_variance, self.prior_mean)

    def _weights(self, variance: Tensor) -> Tensor:
        """max(S^-1 1, 0) of (B, M + 1) variances, the inverse by Sherman and Morrison's formula."""
        share, scale = self.shares(), variance.rsqrt()
        common = share.sqrt() / (1 - share)
        pull = (scale @ common) / (1 + (share / (1 - share)).sum())
        return scale * (scale / (1 - share) - pull[:, None] * common).clamp_min(0)
