"""SAM-LML's attention and its orderings, against plain loops."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from baselines.sam_lml import SAMLML
from baselines.supervised_attention import (
    Interaction,
    Member,
    Query,
    degradation_ranking_loss,
    enhancement_loss,
    latent_noise,
    ranking_loss,
)
from tests.sam_lml import make_sam_lml


def parts(model: SAMLML, seed: int = 0) -> tuple[Interaction, Query, Member, Tensor]:
    """An interaction with a query of 5 steps and a member of 7, partly padding; its steps."""
    torch.manual_seed(seed)
    module = model.interactions[0]
    assert isinstance(module, Interaction)
    query, keys = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    asked = torch.arange(5) < torch.tensor([[5], [3], [0]])
    real = torch.arange(7) < torch.tensor([[4], [7], [7]])
    own = module(query, asked, keys, real)
    return (
        module,
        Query(own.queries, module.key(query), asked),
        Member(own.keys, own.logits, real),
        torch.stack([torch.cat([q, k]) for q, k in zip(query, keys, strict=True)]),
    )


def test_attention_is_a_distribution_over_real_keys() -> None:
    module, _, member, _ = parts(make_sam_lml())
    values = torch.zeros(3, 7, 8)
    attended: list[Tensor] = []
    module.norm.register_forward_pre_hook(lambda norm, inputs: attended.append(inputs[0]))
    values[..., 0] = 1.0  # a weighted mean of ones is one exactly when the weights add up to 1
    values[0, 4:, 0] = 1e6  # padding must weigh nothing
    module(torch.randn(3, 5, 8), torch.ones(3, 5, dtype=torch.bool), values, member.counted)
    torch.testing.assert_close(attended[0][..., 0], torch.ones(3, 5))


def test_the_noise_loss_is_the_triple_loop() -> None:
    module, query, member, steps = parts(make_sam_lml())
    noise, at = torch.rand(3, 2, 8), torch.tensor([5, 1])
    values = []
    for b, t, (row, s) in itertools.product(range(3), range(5), enumerate((5, 1))):
        if query.counted[b, t] and member.counted[b, s]:
            q = module.query(steps[b, t])
            noisy = q @ module.key(noise[b, row]) / math.sqrt(8)
            real = q @ module.key(steps[b, 5 + s]) / math.sqrt(8)
            values.append(float(torch.relu(noisy + 0.7 - real).detach()))
    loss = module.noise_loss(query, member, noise, at, 0.7)
    assert float(loss.detach()) == pytest.approx(sum(values) / len(values), rel=1e-4)


def test_descending_the_noise_loss_lowers_noise_below_real() -> None:
    model, noise, at = make_sam_lml(), torch.rand(3, 2, 8), torch.tensor([2, 1])

    def gap() -> float:
        module, query, member, _ = parts(model)
        noisy = query.mapped @ module.key(noise).transpose(1, 2)
        return float((noisy - member.logits[:, :, at])[0].mean().detach())

    before = gap()
    module, query, member, _ = parts(model)
    module.noise_loss(query, member, noise, at, 1.0).backward()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.05 * parameter.grad)
    assert gap() < before


@pytest.mark.parametrize("length", [5, 7])
def test_the_enhancement_loss_is_the_loop_over_the_diagonal(length: int) -> None:
    module, query, member, steps = parts(make_sam_lml())
    member = Member(
        member.mapped[:, :length], member.logits[:, :, :length], member.counted[:, :length]
    )
    values = []
    for b, s in itertools.product(range(3), range(length)):
        t = s * 5 // length
        if query.counted[b, t] and member.counted[b, s]:
            q, x, k = module.query(steps[b, t]), steps[b, t], steps[b, 5 + s]
            logit = q @ module.key(k) / math.sqrt(8)
            enhanced = q @ module.key(0.9 * k + 0.1 * x) / math.sqrt(8)
            values.append(float(torch.relu(logit + 0.5 - enhanced).detach()))
    loss = enhancement_loss(query, member, 0.1, 0.5)
    assert float(loss.detach()) == pytest.approx(sum(values) / len(values), rel=1e-4)


def test_the_ranking_loss_is_the_loop_over_pairs() -> None:
    torch.manual_seed(0)
    scores, errors, noise = torch.randn(6, 3), torch.rand(6, 3), torch.tensor(0.3)
    total = 0.0
    for b in range(6):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            better, worse = (i, j) if errors[b, i] < errors[b, j] else (j, i)
            total += max(0.0, 0.2 - float(scores[b, better] - scores[b, worse])) / 6
        for p in range(3):
            total += max(0.0, 0.3 + 0.2 - float(scores[b, p])) / 6
    assert float(ranking_loss(scores, errors, noise, 0.2)) == pytest.approx(total, rel=1e-5)


def test_ranking_is_satisfied_by_margins_and_raises_the_better_score() -> None:
    errors = torch.tensor([[0.1, 0.5, 0.9]])
    kept = torch.tensor([[0.9, 0.6, 0.3]])
    assert ranking_loss(kept, errors, torch.tensor(0.0), 0.2) == 0
    scores = torch.zeros(1, 3, requires_grad=True)
    ranking_loss(scores, errors, torch.tensor(-1.0), 0.2).backward()
    assert scores.grad is not None
    assert scores.grad[0, 0] < 0 < scores.grad[0, 2]


def test_the_degradation_ranking_is_the_loop_over_affected_interactions() -> None:
    torch.manual_seed(0)
    clean, perturbed, noise = torch.randn(3, 5, 3).unbind()
    affected = torch.rand(5, 3) < 0.6
    total = 0.0
    for b, p in itertools.product(range(5), range(3)):
        if affected[b, p]:
            total += max(0.0, 0.1 - float(clean[b, p] - perturbed[b, p])) / 5
            total += max(0.0, 0.1 - float(perturbed[b, p] - noise[b, p])) / 5
    loss = degradation_ranking_loss(clean, perturbed, noise, affected.float(), 0.1)
    assert float(loss) == pytest.approx(total, rel=1e-5)
    falling = torch.tensor([[0.5]]), torch.tensor([[0.3]]), torch.tensor([[0.1]])
    assert degradation_ranking_loss(*falling, torch.ones(1, 1), 0.1) == 0


@pytest.mark.parametrize("kind", ["uniform01", "gaussian_std"])
def test_latent_noise(kind: str) -> None:
    torch.manual_seed(0)
    like = torch.randn(8, 500, 2) * torch.tensor([3.0, 0.5]) + 7
    noise = latent_noise(kind, (8, 500, 2), like)  # type: ignore[arg-type]
    if kind == "uniform01":
        assert noise.min() >= 0
        assert noise.max() <= 1
        torch.testing.assert_close(noise.mean(), torch.tensor(0.5), atol=0.02, rtol=0)
    else:
        expected = torch.tensor([3.0, 0.5])
        torch.testing.assert_close(noise.flatten(0, 1).std(0), expected, atol=0, rtol=0.05)
