"""MoMKE: its experts against explicit layers, its mixture by closed forms, its two stages."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.momke import EXPERTS, MoMKE, MoMKEConfig
from baselines.momke_experts import ExpertStacks
from benchmark.interface import DataSpec, Progress, count_parameters
from protocols.modalities import MODALITIES, Modalities
from tests.batches import make_batch, make_spec, with_zeroed
from tests.test_lmf import lengthened

NOW = Progress(0, 2, 0, 4)
LENGTHS_50 = dict.fromkeys(MODALITIES, 50)


def make(spec: DataSpec | None = None, **settings: object) -> MoMKE:
    torch.manual_seed(0)
    small = {"width": 8, "layers": 2, **settings}
    return MoMKE(MoMKEConfig(**small), spec or make_spec())  # type: ignore[arg-type]


def has_gradient(parameters) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in parameters)


@pytest.mark.parametrize(
    ("width", "audio", "vision", "expected"),
    [
        (128, 74, 35, 1_302_669),
        (128, 5, 20, 1_291_917),
        (256, 74, 35, 4_964_621),
        (256, 5, 20, 4_943_117),
    ],
)
def test_parameter_counts(width: int, audio: int, vision: int, expected: int) -> None:
    spec = DataSpec({"text": 768, "audio": audio, "vision": vision}, LENGTHS_50, MODALITIES)
    assert count_parameters(MoMKE(MoMKEConfig(width=width), spec)) == expected


def explicit(stacks: ExpertStacks, expert: int, x: Tensor, valid: Tensor) -> Tensor:
    """One stack over one (T, d) sequence, head by head and step by step."""
    heads, width = stacks.heads, x.shape[1] // stacks.heads
    for layer in range(stacks.projection.shape[1]):
        q, k, v = (
            x @ stacks.projection[expert, layer] + stacks.projection_bias[expert, layer]
        ).chunk(3, 1)
        mixed = torch.zeros_like(x)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            for step in range(len(x)):
                scores = (q[step, part] / math.sqrt(width)) @ k[valid][:, part].T
                if len(scores):
                    mixed[step, part] = scores.softmax(0) @ v[valid][:, part]
        hidden = F.gelu(mixed @ stacks.inner[expert, layer] + stacks.inner_bias[expert, layer])
        outer = hidden @ stacks.outer[expert, layer] + stacks.outer_bias[expert, layer]
        x = x + mixed + outer
    return x


def test_the_stacks_are_explicit_attention_over_the_valid_steps() -> None:
    torch.manual_seed(0)
    stacks = ExpertStacks(3, 8, heads=2, layers=3, rate=0.5).eval()
    x, valid = torch.randn(4, 5, 8), torch.rand(4, 5) < 0.6
    valid[1], valid[2] = True, False  # everything; nothing
    together = stacks(x, valid)
    for expert in range(3):
        for sample in range(4):
            expected = explicit(stacks, expert, x[sample], valid[sample])
            torch.testing.assert_close(together[expert, sample], expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(stacks(x, valid, slice(1, 2))[0], together[1])


def test_attention_over_one_valid_step_is_its_value() -> None:
    torch.manual_seed(0)
    stacks = ExpertStacks(1, 8, heads=2, layers=1, rate=0.0)
    torch.nn.init.zeros_(stacks.outer)
    torch.nn.init.zeros_(stacks.outer_bias)
    x, valid = torch.randn(3, 4, 8), torch.zeros(3, 4, dtype=torch.bool)
    valid[:, 2] = True
    v = x[:, 2] @ stacks.projection[0, 0, :, 16:] + stacks.projection_bias[0, 0, :, 16:]
    torch.testing.assert_close(stacks(x, valid)[0], x + v[:, None])


def test_without_a_valid_step_nothing_is_nan() -> None:
    stacks = ExpertStacks(2, 8, heads=2, layers=4, rate=0.0)
    x = torch.randn(3, 4, 8, requires_grad=True)
    out = stacks(x, torch.zeros(3, 4, dtype=torch.bool))
    out.sum().backward()
    assert out.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in stacks.parameters())


def own_means(model: MoMKE, batch: Modalities) -> dict[str, Tensor]:
    """x_m of the first stage: modality -> (3, B, d) stream means after each expert."""
    means = {}
    for m in MODALITIES:
        x = model.experts(model.enter[m](batch.features[m]), batch.masks[m])
        weight = batch.masks[m].float()[..., None]
        means[m] = (x * weight).sum(2) / weight.sum(1)
    return means


def test_a_router_of_zeros_gives_the_mean_of_the_experts() -> None:
    model, batch = make().eval(), make_batch(5)
    for m in MODALITIES:
        torch.nn.init.zeros_(model.router_out[m].weight)
        torch.nn.init.zeros_(model.router_out[m].bias)
    output = model(batch)
    torch.testing.assert_close(output.routing, torch.full((5, 3, 3), 1 / 3))
    for m, means in own_means(model, batch).items():
        torch.testing.assert_close(output.extras["z"][m], means.mean(0))


def test_equal_experts_make_any_router_the_single_expert() -> None:
    model, batch = make().eval(), make_batch(5)
    for parameter in model.experts.parameters():
        parameter.data[:] = parameter.data[:1].clone()
    for m, means in own_means(model, batch).items():
        torch.testing.assert_close(model(batch).extras["z"][m], means[0])


@pytest.mark.parametrize("favourite", EXPERTS)
def test_a_router_that_is_sure_gives_its_expert_and_says_so(favourite) -> None:
    model, batch = make().eval(), make_batch(5)
    number = EXPERTS.index(favourite)
    torch.nn.init.constant_(model.router_out["text"].bias[number : number + 1], 1e3)
    output = model(batch)
    torch.testing.assert_close(output.extras["z"]["text"], own_means(model, batch)["text"][number])
    chosen = torch.eye(3)[MODALITIES.index(favourite)].expand(5, 3)
    torch.testing.assert_close(output.routing[:, 0], chosen)


@pytest.mark.parametrize("missing", range(3))
def test_a_missing_modality_leaves_zeros_and_the_others_alone(missing: int) -> None:
    model, batch = make().eval(), make_batch(5)
    full = model(batch).extras["z"]
    left = model(with_zeroed(batch, 0b111 & ~(1 << missing))).extras["z"]
    for place, m in enumerate(MODALITIES):
        assert torch.equal(left[m], torch.zeros_like(full[m]) if place == missing else full[m])


def test_with_everything_missing_the_answer_is_that_of_the_biases() -> None:
    model = make().eval()
    expected = model.answer(F.relu(model.head.bias))
    prediction = model(with_zeroed(make_batch(4), 0)).prediction
    torch.testing.assert_close(prediction, expected.expand(4))


def test_the_first_stage_is_the_experts_losses_over_who_has_the_modality() -> None:
    model, batch = make(dropout=0.0), make_batch(6)
    features = {m: x.clone() for m, x in batch.features.items()}
    features["text"][:2] = 0.0
    features["audio"][:] = 0.0
    total, terms = model.experts_loss(replace(batch, features=features), NOW)
    means = own_means(model, batch)
    for m, keep in (("text", slice(2, 6)), ("vision", slice(0, 6))):
        answer = model.own_answer[m](means[m][EXPERTS.index(m)])[:, 0]
        expected = (answer - batch.label)[keep].square().mean()
        torch.testing.assert_close(terms[m], expected)
    assert terms["audio"].item() == 0.0
    torch.testing.assert_close(total, terms["text"] + terms["vision"])
    total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_each_stage_reaches_its_own_part() -> None:
    model, batch = make(), make_batch(9)
    own = list(model.own_answer.parameters())
    joint = [*model.router_in.parameters(), *model.router_out.parameters()]
    joint += [*model.head.parameters(), *model.answer.parameters()]
    model.experts_loss(batch, NOW)[0].backward()
    assert has_gradient(own)
    assert not has_gradient(joint)
    model.zero_grad()
    model.training_loss(batch, NOW)[0].backward()
    assert has_gradient(joint)
    assert not has_gradient(own)


def test_an_experts_loss_trains_that_expert_alone() -> None:
    model = make()
    model.experts_loss(with_zeroed(make_batch(6), 0b001), NOW)[0].backward()  # text only
    for parameter in model.experts.parameters():
        assert parameter.grad is not None
        trained = parameter.grad.flatten(1).any(1).tolist()
        assert trained == [m == "text" for m in EXPERTS]


def test_the_stages_share_the_epochs_and_together_train_everything() -> None:
    model = make(expert_share=0.3)
    active = [
        [phase.name for phase in model.phases() if phase.active(Progress(epoch, 10, 0, 1))]
        for epoch in range(10)
    ]
    assert active == [["experts"]] * 3 + [["mixing"]] * 7
    assert model.first_selectable(10) == 3
    assert model.first_selectable(1) == 0
    trained = {id(p) for phase in model.phases() for p in phase.groups[0]["params"]}
    assert trained == {id(p) for p in model.parameters()}


@pytest.mark.parametrize("sequence", ["token", "utterance"])
def test_padding_changes_nothing(sequence: str) -> None:
    model, batch = make(sequence=sequence).eval(), make_batch(6)
    filled = {m: torch.where(batch.masks[m][..., None], x, 7.0) for m, x in batch.features.items()}
    for other in (lengthened(batch), replace(batch, features=filled)):
        output, expected = model(other), model(batch)
        torch.testing.assert_close(output.prediction, expected.prediction, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(output.routing, expected.routing, atol=1e-6, rtol=1e-5)


def test_clips_of_one_step_make_the_two_sequences_one() -> None:
    batch = make_batch(5)
    first = {m: torch.arange(x.shape[1]) == 0 for m, x in batch.features.items()}
    masks = {m: first[m].expand(5, -1) for m in MODALITIES}
    features = {m: x * first[m][:, None] for m, x in batch.features.items()}
    short = replace(batch, features=features, masks=masks)
    token, utterance = make().eval(), make(sequence="utterance").eval()
    torch.testing.assert_close(token(short).prediction, utterance(short).prediction)
