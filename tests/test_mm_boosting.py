"""MM-Boosting: its numbers, its predictions against a plain reading, who is taught by what."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.boosting_loss import (
    complementary_weights,
    deserved_scores,
    deserved_shares,
    learner_losses,
)
from baselines.mm_boosting import MMBoosting
from baselines.mm_boosting_config import MMBoostingConfig
from benchmark.interface import DataSpec, Progress, count_parameters
from protocols.modalities import MODALITIES, Modalities
from tests.batches import make_batch, make_spec, with_zeroed
from tests.test_layers import randomise, reference_encode

WARM_UP, LATER = Progress(0, 20, 1, 4), Progress(5, 20, 1, 4)


def spec_of(*widths: int) -> DataSpec:
    return DataSpec(
        dict(zip(MODALITIES, widths, strict=True)), dict.fromkeys(MODALITIES, 50), MODALITIES
    )


def make(spec: DataSpec | None = None, **settings: object) -> MMBoosting:
    torch.manual_seed(0)
    settings = {"width": 8, "heads": 2, "layers": 2, **settings}
    return MMBoosting(MMBoostingConfig(**settings), spec or make_spec())  # type: ignore[arg-type]


def size(*parts: nn.Module) -> int:
    return sum(count_parameters(part) for part in parts)


@pytest.mark.parametrize(
    ("widths", "front", "expected"),
    [((768, 74, 35), 837_700, 918_908), ((768, 5, 20), 812_500, 893_708)],
)
def test_parameter_counts(widths: tuple[int, ...], front: int, expected: int) -> None:
    model = MMBoosting(MMBoostingConfig(), spec_of(*widths))
    assert size(model.front) == front
    unimodal = [part[m] for m in MODALITIES for part in (model.hidden, model.answer)]
    assert size(*unimodal) == 30_603
    assert size(model.hidden["multimodal"], model.answer["multimodal"]) == 30_201
    assert size(model.score) == 20_404
    assert count_parameters(model) == expected
    apart = MMBoosting(MMBoostingConfig(share_encoders=False), spec_of(*widths))
    assert count_parameters(apart) == expected + front


def reference_answers(model: MMBoosting, batch: Modalities) -> tuple[Tensor, Tensor]:
    """y (B, 4) and c (B, 4), each sample on its own, by torch's own convolution and attention."""
    h = []
    for m in MODALITIES:
        front, rows = model.front[m], []
        for x, mask in zip(batch.features[m], batch.masks[m], strict=True):
            if m == "text":
                steps = front.project(x)
            else:
                kernel = front.project.weight.permute(2, 0, 1)
                steps = F.conv1d(x.T[None], kernel, padding=1).transpose(1, 2)
                steps = reference_encode(front.encoder, 0, steps)[0]
            rows.append(steps[: int(mask.sum())].sum(0) / max(int(mask.sum()), 1))
        h.append(torch.stack(rows))
    y, c = [], []
    for k, own in zip((*MODALITIES, "multimodal"), (*h, torch.cat(h, 1)), strict=True):
        r = model.hidden[k](own).relu()
        y.append(model.answer[k](r))
        c.append(model.score[k](r).sigmoid())
    return torch.cat(y, 1), torch.cat(c, 1)


@pytest.mark.parametrize("normalise", ["ratio", "softmax"])
def test_the_model_is_its_reference(normalise: str) -> None:
    model, batch = make(normalise=normalise).eval(), make_batch(4)
    randomise(model)
    y, c = reference_answers(model, batch)
    w = (c + 0.001) / (c + 0.001).sum(1, keepdim=True) if normalise == "ratio" else c.softmax(1)
    output = model(batch)
    torch.testing.assert_close(output.extras["answers"][..., 0], y, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(output.prediction, (w * y).sum(1), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(output.reliability, c[:, :3], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("keep", range(8))
def test_a_prediction_lies_between_the_learners(keep: int) -> None:
    model = make().eval()
    randomise(model)
    output = model(with_zeroed(make_batch(9), keep))
    y = output.extras["answers"][..., 0]
    assert (output.prediction >= y.amin(1) - 1e-6).all()
    assert (output.prediction <= y.amax(1) + 1e-6).all()


def test_equal_and_vanishing_scores_give_the_mean() -> None:
    batch = make_batch(5)
    for last, settings in ((0.3, {}), (-80.0, {}), (None, {"ablation": "no_gate"})):
        model = make(**settings).eval()
        randomise(model)
        if last is not None:
            for score in model.score.values():
                nn.init.zeros_(score[2].weight)
                nn.init.constant_(score[2].bias, last)
        output = model(batch)
        torch.testing.assert_close(output.prediction, output.extras["answers"].mean(1)[:, 0])
        assert (output.reliability > 0).all()


def test_the_twin_without_a_gate_starts_from_the_same_weights() -> None:
    one, other = make(), make(ablation="no_gate")
    for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def parts(model: MMBoosting, term: Tensor) -> set[str]:
    """Where a term's gradient goes."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return {n.split(".")[0] for n, g in zip(names, found, strict=True) if g is not None and g.any()}


@pytest.mark.parametrize("now", [WARM_UP, LATER])
def test_scores_and_learners_are_taught_apart(now: Progress) -> None:
    model, batch = make(), make_batch(7)
    _, terms = model.training_loss(batch, now)
    assert parts(model, terms["contribution"]) == {"score"}
    learners = {"front", "hidden", "answer"}
    assert parts(model, terms["task"]) == learners
    assert parts(model, terms["learner_text"]) == learners


def test_attention_lets_the_task_teach_the_scores() -> None:
    model, batch = make(contribution_grad=True), make_batch(7)
    _, terms = model.training_loss(batch, LATER)
    assert parts(model, terms["task"]) == {"front", "hidden", "answer", "score"}
    assert parts(model, terms["contribution"]) == {"score"}


def by_hand(losses: Tensor) -> Tensor:
    """The complementary weights, one number at a time."""
    size, learners = losses.shape
    weights = torch.empty_like(losses)
    for k in range(learners):
        others = [j for j in range(learners) if j != k]
        s = [sum(float(losses[i, j]) for j in others) / len(others) for i in range(size)]
        mean = max(sum(s) / size, 1e-6)
        v = [min(max(x / mean, 0.5), 2.0) for x in s]
        weights[:, k] = torch.tensor([x / (sum(v) / size) for x in v])
    return weights


def test_complementary_weights_by_hand() -> None:
    losses = torch.rand(9, 4, generator=torch.Generator().manual_seed(0)) ** 4
    weights, cut = complementary_weights(losses)
    torch.testing.assert_close(weights, by_hand(losses))
    torch.testing.assert_close(weights.mean(0), torch.ones(4))
    assert 0 < float(cut) < 1
    even, none = complementary_weights(1.0 + 0.1 * losses)  # nothing to cut
    assert float(none) == 0.0
    torch.testing.assert_close(even.mean(0), torch.ones(4))


@pytest.mark.parametrize("losses", [torch.zeros(5, 4), torch.rand(1, 4), torch.rand(5, 1),
                                    torch.full((5, 4), 1e-9)])  # fmt: skip
def test_where_there_is_nothing_to_compare_weights_are_one(losses: Tensor) -> None:
    torch.testing.assert_close(complementary_weights(losses)[0], torch.ones_like(losses))


def test_a_weight_follows_the_others_errors_and_not_the_learners_own() -> None:
    losses = torch.full((6, 4), 0.5)
    others_wrong, own_wrong = losses.clone(), losses.clone()
    others_wrong[2, 1:] = 0.8
    own_wrong[2, 0] = 3.0
    before, after = complementary_weights(losses)[0], complementary_weights(others_wrong)[0]
    assert after[2, 0] > before[2, 0]
    torch.testing.assert_close(complementary_weights(own_wrong)[0][:, 0], before[:, 0])


def test_the_loss_is_the_sum_of_its_terms() -> None:
    model, batch = make(contribution_weight=0.4, temperature=0.7, dropout=0.0), make_batch(7)
    assert batch.label is not None
    output = model(batch)
    y, c = output.extras["answers"][..., 0].detach(), output.extras["scores"].detach()
    losses = (y - batch.label[:, None]).abs()
    contribution = (c - (-losses / 0.7).exp()).square().mean()
    for now, prediction, weights in (
        (WARM_UP, y.mean(1), torch.ones(7, 4)),
        (LATER, output.prediction.detach(), by_hand(losses)),
    ):
        expected = (
            (prediction - batch.label).abs().mean()
            + sum((weights[:, k] * losses[:, k]).mean() for k in range(4))
            + 0.4 * contribution
        )
        torch.testing.assert_close(model.loss(output, batch, now)[0].detach(), expected)
    plain = make(complementary=False, dropout=0.0)
    _, terms = plain.loss(output, batch, LATER)
    own = torch.stack([terms[f"learner_{k}"] for k in plain.learners])
    torch.testing.assert_close(own.detach(), losses.mean(0))


@pytest.mark.parametrize(("epochs", "warm"), [(30, 3), (5, 1), (2, 1), (1, 0)])
def test_the_warm_up_is_a_tenth(epochs: int, warm: int) -> None:
    model, batch = make(), make_batch(7)
    found = 0
    for epoch in range(epochs):
        _, terms = model.training_loss(batch, Progress(epoch, epochs, 0, 1))
        found += float(terms["cut"]) == 0.0
    assert found == warm


def test_relative_scores_are_shares() -> None:
    model, batch = make(target="relative"), make_batch(6)
    scores = model(batch).extras["scores"]
    torch.testing.assert_close(scores.sum(1), torch.ones(6))
    losses = torch.tensor([[0.0, 0.5, 1.0]])
    expected = torch.tensor([[1.0, 0.36788, 0.13534]]) / 1.50322
    torch.testing.assert_close(deserved_shares(losses, 0.5), expected, atol=1e-5, rtol=0)


def test_of_classes_a_score_learns_the_probability_of_the_true_one() -> None:
    spec = make_spec("classification", 4)
    model, batch = make(spec).eval(), make_batch(6, spec)
    output = model(batch)
    logs, c = output.extras["answers"], output.extras["scores"]
    torch.testing.assert_close(logs.exp().sum(2), torch.ones(6, 4))
    deserved = deserved_scores(learner_losses(logs, batch.label, "classification"), 1.0)
    picked = logs.softmax(2)[torch.arange(6), :, batch.label]
    torch.testing.assert_close(deserved, picked)
    w = (c + 0.001) / (c + 0.001).sum(1, keepdim=True)
    torch.testing.assert_close(output.prediction, (w[..., None] * logs).sum(1))


def test_a_noise_modality_loses_its_score() -> None:
    """Audio is the label, vision is noise: their learners' scores say so after 200 steps."""
    spec = replace(make_spec(), widths={"text": 2, "audio": 2, "vision": 2})
    model = make(spec, layers=1, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)

    def drawn(count: int) -> Modalities:
        batch = make_batch(count, spec, int(torch.randint(10**6, (), generator=generator)))
        label = torch.randn(count, generator=generator)
        audio = label[:, None, None] * batch.masks["audio"][..., None].float().expand(-1, -1, 2)
        return replace(batch, features={**batch.features, "audio": audio}, label=label)

    for _ in range(200):
        optimizer.zero_grad()
        model.training_loss(drawn(16), LATER)[0].backward()
        optimizer.step()
    scores = model.eval()(drawn(100)).reliability.mean(0)
    assert scores[1] > scores[0] + 0.2
    assert scores[1] > scores[2] + 0.2


@pytest.mark.parametrize("learners", ["all", "unimodal", "multimodal"])
@pytest.mark.parametrize("present", [("text", "audio"), ("text",)])
def test_learners_follow_the_data(learners: str, present: tuple) -> None:
    spec = make_spec(present=present)
    if learners == "multimodal" and len(present) == 1:
        with pytest.raises(ValueError, match="two modalities"):
            make(spec, learners=learners)
        return
    model, batch = make(spec, learners=learners).eval(), make_batch(5, spec)
    joint = ("multimodal",) if learners != "unimodal" and len(present) > 1 else ()
    assert model.learners == ((*present, *joint) if learners != "multimodal" else joint)
    output = model(batch)
    assert output.extras["scores"].shape == (5, len(model.learners))
    assert (output.reliability[:, 2] == 0.5).all()
    model.training_loss(batch, LATER)[0].backward()


def test_of_one_length_all_samples_without_modalities_are_alike() -> None:
    model, batch = make().eval(), with_zeroed(make_batch(6), 0)
    randomise(model)
    everything = {m: torch.ones_like(mask) for m, mask in batch.masks.items()}
    y = model(replace(batch, masks=everything)).extras["answers"]
    torch.testing.assert_close(y, y[:1].expand_as(y))
