"""SMIL's part behind the encoders: missing states completed from priors, noise, and the answer.

A reconstruction, after the official code of Ma et al., "SMIL: Multimodal Learning with Severely
Missing Modality", AAAI 2021, for two modalities.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import dropout
from baselines.smil_config import SMILConfig

_SMALLEST_SUM = 1e-6

Draw = tuple[Tensor, Tensor]
"""Standard Gaussian (B, M h) and (B, h), or zeros: what the noise of the two layers starts from."""


class Fused(NamedTuple):
    """What the fusion gives.

    Attributes:
        joint: (B, M h), the states side by side, with noise.
        hidden: (B, h), the fused layer, with noise.
        answer: (B, out).
        noise: the mean noise of the two, scalars; zeros without.
    """

    joint: Tensor
    hidden: Tensor
    answer: Tensor
    noise: tuple[Tensor, Tensor]


class Fusion(nn.Module):
    """Completes the states of M modalities and reads the answer off them.

    A missing modality's state is a convex combination of its K centres, whose weights are a
    positive function of the other modalities' states, divided by their sum.

    Args:
        config: the model's settings.
        modalities: M, those that the data set has.
        outputs: width of the answer.
    """

    centres: Tensor
    others: Tensor

    def __init__(self, config: SMILConfig, modalities: int, outputs: int) -> None:
        super().__init__()
        self.config = config
        h, wide = config.width, modalities * config.width
        bound = max(1, wide - h) ** -0.5  # as a linear layer's
        mixing = torch.empty(modalities, wide - h, config.priors)
        self.mixing = nn.Parameter(mixing.uniform_(-bound, bound))
        self.mixing_bias = nn.Parameter(
            torch.empty(modalities, 1, config.priors).uniform_(-bound, bound)
        )
        self.inner = nn.Linear(wide, h)
        self.answer = nn.Linear(h, outputs)
        if config.noise != "off":
            self.joint_noise = nn.Linear(wide, wide)
            self.hidden_noise = nn.Linear(wide, h)
        self.register_buffer("centres", torch.zeros(modalities, config.priors, h))
        everyone = range(modalities)
        others = [[j for j in everyone if j != m] for m in everyone]
        self.register_buffer("others", torch.tensor(others, dtype=torch.long), persistent=False)

    def weights(self, z: Tensor, there: Tensor) -> Tensor:
        """(M, B, K) weights of each modality's centres, of (B, M, h) states and who is there."""
        asked = (z * there[..., None])[:, self.others].flatten(2).transpose(0, 1)
        positive = F.softplus(torch.baddbmm(self.mixing_bias, asked, self.mixing))
        return positive / positive.sum(-1, keepdim=True).clamp_min(_SMALLEST_SUM)

    def complete(self, z: Tensor, there: Tensor) -> Tensor:
        """(B, M, h) with something in place of the states that are not (B, M) there."""
        if self.config.completion == "prior":
            made = (self.weights(z, there) @ self.centres).transpose(0, 1)
        elif self.config.completion == "mean":
            made = self.centres.mean(1).expand_as(z)
        else:
            made = torch.zeros_like(z)
        return torch.where(there[..., None], z, made)

    def forward(self, z: Tensor, there: Tensor, draw: Draw | None = None) -> Fused:
        """The answer from (B, M, h) states and which are (B, M) there; no draw, no noise."""
        joint = quiet = self.complete(z, there).flatten(1)
        means = (z.new_zeros(()),) * 2
        if draw is not None:
            noise = F.softplus(self.joint_noise(quiet) + draw[0])
            more = F.softplus(self.hidden_noise(quiet) + draw[1])
            joint, means = self._noisy(quiet, noise), (noise.mean(), more.mean())
        hidden = F.relu(self.inner(joint))
        if draw is not None:
            hidden = self._noisy(hidden, more)
        answer = self.answer(dropout(hidden, self.config.dropout, self.training))
        return Fused(joint, hidden, answer, means)

    def _noisy(self, x: Tensor, noise: Tensor) -> Tensor:
        return x * noise if self.config.noise == "multiplicative" else x + noise
