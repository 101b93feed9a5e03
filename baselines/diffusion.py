"""Score-based diffusion with a variance-exploding equation: its noise, and samplers that undo it.

Song et al. "Score-Based Generative Modeling through Stochastic Differential Equations", ICLR 2021,
with the constant of the official code of IMDer (Wang, Li, Cui, NeurIPS 2023). At time u in [0, 1]
a value has noise of deviation s(u) on it, and a score network says where less of it lies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SIGMA = 25.0
LAST_TIME = 1e-3
_LOG = math.log(SIGMA)


def deviation(time: Tensor) -> Tensor:
    """s(u), the standard deviation of the noise at each time: sqrt((25^(2u) - 1) / (2 ln 25))."""
    return (torch.expm1(2 * _LOG * time) / (2 * _LOG)).sqrt()


def time_of(deviations: Tensor) -> Tensor:
    """u, the inverse of :func:`deviation`."""
    return torch.log1p(2 * _LOG * deviations.square()) / (2 * _LOG)


@dataclass(frozen=True)
class Step:
    """One step of a sampler: mean = x + gain score(x, u), then x = mean + spread noise.

    Attributes:
        time: u.
        deviation: s(u).
        gain: of the score.
        spread: of the noise that follows.
    """

    time: float
    deviation: float
    gain: float
    spread: float


def uniform_steps(count: int) -> list[Step]:
    """Euler and Maruyama's steps, equally spaced in time from 1 to 0.001 (IMDer's official code).

    With g(u) = 25^u and D between two times the gain is g^2 D and the spread g sqrt(D). The last
    gain is 10 times the last variance at 100 steps, which few of them do not bear.
    """
    times = torch.linspace(1.0, LAST_TIME, count, dtype=torch.float64)
    between = float(times[0] - times[1])
    return [
        Step(u, float(s), SIGMA ** (2 * u) * between, SIGMA**u * math.sqrt(between))
        for u, s in zip(times.tolist(), deviation(times), strict=True)
    ]


def geometric_steps(count: int) -> list[Step]:
    """Ancestral steps, the deviations equally spaced in their logarithm from s(1) to s(0.001).

    From a deviation s to the next, t, the gain is s^2 - t^2 and the spread sqrt(gain) t / s; the
    last step is to t = 0 (Song et al. 2021, appendix F). A gain is never more than the variance.
    """
    ends = deviation(torch.tensor([1.0, LAST_TIME], dtype=torch.float64)).log()
    scales = torch.linspace(float(ends[0]), float(ends[1]), count, dtype=torch.float64).exp()
    following = [*scales.tolist()[1:], 0.0]
    return [
        Step(u, s, s**2 - t**2, math.sqrt(s**2 - t**2) * t / s)
        for u, s, t in zip(time_of(scales).tolist(), scales.tolist(), following, strict=True)
    ]


Score = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(x, times, condition) -> the score of x."""


@torch.no_grad()
def sample(
    score: Score, steps: Sequence[Step], condition: Tensor, noise: Callable[[int], Tensor]
) -> Tensor:
    """Draw what belongs to a condition: the last step's mean, before its noise.

    The condition too is seen with noise of the time's deviation, fresh at each step (IMDer).

    Args:
        score: see :data:`Score`; times come as a tensor of one, for all samples.
        steps: of the sampler.
        condition: (B, L, d); the result has its shape.
        noise: number -> standard normal noise that broadcasts to this shape. 0 is the start, 1 to
            K are the conditions' of K steps, K + 1 to 2K what follows the steps.
    """
    x = (steps[0].deviation * noise(0)).expand(condition.shape)
    mean = x
    for number, step in enumerate(steps, 1):
        seen = condition + step.deviation * noise(number)
        mean = x + step.gain * score(x, torch.full((1,), step.time, device=x.device), seen)
        if number < len(steps):
            x = mean + step.spread * noise(len(steps) + number)
    return mean


def score_error(score: Score, truth: Tensor, condition: Tensor) -> Tensor:
    """J, the denoising error of a score: (B,) sums over a sample's values.

    Each sample is at a time u of its own, uniform in (1e-5, 1); the same noise n is on the truth
    and on the condition: |s(u) score(truth + s(u) n, u, condition + s(u) n) + n|^2. A score of 0
    has one for each value on average. The draws are from torch's global generator.

    Args:
        score: see :data:`Score`; times come one for each sample.
        truth: (B, L, d).
        condition: (B, L, d).
    """
    time = torch.rand(len(truth), device=truth.device) * (1 - 1e-5) + 1e-5
    noise, scale = torch.randn_like(truth), deviation(time)[:, None, None]
    found = score(truth + scale * noise, time, condition + scale * noise)
    return (scale * found + noise).square().sum((1, 2))
