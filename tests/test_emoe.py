"""EMOE: its numbers, its predictions against a plain reading, its router and its loss."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from baselines.emoe import EMOE
from baselines.emoe_config import EMOEConfig
from baselines.emoe_loss import deserved_weights, distillation_loss, entropy_loss, similarity_loss
from baselines.emoe_router import ORDER, Router
from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.execution.execute import make_model
from benchmark.interface import DataSpec, Progress, count_parameters
from benchmark.plan import PlanConfig, plan_runs
from protocols.modalities import MODALITIES, Modalities
from tests.batches import make_batch, make_spec, with_zeroed
from tests.test_layers import randomise, reference_encode

NOW = Progress(0, 2, 1, 4)
SETTINGS = {
    **{"width": 8, "heads": 2, "layers": 2, "temperature": 1.0},
    **{f"kernel_{m}": 2 for m in MODALITIES},
}
ALIGNED = DataSpec(make_spec().widths, dict.fromkeys(MODALITIES, 6), MODALITIES)


def spec_of(*widths: int) -> DataSpec:
    return DataSpec(
        dict(zip(MODALITIES, widths, strict=True)), dict.fromkeys(MODALITIES, 50), MODALITIES
    )


def make(spec: DataSpec | None = None, **settings: object) -> EMOE:
    torch.manual_seed(0)
    return EMOE(EMOEConfig(**{**SETTINGS, **settings}), spec or make_spec())  # type: ignore[arg-type]


def grads_of(model: EMOE, loss: Tensor) -> set[str]:
    """The names of the parameters that the loss gives a gradient other than zero."""
    model.zero_grad()
    loss.backward()
    return {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def terms_of(model: EMOE, batch: Modalities) -> dict[str, Tensor]:
    return model.training_loss(batch, NOW)[1]


@pytest.mark.parametrize(
    ("settings", "wide", "narrow"),
    [
        ({}, 3_186_340, 3_115_454),
        ({"fusion": "concat"}, 3_449_252, 3_378_366),
        (EMOE.presets["official"].model, 11_290_148, 11_165_502),
        (EMOE.presets["official_mosei"].model, 11_196_452, 11_150_142),
        (
            {
                **EMOE.presets["official_mosei"].model,
                **{"router_input": "flat", "largest_router": 10**9},
            },
            251_464_197,
            207_596_463,
        ),
    ],
)
def test_parameter_counts(settings: dict[str, object], wide: int, narrow: int) -> None:
    for widths, expected in (((768, 74, 35), wide), ((768, 5, 20), narrow)):
        with torch.device("meta"):
            model = EMOE(EMOEConfig(**settings), spec_of(*widths))  # type: ignore[arg-type]
        assert count_parameters(model) == expected


def test_a_flat_router_of_real_data_is_refused_with_its_size() -> None:
    spec = spec_of(768, 74, 35)
    with pytest.raises(ValueError, match=r"240,341,850 weights .* 3\.6 GiB .*=240341850 to have"):
        EMOE(EMOEConfig(router_input="flat"), spec)
    assert (50 * (768 + 74 + 35)) * (50 * (768 + 74 + 35) // 8) == 240_341_850


def test_the_refusal_reaches_the_user_as_advice(data_dir: Path) -> None:
    data = load_dataset("tiny", data_dir)
    model = {"router_input": "flat", "largest_router": 100}
    request = PlanConfig(dataset="tiny", models=("emoe",), seeds=(1,), model=model)
    (spec, *_) = plan_runs(request, data)
    with pytest.raises(BenchmarkError, match=r"emoe cannot be built for tiny .*largest_router="):
        make_model(spec, data)


def reference_head(head: nn.Module, e: Tensor) -> tuple[Tensor, Tensor]:
    p = e + head.outer(head.inner(e).relu())
    return p, head.answer(p)


def reference_weights(model: EMOE, batch: Modalities, flat: bool) -> Tensor:
    """The router's weights for one sample after the other, its first layer as one matrix."""
    router = model.router
    rows = []
    for i in range(len(batch)):
        parts = []
        for m in ORDER:
            x, mask = batch.features[m][i], batch.masks[m][i]
            if not flat:
                parts.append(x[mask].mean(0))
                continue
            if m in router.align:
                x = router.align[m].weight @ x + router.align[m].bias[:, None]
            parts.append(x.flatten())
        first = torch.cat([router.first[m].weight for m in ORDER], 1)
        hidden = first @ torch.cat(parts) + router.first_bias
        hidden = (hidden / hidden.norm()).relu()
        t = router.temperature
        logits = router.second.weight @ hidden / t + router.second.bias / t
        rows.append(logits.exp() / logits.exp().sum())
    return torch.stack(rows)


@pytest.mark.parametrize("fusion", ["sum", "concat"])
@pytest.mark.parametrize("router", ["pooled", "flat"])
@pytest.mark.parametrize("pool", ["last_step", "last_valid"])
@pytest.mark.parametrize("spec", [ALIGNED, make_spec()], ids=["aligned", "unaligned"])
def test_the_model_is_its_reference(spec: DataSpec, pool: str, router: str, fusion: str) -> None:
    model = make(spec, fusion=fusion, router_input=router, pool=pool).eval()
    randomise(model)
    batch = make_batch(4, spec)
    weights = reference_weights(model, batch, router == "flat")
    e = []
    for m in ORDER:
        kernel = model.project[m].weight.permute(2, 0, 1)
        x = nn.functional.conv1d(batch.features[m].transpose(1, 2), kernel)
        x = nn.functional.conv1d(x, model.shared.weight[..., None]).transpose(1, 2)
        steps = reference_encode(model.encoder[m], 0, x)
        last = batch.masks[m].sum(1) - 2 if pool == "last_valid" else torch.full((4,), -1)
        e.append(steps[torch.arange(4), last])
    heads = [reference_head(model.head[m], own) for m, own in zip(ORDER, e, strict=True)]
    scaled = [w[:, None] * own for w, own in zip(weights.T, e, strict=True)]
    mixed = sum(scaled) if fusion == "sum" else 3 * torch.cat(scaled, 1)
    fused, answer = reference_head(model.fused_head, mixed)
    output = model(batch)
    close = {"atol": 2e-5, "rtol": 1e-4}
    torch.testing.assert_close(output.prediction, answer[:, 0], **close)
    torch.testing.assert_close(output.extras["weights"], weights, **close)
    torch.testing.assert_close(output.extras["fused"], fused, **close)
    answers = torch.stack([y for _, y in heads], 1)
    torch.testing.assert_close(output.extras["answers"], answers, **close)
    weighted = [w[:, None] * p for w, (p, _) in zip(weights.T, heads, strict=True)]
    expected = sum(weighted) if fusion == "sum" else torch.cat(weighted, 1)
    torch.testing.assert_close(output.extras["expected"], expected, **close)
    shown = torch.stack([weights[:, ORDER.index(m)] for m in MODALITIES], 1)
    torch.testing.assert_close(output.reliability, shown, **close)


def test_layers_over_time_only_where_steps_differ() -> None:
    assert not make(ALIGNED, router_input="flat").router.align
    assert set(make(router_input="flat").router.align) == {"audio", "vision"}
    assert not make().router.align


def test_an_indifferent_router_gives_equal_weights() -> None:
    model, batch = make(), make_batch(5)
    nn.init.zeros_(model.router.second.weight)
    nn.init.zeros_(model.router.second.bias)
    captured = []
    model.fused_head.register_forward_hook(lambda module, inputs, out: captured.append(inputs[0]))
    model.eval()
    e = [model.encode(m, batch.features[m], batch.masks[m])["e"] for m in MODALITIES]
    weights = model(batch).extras["weights"]
    torch.testing.assert_close(weights, torch.full((5, 3), 1 / 3))
    torch.testing.assert_close(captured[0], torch.stack(e).mean(0))
    assert float(entropy_loss(weights.detach())) == pytest.approx(-3 * math.log(3))


def test_a_sure_router_leaves_one_expert_and_no_entropy() -> None:
    model, batch = make(), make_batch(5)
    model.eval()
    for position, m in enumerate(ORDER):
        nn.init.zeros_(model.router.second.weight)
        model.router.second.bias.data = 200.0 * torch.eye(3)[position]
        output = model(batch)
        e = model.encode(m, batch.features[m], batch.masks[m])["e"]
        torch.testing.assert_close(output.prediction, model.fused_head(e)[1][:, 0])
        assert float(entropy_loss(output.extras["weights"]).detach()) == pytest.approx(0, abs=1e-6)
        assert ((output.reliability > 0) & (output.reliability < 1)).all()


def test_without_a_first_bias_the_scale_of_the_input_does_not_matter() -> None:
    model, batch = make().eval(), make_batch(5)
    nn.init.zeros_(model.router.first_bias)
    louder = Modalities({m: 7 * x for m, x in batch.features.items()}, batch.masks, batch.available)
    torch.testing.assert_close(model(batch).extras["weights"], model(louder).extras["weights"])


def test_a_zero_hidden_vector_has_a_finite_gradient() -> None:
    router = Router(make_spec(), "pooled", 0.1, 1000)
    nn.init.zeros_(router.first_bias)
    shares = torch.zeros(2, router.first_bias.numel(), requires_grad=True)
    router(shares)[:, 0].sum().backward()
    assert shares.grad is not None
    assert shares.grad.isfinite().all()


def test_deserved_weights_and_the_terms_on_the_router_by_hand() -> None:
    torch.testing.assert_close(
        deserved_weights(torch.tensor([[0.0, 0.9, 0.9], [0.4, 0.4, 0.4]])),
        torch.tensor([[10.0, 1.0, 1.0], [4.0, 4.0, 4.0]]) / 12,
    )
    weights = torch.tensor([[0.5, 0.25, 0.25]])
    off = sum(
        (a - b) ** 2 for a, b in zip((10 / 12, 1 / 12, 1 / 12), (0.5, 0.25, 0.25), strict=True)
    )
    found = similarity_loss(weights, torch.tensor([[0.0, 0.9, 0.9]]))
    assert float(found) == pytest.approx(off / 3)
    assert float(entropy_loss(weights)) == pytest.approx(
        3 * (0.5 * math.log(0.5) + 0.5 * math.log(0.25))
    )
    student, teacher = torch.tensor([[0.0, math.log(3)]]), torch.tensor([[0.0, 0.0]])
    assert float(distillation_loss(student, teacher)) == pytest.approx(0.25**2)


def test_each_term_reaches_what_it_should() -> None:
    model, batch = make(), make_batch(9)
    router = {n for n, _ in model.named_parameters() if n.startswith("router.")}
    for term in ("similarity", "entropy"):
        reached = grads_of(model, terms_of(model, batch)[term])
        assert reached <= router
        assert "router.first.text.weight" in reached
    reached = grads_of(model, terms_of(model, batch)["distillation"])
    assert not {n for n in reached if n.startswith("head.")}
    assert {"fused_head.inner.weight", "shared.weight"} <= reached
    assert not {n for n in reached if n.startswith("fused_head.answer")}


@pytest.mark.parametrize(("task", "classes"), [("regression", 1), ("classification", 4)])
def test_the_loss_is_the_weighted_sum_of_its_terms(task: str, classes: int) -> None:
    spec = make_spec(task, classes)  # type: ignore[arg-type]
    model, batch = make(spec, text_dropout=0.0, output_dropout=0.0), make_batch(6, spec)
    output = model(batch)
    total, terms = model.loss(output, batch, NOW)
    y, label = output.extras["answers"], batch.label
    if task == "regression":
        errors = [(y[:, m, 0] - label).abs().mean() for m in range(3)]
        main = (output.prediction - label).abs().mean()
        squared = (y[..., 0] - label[:, None]).square()
    else:
        own = torch.stack([-y[:, m].log_softmax(1)[torch.arange(6), label] for m in range(3)], 1)
        errors, squared = list(own.mean(0)), own
        main = nn.functional.cross_entropy(output.prediction, label)
    torch.testing.assert_close(
        terms["similarity"], similarity_loss(output.extras["weights"], squared)
    )
    torch.testing.assert_close(terms["task"], main)
    expected = main + sum(errors) / 3 + 0.1 * terms["entropy"] + 0.01 * terms["similarity"]
    torch.testing.assert_close(total, expected + 0.1 * terms["distillation"])


def test_branches_share_one_convolution_and_nothing_else() -> None:
    model, batch = make().eval(), make_batch(4)
    reached = {
        m: grads_of(model, model.encode(m, batch.features[m], batch.masks[m])["y"].sum())
        for m in MODALITIES
    }
    for m, names in reached.items():
        assert "shared.weight" in names
        own = {n for n in names if n != "shared.weight"}
        assert all(f".{m}." in n for n in own)


def test_padding_does_not_reach_a_pooled_router() -> None:
    model, batch = make().eval(), make_batch(6)
    other = {
        m: torch.where(batch.masks[m][..., None], x, torch.randn_like(x))
        for m, x in batch.features.items()
    }
    changed = model(Modalities(other, batch.masks, batch.available)).extras["weights"]
    torch.testing.assert_close(model(batch).extras["weights"], changed)


def test_the_router_reads_the_text_before_its_dropout() -> None:
    model, batch = make(text_dropout=0.9).train(), make_batch(6)
    one, two = (model(batch).extras for _ in range(2))
    assert torch.equal(one["weights"], two["weights"])
    assert not torch.equal(one["answers"][:, 0], two["answers"][:, 0])


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_zero_modality_is_one_constant(modality: str) -> None:
    model, batch = make().eval(), with_zeroed(make_batch(5), 0)
    e = model.encode(modality, batch.features[modality], batch.masks[modality])["e"]
    torch.testing.assert_close(e, e[:1].expand_as(e))


def test_a_stream_of_the_width_is_not_projected_and_kernels_are_clipped() -> None:
    spec = DataSpec({"text": 8, "audio": 5, "vision": 1}, {"text": 6, "audio": 3, "vision": 1},
                    ("text", "audio"))  # fmt: skip
    model = make(spec, kernel_text=5, kernel_audio=5)
    assert model.kernels == {"text": 1, "audio": 3, "vision": 1}
    assert not list(model.project["text"].parameters())


def test_width_must_fit_heads() -> None:
    with pytest.raises(ValueError, match="not a multiple of heads"):
        EMOEConfig(width=9, heads=2)
