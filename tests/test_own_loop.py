"""``protocols.degrade`` in somebody's training loop: the benchmark's corruption, bit for bit."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from protocols import degrade
from protocols.modalities import MODALITIES
from protocols.regimes import Regime
from protocols.training import degrade_training_batch
from tests.batches import make_batch, make_spec

SIGMA = {m: torch.ones(()) for m in MODALITIES}


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain(size: int = 200) -> dict[str, torch.Tensor]:
    return dict(make_batch(size, make_spec()).features)


@pytest.mark.parametrize(
    ("regime", "levels"),
    [
        ({"kind": "noise", "intensity": 0.4}, {"intensity": 0.4}),
        ({"kind": "missing", "rate": 0.3}, {"missing": 0.3}),
    ],
)
def test_it_is_what_runs_are_trained_under(regime, levels) -> None:
    batch = make_batch(40, make_spec())
    ours = degrade_training_batch(batch, Regime(**regime), generator(), SIGMA, MODALITIES)
    theirs = degrade(batch, **levels, generator=generator())
    assert torch.equal(ours.available, theirs.available)
    for m in MODALITIES:
        assert torch.equal(ours.features[m], theirs.features[m])


def test_plain_tensors_are_treated_alike() -> None:
    batch = make_batch(40, make_spec())
    whole = degrade(batch, intensity=0.5, missing=0.3, generator=generator())
    tensors = degrade(dict(batch.features), intensity=0.5, missing=0.3, generator=generator())
    for m in MODALITIES:
        assert torch.equal(whole.features[m], tensors[m])


def test_levels_mean_what_they_say() -> None:
    batch = plain(2000)
    before = {m: x.clone() for m, x in batch.items()}
    lost = degrade(batch, missing=0.3, generator=generator())
    for m, x in lost.items():
        share = (x == 0).all(-1).all(-1).float().mean()
        assert share.item() == pytest.approx(0.3, abs=0.04)  # 4 standard errors
        assert torch.equal(batch[m], before[m])
    noisy = degrade(batch, intensity=0.5, generator=generator())
    real = (batch["audio"] != 0).any(-1)
    added = (noisy["audio"] - batch["audio"])[real]
    assert added.std().item() == pytest.approx(0.5, rel=0.02)
    assert not (noisy["audio"] - batch["audio"])[~real].any()
    words = (batch["text"] != 0).any(-1)
    kept = (noisy["text"] != 0).any(-1)[words].float().mean()
    assert kept.item() == pytest.approx(0.5, abs=0.03)
    twice = degrade(batch, intensity=0.5, generator=generator(), sigma_ref={"audio": 2.0})
    assert torch.allclose((twice["audio"] - batch["audio"])[real], 2 * added, atol=1e-5)


def test_levels_of_each_sample() -> None:
    batch = plain(6)
    rate = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    lost = degrade(batch, missing=rate, generator=generator())
    for m, x in lost.items():
        assert torch.equal(x[::2], batch[m][::2])
        assert not x[1::2].any()
    noisy = degrade(batch, intensity=1 - rate, generator=generator())
    assert torch.equal(noisy["vision"][1::2], batch["vision"][1::2])


def test_the_seed_is_torchs_where_no_generator_is_given() -> None:
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(degrade(plain(20), intensity=0.5)["audio"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_one_modality_alone() -> None:
    audio = plain(500)["audio"]
    found = degrade({"audio": audio}, missing=0.5, missing_rule="bernoulli", generator=generator())
    assert list(found) == ["audio"]
    share = (found["audio"] == 0).all(-1).all(-1).float().mean()
    assert share.item() == pytest.approx(0.5, abs=0.09)


def test_what_is_no_batch() -> None:
    text = torch.ones(2, 3, 4)
    for said, arguments in (
        ("some of text", ({"speech": text}, {})),
        ("some of text", ({}, {})),
        ("must be", ({"text": text[0]}, {})),
        ("must be", ({"text": text, "audio": text[:1]}, {})),
        ("rate from 0 to 1", ({"text": text}, {"missing": 1.5})),
        ("at least 0", ({"text": text}, {"intensity": -1})),
    ):
        with pytest.raises(ValueError, match=said):
            degrade(arguments[0], **arguments[1])
    with pytest.raises(TypeError):
        degrade({"text": text}, 0.3)  # levels are never told apart by their places


def test_the_package_alone_loads_no_torch() -> None:
    code = "import sys, protocols; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
