"""What SAM-LML puts in place of missing input, and the worse versions of an input."""

from __future__ import annotations

import pytest
import torch

from baselines.input_noise import InputNoise, is_missing
from protocols.modalities import MODALITIES, Modalities
from tests.batches import make_batch, make_spec, with_zeroed


def test_the_spread_is_the_deviation_of_the_real_steps_that_are_there() -> None:
    noise, batch = InputNoise(make_spec()), make_batch(40)
    assert noise.spread("text") == 1.0
    missing = torch.arange(40) % 4 == 0
    features = {m: x.masked_fill(missing[:, None, None], 0.0) for m, x in batch.features.items()}
    noise.observe(Modalities(features, batch.masks, batch.available))
    for m in MODALITIES:
        there = batch.features[m][batch.masks[m] & ~missing[:, None]]
        torch.testing.assert_close(noise.spread(m), there.std(correction=0))
    before = noise.spread("text").clone()
    noise.observe(with_zeroed(batch, 0))  # nothing to learn from
    torch.testing.assert_close(noise.spread("text"), before)


def test_a_missing_sequence_is_filled_with_noise_of_its_spread() -> None:
    noise, batch = InputNoise(make_spec()), make_batch(6)
    noise.moments[MODALITIES.index("audio")] = torch.tensor([10.0, 0.0, 90.0])
    x, mask = batch.features["audio"].clone(), batch.masks["audio"]
    x[2] = 0.0
    noise.eval()
    filled = noise.fill("audio", x, mask)
    assert torch.equal(filled, noise.fill("audio", x, mask))
    assert torch.equal(filled[:2], x[:2])
    torch.testing.assert_close(filled[2, mask[2]], 3.0 * noise.pattern_audio[mask[2]])
    assert not filled[2, ~mask[2]].any()
    noise.train()
    assert not torch.equal(noise.fill("audio", x, mask), noise.fill("audio", x, mask))


def test_worse_versions_of_an_input() -> None:
    torch.manual_seed(0)
    noise, batch = InputNoise(make_spec()), make_batch(200)
    features = dict(batch.features)
    features["vision"] = torch.zeros_like(features["vision"])
    batch = Modalities(features, batch.masks, batch.available)
    perturbed, replaced, chosen = noise.worsen(batch, (0.1, 0.7))
    assert (chosen.sum(1) == 1).all()
    assert not chosen[:, 2].any()  # what is missing cannot get worse
    assert 60 < int(chosen[:, 0].sum()) < 140
    for position, m in enumerate(MODALITIES):
        x, mask = batch.features[m], batch.masks[m]
        where = (chosen[:, position, None] & mask)[..., None].expand_as(x)
        for version in (perturbed, replaced):
            assert torch.equal(version.features[m][~where], x[~where])
            if where.any():
                assert not torch.equal(version.features[m][where], x[where])
    added = (perturbed.features["text"] - batch.features["text"])[chosen[:, 0]]
    assert 0.1 < added[added != 0].std() < 0.7
    assert replaced.features["text"][chosen[:, 0]][added != 0].std() == pytest.approx(1, abs=0.05)


def test_all_missing_is_chosen_nowhere() -> None:
    noise, batch = InputNoise(make_spec()), with_zeroed(make_batch(5), 0)
    assert is_missing(batch.features["text"]).all()
    assert not noise.worsen(batch, (0.1, 0.7))[2].any()
