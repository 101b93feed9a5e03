"""SMIL: its numbers, its priors and completion."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.hiding import draw_shown, incomplete_patterns
from baselines.priors import Reservoir, centres_of
from baselines.smil import SMIL
from baselines.smil_config import SMILConfig
from benchmark.interface import DataSpec, count_parameters
from protocols.modalities import MODALITIES
from tests.batches import make_batch, make_spec, with_zeroed

STILL = {"dropout": 0.0, "noise": "off"}


def spec_of(*widths: int) -> DataSpec:
    return DataSpec(
        dict(zip(MODALITIES, widths, strict=True)), dict.fromkeys(MODALITIES, 50), MODALITIES
    )


def make(spec: DataSpec | None = None, **settings: object) -> SMIL:
    """A model whose priors are set."""
    torch.manual_seed(0)
    settings = {"width": 8, "priors": 4, **settings}
    model = SMIL(SMILConfig(**settings), spec or make_spec())  # type: ignore[arg-type]
    nn.init.normal_(model.fusion.centres)
    model.fitted = True
    return model


def size(*parts: nn.Module) -> int:
    return sum(count_parameters(part) for part in parts)


@pytest.mark.parametrize(
    ("audio", "vision", "states", "whole"),
    [(74, 35, (160_128, 26_880, 19_392), 272_095), (5, 20, (160_128, 13_632, 16_512), 255_967)],
)
def test_parameter_counts(audio: int, vision: int, states: tuple[int, ...], whole: int) -> None:
    model = SMIL(SMILConfig(), spec_of(768, audio, vision))
    fusion = model.fusion
    assert tuple(size(model.encoders[m]) for m in MODALITIES) == states
    assert (size(fusion.inner), size(fusion.answer)) == (12_352, 65)
    assert fusion.mixing.numel() + fusion.mixing_bias.numel() == 3 * 1_290
    assert (size(fusion.joint_noise), size(fusion.hidden_noise)) == (37_056, 12_352)
    assert count_parameters(model) == whole


def test_a_state_is_the_grus_at_the_last_real_step() -> None:
    model, batch = make().eval(), make_batch(5)
    for m in MODALITIES:
        found = model.encode(m, batch.features[m], batch.masks[m])["z"]
        for row, (x, mask) in enumerate(zip(batch.features[m], batch.masks[m], strict=True)):
            _, last = model.encoders[m](x[None, : int(mask.sum())])
            torch.testing.assert_close(found[row], last[0, 0])


@pytest.mark.parametrize("keep", range(8))
def test_who_is_there_is_the_harnesss_availability(keep: int) -> None:
    model, batch = make(), with_zeroed(make_batch(4), keep)
    for place, m in enumerate(MODALITIES):
        there = model.encode(m, batch.features[m], batch.masks[m])["there"]
        assert torch.equal(there, batch.available[:, place])


def states(count: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(count, 3, 8, generator=generator)
    there = torch.tensor([[bool(row >> m & 1) for m in range(3)] for row in range(count)])
    return z, there


def test_completion_by_hand() -> None:
    fusion = make().fusion
    z, there = states(8)
    completed = fusion.complete(z, there)
    for row in range(8):
        for m in range(3):
            if there[row, m]:
                assert torch.equal(completed[row, m], z[row, m])
                continue
            others = [j for j in range(3) if j != m]
            u = torch.cat([z[row, j] * float(there[row, j]) for j in others])
            w = F.softplus(u @ fusion.mixing[m] + fusion.mixing_bias[m, 0])
            w = w / w.sum()
            torch.testing.assert_close(completed[row, m], w @ fusion.centres[m])
            torch.testing.assert_close(fusion.weights(z, there)[m, row], w)
            assert (w >= 0).all()
    torch.testing.assert_close(fusion.weights(z, there).sum(-1), torch.ones(3, 8))


def test_what_is_completed_lies_among_the_centres() -> None:
    """In the convex hull: no direction in which it is farther out than every centre."""
    fusion = make().fusion
    z, there = states(8)
    made, directions = fusion.complete(z, torch.zeros_like(there)), torch.randn(8, 200)
    highest = (fusion.centres @ directions).amax(1)  # (M, directions)
    assert ((made @ directions) <= highest + 1e-5).all()


def test_vanishing_weights_do_no_harm() -> None:
    fusion = make().fusion
    nn.init.constant_(fusion.mixing_bias, -200.0)
    z, there = states(8)
    made = fusion.complete(z, torch.zeros_like(there))
    made.sum().backward()
    assert made.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in fusion.parameters())


@pytest.mark.parametrize(("completion", "expected"), [("zero", 0.0), ("mean", None)])
def test_other_completions(completion: str, expected: float | None) -> None:
    fusion = make(completion=completion).fusion
    z, there = states(8)
    made = fusion.complete(z, there)[0]  # nothing there
    want = fusion.centres.mean(1) if expected is None else torch.zeros(3, 8)
    torch.testing.assert_close(made, want)


def inertia(points: Tensor, centres: Tensor) -> float:
    return float(torch.cdist(points, centres).square().amin(1).sum())


@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_priors_are_those_of_another_k_means(spread: float) -> None:
    from sklearn.cluster import KMeans

    generator = torch.Generator().manual_seed(3)
    means = 4.0 * torch.randn(4, 5, generator=generator)
    noise = torch.randn(200, 5, generator=generator)
    points = means[torch.arange(200) % 4] + spread * noise
    other = KMeans(4, n_init=10, random_state=0).fit(points.numpy())
    assert inertia(points, centres_of(points, 4)) <= 1.01 * other.inertia_


def test_centres_do_not_touch_torchs_generator() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    centres_of(torch.ones(20, 3), 4)  # all points alike
    assert torch.equal(torch.rand(3), expected)


def test_too_few_points_give_their_mean_and_none_give_zero() -> None:
    points = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    torch.testing.assert_close(centres_of(points, 3), torch.tensor([[2.0, 4.0]]).expand(3, 2))
    assert torch.equal(centres_of(points[:0], 3), torch.zeros(3, 2))


def test_the_reservoir_keeps_the_first_rows_that_are_there() -> None:
    generator = torch.Generator().manual_seed(0)
    reservoir, kept = Reservoir(2, 5, 3), ([], [])
    for _ in range(4):
        z = torch.randn(3, 2, 3, generator=generator)
        there = torch.rand(3, 2, generator=generator) < 0.6
        reservoir.add(z, there)
        for m in range(2):
            kept[m].extend(z[there[:, m], m])
    for m, rows in enumerate(kept):
        number = min(5, len(rows))
        assert int(reservoir.filled[m]) == number
        assert torch.equal(reservoir.rows[m, :number], torch.stack(rows[:number]))


def test_patterns_hide_something_of_complete_samples_alone() -> None:
    patterns = incomplete_patterns(MODALITIES)
    shown = draw_shown(torch.ones(3000, 3, dtype=torch.bool), patterns)
    counts = shown.unique(dim=0, return_counts=True)[1]
    assert len(counts) == 6
    assert (counts - 500).abs().max() < 100
    partial = torch.tensor([[True, False, True], [False] * 3])
    assert torch.equal(draw_shown(partial, patterns), partial)
    alone = torch.ones(4, 1, dtype=torch.bool)
    assert torch.equal(draw_shown(alone, incomplete_patterns(("text",))[:, :1]), alone)
