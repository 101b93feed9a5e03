"""The degradation operator: its moments, what it leaves alone, common random numbers."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.degradation import degrade, fresh_noise, keyed_noise
from protocols.draws import NO_NOISE, drawn, missing_uniforms
from protocols.missing import as_bools, draw_incomplete
from protocols.modalities import MODALITIES, Modalities
from protocols.regimes import Regime
from protocols.rules import FAMILIES, NOISE_RULES
from protocols.training import degrade_training_batch, degrade_validation_split
from tests.batches import make_batch, make_dataset, make_spec

ALL = as_bools(7)
IDS = [f"id{i}" for i in range(400)]
CENTRE = {m: torch.full((width,), 0.5) for m, width in make_spec().widths.items()}
SIGMA = {"text": torch.tensor(0.4), "audio": torch.tensor(1.0), "vision": torch.tensor(2.5)}


def same_bits(a: Modalities, b: Modalities) -> bool:
    return all(
        torch.equal(a.features[m].view(torch.int32), b.features[m].view(torch.int32))
        for m in MODALITIES
    )


@pytest.mark.parametrize("rule", NOISE_RULES)
def test_nothing_happens_at_zero(rule) -> None:
    batch = make_batch(50)
    batch.features["audio"][0, 0, 0] = -0.0  # adding zero would flip this sign
    noise = keyed_noise(rule, 0, "test", IDS[:50], batch)
    assert same_bits(degrade(batch, 0.0, ALL, noise, SIGMA, CENTRE), batch)
    assert same_bits(degrade(batch, torch.zeros(50), ALL, noise, SIGMA, CENTRE), batch)


@pytest.mark.parametrize("level", [0.1, 0.3, 0.7, 1.0])
def test_moments(level: float) -> None:
    batch = make_batch(400)
    for rule in ("seed_a1", "gaussian_all", "gaussian_av"):
        noise = keyed_noise(rule, 0, "test", IDS, batch)
        degraded = degrade(batch, level, ALL, noise, SIGMA)
        for m in MODALITIES:
            valid = batch.masks[m]
            residual = (degraded.features[m] - batch.features[m])[valid]
            gaussian = m != "text" or rule == "gaussian_all"
            if gaussian:
                count = residual.numel()
                assert residual.std() / SIGMA[m] == pytest.approx(level, rel=5 / count**0.5)
                assert abs(residual.mean() / SIGMA[m]) < 5 * level / count**0.5
            elif rule == "seed_a1":
                zero_rows = (degraded.features[m][valid] == 0).all(-1).float()
                error = (level * (1 - level) / len(zero_rows)) ** 0.5
                assert abs(zero_rows.mean() - level) <= 5 * error + 1e-9
            else:
                assert not residual.any()


@pytest.mark.parametrize("rule", NOISE_RULES)
@given(level=st.floats(0, 1), mask=st.integers(0, 7))
@settings(max_examples=25)
def test_padding_stays_zero_and_missing_is_zero(rule, level: float, mask: int) -> None:
    batch = make_batch(30)
    noise = keyed_noise(rule, 1, "test", IDS[:30], batch)
    degraded = degrade(batch, level, as_bools(mask), noise, SIGMA, CENTRE)
    for position, m in enumerate(MODALITIES):
        assert not degraded.features[m][~batch.masks[m]].any()
        assert torch.equal(degraded.masks[m], batch.masks[m])
        available = bool(mask >> position & 1)
        assert (degraded.available[:, position] == available).all()
        filled = FAMILIES[rule].fills and level > 0
        assert available or filled or not degraded.features[m].any()


@given(low=st.floats(0, 1), high=st.floats(0, 1))
@settings(max_examples=25)
def test_dropped_tokens_nest_in_the_intensity(low: float, high: float) -> None:
    low, high = sorted((low, high))
    batch = make_batch(30)
    noise = keyed_noise("seed_a1", 0, "test", IDS[:30], batch)
    weak = degrade(batch, low, ALL, noise, SIGMA).features["text"].any(-1)
    strong = degrade(batch, high, ALL, noise, SIGMA).features["text"].any(-1)
    assert not (strong & ~weak).any()


def test_noise_is_one_draw_scaled() -> None:
    batch = make_batch(20)
    noise = keyed_noise("seed_a1", 0, "test", IDS[:20], batch)
    residuals = [
        degrade(batch, level, ALL, noise, SIGMA).features["audio"] - batch.features["audio"]
        for level in (0.2, 0.6)
    ]
    torch.testing.assert_close(residuals[0] * 3, residuals[1], atol=1e-5, rtol=1e-5)


def test_draws_depend_on_their_key_alone() -> None:
    def noise(ids=IDS[:10], draw=0, split="test", modality="audio", purpose="gaussian"):
        return drawn("normal", (9, 5), (draw, split, modality, purpose), ids)

    full = noise()
    assert torch.equal(noise(IDS[4:6]), full[4:6])
    assert torch.equal(noise(IDS[:10][::-1]), full.flip(0))
    others = [
        noise(draw=1),
        noise(split="valid"),
        noise(modality="vision"),
        noise(purpose="fill"),
        noise(IDS[10:20]),
    ]
    for other in others:
        correlation = torch.corrcoef(torch.stack([full.flatten(), other.flatten()]))[0, 1]
        assert abs(correlation) < 0.25
    token = drawn("uniform", (6,), (0, "test", "text", "token"), IDS)
    assert not torch.equal(token[:, :4], missing_uniforms(0, "test", IDS))


def test_what_is_already_missing_stays_missing() -> None:
    batch = make_batch(4)
    natural = degrade(batch, 0.0, as_bools(6), NO_NOISE, SIGMA)
    again = degrade(
        natural, 0.5, ALL, keyed_noise("gaussian_all", 0, "test", IDS[:4], batch), SIGMA
    )
    assert not again.features["text"].any()
    assert not again.available[:, 0].any()


def test_clean_training_leaves_the_batch_alone() -> None:
    batch = make_batch(8)
    generator = torch.Generator().manual_seed(0)
    assert (
        degrade_training_batch(batch, Regime(kind="clean"), generator, SIGMA, MODALITIES) is batch
    )


def test_spectrum_training_covers_the_spectrum() -> None:
    batch = make_batch(64)
    generator = torch.Generator().manual_seed(0)
    regime = Regime(kind="spectrum")
    missing, dropped = [], []
    for _ in range(400):
        degraded = degrade_training_batch(batch, regime, generator, SIGMA, MODALITIES)
        missing.append(1 - degraded.available.float().mean())
        kept = degraded.available[:, 0][:, None] & batch.masks["text"]
        if kept.any():
            dropped.append((~degraded.features["text"].any(-1))[kept].float().mean())
    for rates in (torch.stack(missing), torch.stack(dropped)):
        assert rates.mean() == pytest.approx(0.5, abs=0.08)  # U(0, 1) per batch, not per sample
        assert rates.std() == pytest.approx(12**-0.5, abs=0.05)


@pytest.mark.parametrize("rule", ["bernoulli", "at_least_one", "imder_batch"])
def test_missing_training_hits_the_rate_without_noise(rule) -> None:
    batch = make_batch(64)
    generator = torch.Generator().manual_seed(0)
    regime = Regime(kind="missing", rate=0.3, missing_rule=rule)
    rates = []
    for _ in range(300):
        degraded = degrade_training_batch(batch, regime, generator, SIGMA, MODALITIES)
        rates.append(1 - degraded.available.float().mean())
        here = degraded.available[:, 1]
        assert torch.equal(degraded.features["audio"][here], batch.features["audio"][here])
    assert torch.stack(rates).mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("present", [MODALITIES, ("text", "vision"), ("audio",)])
def test_released_training_has_each_incomplete_pattern_alike(present) -> None:
    uniforms = (torch.arange(60_000) + 0.5)[:, None].expand(-1, 4) / 60_000
    available = draw_incomplete(0.1, uniforms, present)
    counts: dict[tuple[bool, ...], int] = {}
    for row in available.tolist():
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    there = tuple(m in present for m in MODALITIES)
    patterns = {
        p for p in itertools.product([False, True], repeat=3)
        if any(p) and p != there and not any(x and not y for x, y in zip(p, there, strict=True))
    }  # fmt: skip
    expected = dict.fromkeys(patterns, 6_000 / max(1, len(patterns)))
    assert counts == {**expected, there: 54_000 if patterns else 60_000}


def test_released_training_is_at_one_level() -> None:
    batch = make_batch(64)
    generator = torch.Generator().manual_seed(0)
    errors, dropped, complete = [], [], []
    for _ in range(300):
        degraded = degrade_training_batch(
            batch, Regime(kind="released"), generator, SIGMA, MODALITIES
        )
        audio = degraded.available[:, 1][:, None] & batch.masks["audio"]
        errors.append((degraded.features["audio"] - batch.features["audio"])[audio].std())
        text = degraded.available[:, 0][:, None] & batch.masks["text"]
        dropped.append((~degraded.features["text"].any(-1))[text].float().mean())
        complete.append(degraded.available.all(1).float().mean())
    assert torch.stack(errors).mean() == pytest.approx(0.1, rel=0.02)
    assert torch.stack(dropped).mean() == pytest.approx(0.1, abs=0.01)
    assert torch.stack(complete).mean() == pytest.approx(0.9, abs=0.01)


def test_validation_corruption_is_fixed_and_spread() -> None:
    split = make_dataset(sizes=(10, 400, 10)).splits["valid"]
    arguments = (split.samples, split.sample_ids, Regime(kind="spectrum"), SIGMA, MODALITIES, 16)
    first, second = (degrade_validation_split(*arguments) for _ in range(2))
    assert same_bits(first, second)
    assert 1 - first.available.float().mean() == pytest.approx(0.5, abs=0.06)


def test_fresh_noise_follows_its_generator() -> None:
    batch = make_batch(4)
    one, two = (
        fresh_noise("gaussian_all", batch, torch.Generator().manual_seed(s)) for s in (1, 2)
    )
    again = fresh_noise("gaussian_all", batch, torch.Generator().manual_seed(1))
    assert torch.equal(one.drawn["text"], again.drawn["text"])
    assert not torch.equal(one.drawn["text"], two.drawn["text"])


@pytest.mark.parametrize(
    "settings",
    [{"kind": "foggy"}, {"rate": 1.5}, {"noise_rule": "x"}, {"missing_rule": "y"}, {"scope": "z"}],
)
def test_a_regime_refuses_what_does_not_exist(settings) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Regime(**settings)
