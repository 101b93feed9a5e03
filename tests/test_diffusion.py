"""The diffusion's noise and samplers against closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from baselines.diffusion import (
    deviation,
    geometric_steps,
    sample,
    score_error,
    time_of,
    uniform_steps,
)


def test_deviations_at_the_ends() -> None:
    found = deviation(torch.tensor([1.0, 1e-3], dtype=torch.float64))
    assert found.tolist() == pytest.approx([9.845214, 0.0316737], rel=1e-5)
    torch.testing.assert_close(time_of(found).float(), torch.tensor([1.0, 1e-3]))


def test_the_uniform_steps_are_the_published_ones() -> None:
    steps = uniform_steps(100)
    assert [steps[0].time, steps[-1].time] == pytest.approx([1.0, 0.001])
    between = 0.999 / 99
    for step in (steps[0], steps[40], steps[-1]):
        assert step.gain == pytest.approx(25 ** (2 * step.time) * between)
        assert step.spread == pytest.approx(25**step.time * between**0.5)
        assert step.deviation == pytest.approx(float(deviation(torch.tensor(step.time))), rel=1e-5)
    assert steps[0].gain == pytest.approx(6.3, abs=0.05)
    assert steps[-1].gain / steps[-1].deviation ** 2 == pytest.approx(10, abs=0.2)


def test_geometric_gains_never_exceed_the_variance() -> None:
    steps = geometric_steps(20)
    ratios = [b.deviation / a.deviation for a, b in pairwise(steps)]
    assert ratios == pytest.approx([ratios[0]] * 19)
    assert all(step.gain <= step.deviation**2 for step in steps)
    assert steps[-1].gain == steps[-1].deviation ** 2
    assert steps[-1].spread == 0


@pytest.mark.parametrize(
    ("make", "count", "spread", "wanted"),
    [
        (uniform_steps, 100, 1.0, 0.99),
        (uniform_steps, 100, 0.5, 0.485),
        (uniform_steps, 100, 0.2, 0.16),
        (geometric_steps, 20, 0.5, 0.43),
        (geometric_steps, 20, 0.0, 0.0),
    ],
)
def test_samples_by_the_exact_score_of_a_normal(make, count, spread, wanted) -> None:
    torch.manual_seed(0)
    condition = torch.zeros(400, 8, 8)

    def score(x: Tensor, time: Tensor, seen: Tensor) -> Tensor:
        return (0.7 - x) / (spread**2 + deviation(time) ** 2)

    drawn = sample(score, make(count), condition, lambda _: torch.randn_like(condition))
    assert drawn.mean() == pytest.approx(0.7, abs=0.03)
    assert drawn.std() == pytest.approx(wanted, abs=0.03)


def test_the_condition_is_seen_with_fresh_noise_of_the_times_deviation() -> None:
    steps, seen = geometric_steps(3), []

    def score(x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        seen.append(condition)
        return torch.zeros_like(x)

    noise = torch.randn(7, 4, 2)
    condition = torch.randn(5, 4, 2)
    drawn = sample(score, steps, condition, lambda number: noise[number])
    for number, step in enumerate(steps):
        torch.testing.assert_close(seen[number], condition + step.deviation * noise[number + 1])
    expected = steps[0].deviation * noise[0] + steps[0].spread * noise[4]
    expected = expected + steps[1].spread * noise[5]  # a score of 0: the sum of the noise
    torch.testing.assert_close(drawn, expected.expand(5, 4, 2))


def test_the_denoising_error_of_no_score_is_the_size_of_a_stream() -> None:
    torch.manual_seed(0)
    stream = torch.randn(500, 48, 32)
    found = score_error(lambda x, u, c: torch.zeros_like(x), stream, stream)
    assert found.shape == (500,)
    assert found.mean() == pytest.approx(1536, rel=0.01)


def test_the_exact_score_has_no_denoising_error() -> None:
    """Truth and condition have the same noise on them, of the same deviation."""
    torch.manual_seed(0)
    truth, condition = torch.randn(2, 50, 8, 4)

    def exact(x: Tensor, time: Tensor, seen: Tensor) -> Tensor:
        assert time.min() > 0
        assert len(time.unique()) == 50
        variance = deviation(time)[:, None, None] ** 2
        torch.testing.assert_close(x - truth, seen - condition, atol=1e-5, rtol=1e-4)
        return (truth - x) / variance

    assert score_error(exact, truth, condition).max() < 0.01
    assert math.isclose(float(deviation(torch.tensor(0.5))) ** 2, 24 / (2 * math.log(25)),
                        rel_tol=1e-5)  # fmt: skip
