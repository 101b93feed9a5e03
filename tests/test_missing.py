"""The missing rules: exact weights against brute force, draws against the weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protocols.availability import mask_named, mask_of, name_of, subsets
from protocols.expectation import availability_weights
from protocols.missing import UNIFORMS_PER_SAMPLE, as_masks, draw_availability, share_over_batches
from protocols.modalities import MODALITIES
from protocols.rules import MISSING_RULES

rates = st.floats(0, 1)
PRESENT = [MODALITIES, ("text", "audio"), ("audio", "vision"), ("text",)]


def uniforms(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, UNIFORMS_PER_SAMPLE, generator=generator, dtype=torch.float64)


def test_names_and_masks_are_inverse() -> None:
    assert [name_of(m) for m in range(8)] == ["none", "t", "a", "ta", "v", "tv", "av", "tav"]
    assert [mask_named(name_of(m)) for m in range(8)] == list(range(8))
    assert subsets(("text", "vision")) == (0, 1, 4, 5)
    with pytest.raises(ValueError, match="names no subset"):
        mask_named("x")


@pytest.mark.parametrize("present", PRESENT)
@given(rate=rates)
def test_bernoulli_weights_by_enumeration(present, rate: float) -> None:
    weights = availability_weights("bernoulli", rate, present)
    expected = np.zeros(8)
    for kept in itertools.product([False, True], repeat=len(present)):
        chance = np.prod([1 - rate if k else rate for k in kept])
        expected[mask_of([m for m, k in zip(present, kept, strict=True) if k])] += chance
    np.testing.assert_allclose(weights, expected, atol=1e-12)


@pytest.mark.parametrize("rule", MISSING_RULES)
@given(rate=rates)
def test_weights_are_a_distribution(rule, rate: float) -> None:
    weights = availability_weights(rule, rate, MODALITIES)
    assert weights.min() >= -1e-12
    assert float(weights.sum()) == pytest.approx(1)


@pytest.mark.parametrize("present", PRESENT)
@given(rate=rates)
def test_at_least_one_keeps_one_and_hits_the_rate(present, rate: float) -> None:
    weights = availability_weights("at_least_one", rate, present)
    assert weights[0] == 0
    missing = sum(
        float(w) * (len(present) - m.bit_count()) / len(present) for m, w in enumerate(weights)
    )
    assert missing == pytest.approx(min(rate, (len(present) - 1) / len(present)), abs=1e-9)


def test_imder_fractions_reproduce_the_nominal_rate() -> None:
    for tenth in range(8):
        weights = availability_weights("imder_batch", tenth / 10, MODALITIES)
        missing = sum(float(w) * (3 - m.bit_count()) / 3 for m, w in enumerate(weights))
        assert missing == pytest.approx(min(tenth / 10, 2 / 3), abs=1e-9)
        assert weights[0] == 0
    at_half = availability_weights("imder_batch", 0.5, MODALITIES)
    assert float(at_half[1]) == pytest.approx(0.7 / 3)  # two missing: text alone is left
    assert float(at_half[3]) == pytest.approx(0.1 / 3)
    assert float(at_half[7]) == pytest.approx(0.2)


def test_imder_needs_three_modalities() -> None:
    with pytest.raises(ValueError, match="three modalities"):
        availability_weights("imder_batch", 0.3, ("text", "audio"))
    with pytest.raises(ValueError, match="three modalities"):
        draw_availability("imder_batch", 0.3, uniforms(2), ("text", "audio"))


@pytest.mark.parametrize(
    ("rule", "present"),
    [(r, p) for r in MISSING_RULES for p in PRESENT if r != "imder_batch" or p == MODALITIES],
)
@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.7, 1.0])
def test_draws_follow_the_weights(rule, present, rate: float) -> None:
    count = 20_000
    drawn = as_masks(draw_availability(rule, rate, uniforms(count), present))
    frequency = np.bincount(drawn.numpy(), minlength=8) / count
    expected = availability_weights(rule, rate, present)
    # Five standard errors of a binomial frequency.
    tolerance = 5 * np.sqrt(expected * (1 - expected) / count) + 1e-9
    assert (np.abs(frequency - expected) <= tolerance).all()


@pytest.mark.parametrize("rule", MISSING_RULES)
@given(low=rates, high=rates, seed=st.integers(0, 100))
def test_masks_nest_in_the_rate(rule, low: float, high: float, seed: int) -> None:
    low, high = sorted((low, high))
    u = uniforms(50, seed)
    at_low = draw_availability(rule, low, u, MODALITIES)
    at_high = draw_availability(rule, high, u, MODALITIES)
    assert not (at_high & ~at_low).any()


def test_nothing_is_missing_at_rate_zero_and_rates_may_differ_by_sample() -> None:
    u = uniforms(1000)
    for rule in MISSING_RULES:
        assert draw_availability(rule, 0.0, u, MODALITIES).all()
    rate = torch.cat([torch.zeros(500), torch.ones(500)])
    mixed = draw_availability("bernoulli", rate, u, MODALITIES)
    assert mixed[:500].all()
    assert not mixed[500:].any()


def test_batches_share_their_first_sample() -> None:
    shared = share_over_batches(uniforms(10), 4)
    assert torch.equal(shared[0:4], shared[0].expand(4, -1))
    assert torch.equal(shared[8:], shared[8].expand(2, -1))
    assert not torch.equal(shared[0], shared[4])
    drawn = draw_availability("imder_batch", 0.5, shared, MODALITIES)
    assert (drawn[0:4] == drawn[0]).all()
