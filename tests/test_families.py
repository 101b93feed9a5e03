"""Families of degradation: moments, nesting, common random numbers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from protocols.degradation import degrade, keyed_noise
from protocols.effects import EFFECTS
from protocols.missing import as_bools
from protocols.modalities import MODALITIES, Modalities
from protocols.rules import FAMILIES, NOISE_RULES, REWRITING, harmed, is_met
from tests.batches import make_batch, make_dataset

ALL = as_bools(7)
IDS = [f"id{i}" for i in range(400)]
SIGMA = {"text": torch.tensor(0.4), "audio": torch.tensor(1.0), "vision": torch.tensor(2.5)}
NEW = tuple(
    rule for rule in NOISE_RULES if FAMILIES[rule].version is not None and rule not in REWRITING
)
LOSING = ("frames", "blocks")
level = st.floats(0, 1)


def noisy(rule: str, intensity: float, batch: Modalities, mask: int = 7, **kwargs) -> Modalities:
    noise = keyed_noise(rule, 0, "test", IDS[: len(batch)], batch)
    return degrade(batch, intensity, as_bools(mask), noise, SIGMA, **kwargs)


def real_steps(batch: Modalities, m: str) -> list[np.ndarray]:
    """Each sample's real steps, (L, d)."""
    return [x[mask].numpy() for x, mask in zip(batch.features[m], batch.masks[m], strict=True)]


def test_every_rule_is_described_and_has_effects() -> None:
    assert set(FAMILIES) == set(EFFECTS) == set(NOISE_RULES)


@pytest.mark.parametrize("rule", NOISE_RULES)
def test_what_a_rule_spares_is_what_it_has_no_effect_on(rule) -> None:
    family = FAMILIES[rule]
    touched = (
        set() if family.fills else set(EFFECTS[rule]) | ({"text"} if family.rewrites else set())
    )
    assert harmed(rule, MODALITIES) == [m for m in MODALITIES if m in touched]


@pytest.mark.parametrize("m", MODALITIES)
def test_training_meets_what_another_rule_does_alike(m) -> None:
    """Bit for bit, of one draw: two rules that harm a modality in one way give one input."""
    batch = make_batch(20)
    rules = [r for r in NOISE_RULES if m in EFFECTS[r] and not FAMILIES[r].fills]
    found = {rule: noisy(rule, 0.5, batch).features[m] for rule in rules}
    assert all(not torch.equal(changed, batch.features[m]) for changed in found.values())
    for one, other in product(rules, rules):
        assert is_met(one, m, ["fill_noise", other]) == torch.equal(found[one], found[other])
    assert not is_met("words", m, rules)
    assert not is_met("of another version", m, rules)


@pytest.mark.parametrize("rule", NEW)
@given(intensity=level)
@example(intensity=1e-40)  # less than a float32 divides by
@settings(max_examples=15, deadline=None)
def test_only_what_the_rule_is_about_changes(rule, intensity: float) -> None:
    batch = make_batch(20)
    changed = noisy(rule, intensity, batch, centre={m: torch.ones(1) for m in MODALITIES})
    for m in MODALITIES:
        if m not in EFFECTS[rule] or FAMILIES[rule].fills:
            assert torch.equal(changed.features[m], batch.features[m])
        assert torch.isfinite(changed.features[m]).all()


@pytest.mark.parametrize("intensity", [0.1, 0.4, 0.7])
def test_frames_are_lost_at_the_rate_and_text_as_in_the_papers_rule(intensity: float) -> None:
    batch = make_batch(400)
    changed = noisy("frames", intensity, batch)
    for m in MODALITIES:
        lost = (changed.features[m] == 0).all(-1)[batch.masks[m]].float()
        error = (intensity * (1 - intensity) / len(lost)) ** 0.5
        assert abs(lost.mean() - intensity) < 5 * error
        kept = changed.features[m].any(-1)
        assert torch.equal(changed.features[m][kept], batch.features[m][kept])
    assert torch.equal(
        changed.features["text"], noisy("seed_a1", intensity, batch).features["text"]
    )
    audio, vision = ((changed.features[m][:, 0] == 0).all(-1).float() for m in ("audio", "vision"))
    assert abs(torch.corrcoef(torch.stack([audio, vision]))[0, 1]) < 0.25  # lost independently


@given(intensity=level)
@settings(max_examples=30, deadline=None)
def test_a_block_is_one_stretch_of_the_share(intensity: float) -> None:
    batch = make_batch(60)
    changed = noisy("blocks", intensity, batch)
    for m in MODALITIES:
        for before, after in zip(real_steps(batch, m), real_steps(changed, m), strict=True):
            lost = np.flatnonzero((after == 0).all(-1))
            assert len(lost) == int(np.floor(np.float32(intensity) * len(before) + 0.5))
            assert not len(lost) or np.ptp(lost) == len(lost) - 1
            kept = np.setdiff1d(np.arange(len(before)), lost)
            np.testing.assert_array_equal(after[kept], before[kept])


def test_blocks_lie_anywhere() -> None:
    batch = make_batch(400)
    changed = noisy("blocks", 0.5, batch)
    starts = [
        np.flatnonzero((x == 0).all(-1))[0] for x in real_steps(changed, "audio") if len(x) == 9
    ]
    counts = np.bincount(starts, minlength=5)
    assert len(counts) == 5  # 9 steps, 5 lost (4.5 rounds up): it begins at one of 0 to 4
    assert counts.min() > 0.4 * counts.mean()


@pytest.mark.parametrize("rule", LOSING)
@given(low=level, high=level)
@settings(max_examples=30, deadline=None)
def test_what_is_lost_nests_in_the_severity(rule, low: float, high: float) -> None:
    low, high = sorted((low, high))
    batch = make_batch(60)
    weak, strong = noisy(rule, low, batch), noisy(rule, high, batch)
    for m in MODALITIES:
        assert not (strong.features[m].any(-1) & ~weak.features[m].any(-1)).any()


@given(intensity=level)
@settings(max_examples=30, deadline=None)
def test_a_shift_moves_real_steps_and_loses_what_moves_out(intensity: float) -> None:
    batch = make_batch(60)
    changed = noisy("shift", intensity, batch)
    sides = set()
    for m in ("audio", "vision"):
        for before, after in zip(real_steps(batch, m), real_steps(changed, m), strict=True):
            size = len(before)
            by = min(int(np.floor(np.float32(intensity) * size / 2 + 0.5)), size - 1)
            later, earlier = np.zeros_like(before), np.zeros_like(before)
            later[by:], earlier[: size - by] = before[: size - by], before[by:]
            is_later, is_earlier = np.array_equal(after, later), np.array_equal(after, earlier)
            assert is_later or is_earlier
            if by:
                sides.add(is_later)
    assert intensity < 0.5 or sides == {True, False}


def test_a_shift_knows_real_steps_wherever_they_are() -> None:
    """Padding before the real steps, as some packages have it."""
    batch = make_batch(20)
    flipped = Modalities(
        {m: x.flip(1) for m, x in batch.features.items()},
        {m: x.flip(1) for m, x in batch.masks.items()},
        batch.available,
    )
    changed = noisy("shift", 1.0, flipped)
    for m in ("audio", "vision"):
        assert not changed.features[m][~flipped.masks[m]].any()
        for before, after in zip(real_steps(flipped, m), real_steps(changed, m), strict=True):
            by = min((len(before) + 1) // 2, len(before) - 1)
            shifted = [np.zeros_like(before), np.zeros_like(before)]
            shifted[0][by:], shifted[1][: len(before) - by] = (
                before[: len(before) - by],
                before[by:],
            )
            assert any(np.array_equal(after, one) for one in shifted)


@pytest.mark.parametrize("intensity", [0.1, 0.5, 1.0])
def test_impulses_hit_at_the_rate_with_either_sign(intensity: float) -> None:
    batch = make_batch(400)
    changed = noisy("impulse", intensity, batch)
    for m in ("audio", "vision"):
        before, after = batch.features[m][batch.masks[m]], changed.features[m][batch.masks[m]]
        hit = before != after
        assert abs(hit.float().mean() - intensity) < 5 * (0.25 / hit.numel()) ** 0.5
        torch.testing.assert_close(after[hit].abs(), torch.full((int(hit.sum()),), 4.0) * SIGMA[m])
        assert abs((after[hit] > 0).float().mean() - 0.5) < 5 * (0.25 / int(hit.sum())) ** 0.5


def test_impulses_nest_with_their_sign() -> None:
    batch = make_batch(60)
    weak, strong = (noisy("impulse", x, batch).features["audio"] for x in (0.2, 0.6))
    hit = weak != batch.features["audio"]
    assert hit.any()
    assert torch.equal(weak[hit], strong[hit])


@pytest.mark.parametrize("intensity", [0.2, 1.0])
def test_gain_and_offset_are_a_channels_over_the_whole_sample(intensity: float) -> None:
    batch = make_batch(400)
    changed = noisy("gain", intensity, batch)
    gains, offsets = [], []
    for before, after in zip(real_steps(batch, "audio"), real_steps(changed, "audio"), strict=True):
        for old, new in zip(before.T.astype(float), after.T.astype(float), strict=True):
            slope, start = np.polyfit(old, new, 1)
            np.testing.assert_allclose(new, slope * old + start, atol=1e-3)
            gains.append(np.log(slope))
            offsets.append(start)
    count = len(gains) ** 0.5
    assert np.std(gains) == pytest.approx(intensity / 2, rel=4 / count)
    assert np.std(offsets) == pytest.approx(intensity, rel=4 / count)
    assert abs(np.mean(gains)) < 4 * intensity / count
    assert abs(np.corrcoef(gains, offsets)[0, 1]) < 5 / count


@given(intensity=st.floats(0.05, 1))
@settings(max_examples=20, deadline=None)
def test_quantised_values_are_the_nearest_multiples(intensity: float) -> None:
    batch = make_batch(60)
    changed = noisy("quantise", intensity, batch)
    for m in ("audio", "vision"):
        step = 2 * intensity * SIGMA[m].item()
        moved = (changed.features[m] - batch.features[m]).abs().max().item()
        assert moved <= step / 2 * (1 + 1e-5)
        places = changed.features[m] / step
        torch.testing.assert_close(places, places.round(), atol=1e-4, rtol=0)


def test_what_stands_in_for_a_missing_modality() -> None:
    batch = make_batch(400)
    lost, kept = as_bools(2), ("audio",)
    for intensity in (0.3, 0.9):
        filled = noisy("fill_noise", intensity, batch, 2)
        for m in ("text", "vision"):
            values = filled.features[m][batch.masks[m]]
            assert values.std() / SIGMA[m] == pytest.approx(
                intensity, rel=5 / values.numel() ** 0.5
            )
        assert all(torch.equal(filled.features[m], batch.features[m]) for m in kept)
        assert torch.equal(filled.available[0], lost)
    weak, strong = (noisy("fill_noise", x, batch, 0).features["text"] for x in (0.2, 0.6))
    torch.testing.assert_close(3 * weak, strong)


def test_the_mean_is_the_train_mean_of_real_steps() -> None:
    data = make_dataset(sizes=(700, 8, 8))
    train = data.splits["train"].samples
    train.available[::3, 1] = False
    for place, m in enumerate(MODALITIES):
        has = train.available[:, place]
        expected = np.concatenate([x for x, h in zip(real_steps(train, m), has, strict=True) if h])
        np.testing.assert_allclose(data.centre[m], expected.mean(0), atol=1e-6)
    batch = make_batch(8)
    filled = noisy("fill_mean", 0.5, batch, 0, centre=data.centre)
    for m in MODALITIES:
        valid = filled.features[m][batch.masks[m]]
        torch.testing.assert_close(valid, (0.5 * data.centre[m]).expand_as(valid))
    with pytest.raises(ValueError, match="train mean"):
        noisy("fill_mean", 0.5, batch, 0)


@pytest.mark.parametrize("rule", NEW)
def test_a_draw_depends_on_its_key_alone(rule) -> None:
    batch = make_batch(10)

    def drawn(places: list[int], seed: int = 0):
        part = batch.select(torch.tensor(places))
        return keyed_noise(rule, seed, "test", [IDS[i] for i in places], part).drawn

    for m, whole in drawn(list(range(10))).items():
        assert torch.equal(drawn([7, 3])[m], whole[[7, 3]])
        assert not torch.equal(drawn(list(range(10)), seed=1)[m], whole)
    assert FAMILIES[rule].random == bool(drawn([0]))
