"""Probabilistic features and the quality score: Eq. 4, 5 and 6."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import softplus

from qamoe.config import Head


def head(width: int, kind: Head, flags: int = 0) -> nn.Module:
    """A map R^(d + flags) -> R^d: affine, or a two-layer MLP of hidden width d (A3)."""
    if kind == "affine":
        return nn.Linear(width + flags, width)
    return nn.Sequential(nn.Linear(width + flags, width), nn.ReLU(), nn.Linear(width, width))


def quality_score(variance: Tensor) -> Tensor:
    """r_m = 1 / (1 + mean_k sigma2_{m,k}): Eq. 6. (..., d) to (...) in (0, 1)."""
    return 1.0 / (1.0 + variance.mean(dim=-1))


Described = tuple[Tensor, Tensor | None, Tensor | None]
"""mu (..., d), sigma2 (..., d) and r (...); None for what an ablation removes."""


class GaussianFeature(nn.Module):
    """u_m to p(z_m | u_m) = N(mu_m, diag(sigma2_m)) and its quality: Eq. 3-6."""

    def __init__(self, width: int, mu_head: Head, quality_predictor: Head, flags: int = 0) -> None:
        super().__init__()
        self.mu = head(width, mu_head, flags)
        self.pre_variance = head(width, quality_predictor, flags)

    def forward(self, u: Tensor) -> Described:
        """mu (Eq. 4), sigma2 (Eq. 5, positive element by element), r (Eq. 6)."""
        variance = softplus(self.pre_variance(u))
        return self.mu(u), variance, quality_score(variance)


class UngatedFeature(nn.Module):
    """Ablation ``no_gate`` (A27): mu alone; r is 1 and nothing is learned of quality."""

    def __init__(self, width: int, mu_head: Head, flags: int = 0) -> None:
        super().__init__()
        self.mu = head(width, mu_head, flags)

    def forward(self, u: Tensor) -> Described:
        """mu only."""
        return self.mu(u), None, None


class VarianceFreeFeature(nn.Module):
    """Ablation ``no_variance`` (A27): mu, and r = sigmoid(w mu + b) without any sigma2."""

    def __init__(self, width: int, mu_head: Head, flags: int = 0) -> None:
        super().__init__()
        self.mu = head(width, mu_head, flags)
        self.score = nn.Linear(width, 1)

    def forward(self, u: Tensor) -> Described:
        """mu and r."""
        mu = self.mu(u)
        return mu, None, self.score(mu)[..., 0].sigmoid()
