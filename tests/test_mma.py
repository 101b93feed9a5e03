"""MMA-lite: its layer against a plain reading, router, adapters, and where it could fail."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from baselines.adapters import STREAMS, AdapterLayer, Adapters, Router, Source
from baselines.mma import MMA, MMAConfig
from benchmark.contract_cases import mixed
from benchmark.interface import DataSpec, Progress, count_parameters
from protocols.modalities import MODALITIES, Modalities
from tests.batches import make_batch, make_spec, with_zeroed
from tests.test_layers import randomise

NOW = Progress(0, 2, 1, 4)
E, H = 12, 3


def spec_of(*widths: int) -> DataSpec:
    return DataSpec(
        dict(zip(MODALITIES, widths, strict=True)), dict.fromkeys(MODALITIES, 50), MODALITIES
    )


def make(spec: DataSpec | None = None, **settings: object) -> MMA:
    torch.manual_seed(0)
    settings = {"width": E, "heads": H, "rank": 4, **settings}
    return MMA(MMAConfig(**settings), spec or make_spec())  # type: ignore[arg-type]


def make_layer(top_k: int = 3, norm_eps: float = 1e-5) -> AdapterLayer:
    torch.manual_seed(0)
    sources = {"audio": (5, 9), "vision": (7, 4)}
    layer = AdapterLayer(E, H, sources, 4, top_k, 0.1, 0.2, norm_eps)  # type: ignore[arg-type]
    randomise(layer)
    return layer.eval()


def inputs(layer: AdapterLayer, batch: Modalities) -> tuple[Tensor, Tensor, list[Source]]:
    sources = [layer.source(m, batch.features[m], batch.masks[m]) for m in STREAMS[1:]]
    return batch.features["text"], batch.masks["text"], sources


@pytest.mark.parametrize(
    ("preset", "widths", "expected"),
    [
        ("paper", (768, 74, 35), 716_177),
        ("paper", (768, 5, 20), 651_665),
        ("official", (768, 74, 35), 15_417_105),
        ("official", (768, 5, 20), 15_030_033),
    ],
)
def test_parameter_counts(preset: str, widths: tuple[int, ...], expected: int) -> None:
    with torch.device("meta"):
        model = MMA(MMAConfig(**MMA.presets[preset].model), spec_of(*widths))
    assert count_parameters(model) == expected


@pytest.mark.parametrize(("widths", "expected"), [((74, 35), 563_144), ((5, 20), 369_608)])
def test_parameters_of_a_block_at_berts_width(widths: tuple[int, int], expected: int) -> None:
    sources = {m: (d, 50) for m, d in zip(STREAMS[1:], widths, strict=True)}
    with torch.device("meta"):
        layer = AdapterLayer(768, 12, sources, 32, 3, 0.1, 0.2, 1e-12)
    parts = (layer.experts, layer.convert, layer.router)
    assert sum(map(count_parameters, parts)) == expected


def test_how_adapters_and_head_start() -> None:
    torch.manual_seed(0)
    model = MMA(MMAConfig(), spec_of(768, 74, 35))
    adapters = model.layers[0].experts
    for weight in (adapters.down, adapters.up):
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert not any(b.any() for b in (adapters.down_bias, adapters.up_bias, adapters.shift))
    assert torch.equal(adapters.scale.detach(), torch.ones(6))
    assert float(model.head[2].weight.detach().std()) == pytest.approx((2 / 256) ** 0.5, rel=0.05)


def expert(adapters: Adapters, number: int, x: Tensor) -> Tensor:
    """One adapter of one vector, times 32 / rank."""
    normal = nn.functional.layer_norm(x, x.shape, adapters.gain[number], adapters.shift[number])
    hidden = (normal @ adapters.down[number] + adapters.down_bias[number]).relu()
    out = hidden @ adapters.up[number] + adapters.up_bias[number]
    return 32 / adapters.down.shape[-1] * adapters.scale[number] * out


def reference_attention(t: Tensor, keys: Tensor, real: Tensor) -> Tensor:
    """One state's (e,) parameter-free attention over (S, e) keys, head by head."""
    heads = []
    for q, k in zip(t.chunk(H), keys.chunk(H, -1), strict=True):
        scores = (k @ q / math.sqrt(len(t))).masked_fill(~real, -1e20)
        heads.append(scores.softmax(0) @ k)
    return torch.cat(heads)


def transformer(layer: AdapterLayer) -> nn.TransformerEncoderLayer:
    """torch's post-norm layer with the same weights."""
    eps = layer.norm_1.eps
    whole = nn.TransformerEncoderLayer(
        E, H, 4 * E, activation="gelu", batch_first=True, layer_norm_eps=eps
    ).eval()
    pairs = {
        "self_attn.in_proj_weight": layer.projection.weight,
        "self_attn.in_proj_bias": layer.projection.bias,
        **{f"self_attn.out_proj.{n}": p for n, p in layer.output.named_parameters()},
        **{f"linear1.{n}": p for n, p in layer.inner.named_parameters()},
        **{f"linear2.{n}": p for n, p in layer.outer.named_parameters()},
        **{f"norm1.{n}": p for n, p in layer.norm_1.named_parameters()},
        **{f"norm2.{n}": p for n, p in layer.norm_2.named_parameters()},
    }
    whole.load_state_dict({name: p.detach() for name, p in pairs.items()})
    return whole


@pytest.mark.parametrize("top_k", [1, 3, 6])
def test_the_layer_is_its_reference(top_k: int) -> None:
    layer, batch = make_layer(top_k), make_batch(4)
    x, mask, sources = inputs(layer, batch)
    whole = transformer(layer)
    attended, _ = whole.self_attn(x, x, x, key_padding_mask=~mask, need_weights=False)
    t = whole.norm1(x + attended)
    plain = whole.norm2(t + whole.linear2(nn.functional.gelu(whole.linear1(t))))
    expected, used, mean = plain.clone(), torch.zeros(6), torch.zeros(6)
    for i in range(4):
        converted = {}
        for m in STREAMS[1:]:
            weight = layer.convert[m].taps.weight.permute(2, 0, 1)
            out = nn.functional.conv1d(batch.features[m][i].T[None], weight, layer.convert[m].bias)
            converted[m] = (out[0].T, batch.masks[m][i][: out.shape[2]])
        for step, state in enumerate(t[i]):
            three = [state] + [state + reference_attention(state, *converted[m]) for m in converted]
            stack = torch.stack(three)
            shared = (stack @ stack.T / math.sqrt(E)).softmax(-1) @ stack
            logits = layer.router.score(shared).flatten()
            best = logits.argsort(descending=True)[:top_k]
            for number, weight in zip(best.tolist(), logits[best].softmax(0), strict=True):
                expected[i, step] += weight * expert(layer.experts, number, three[number // 2])
            used[best] += 1 / mask.numel()
            mean += logits.softmax(0) / mask.numel()
    out, balance = layer(x, mask, sources)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(balance, 2 * (used * mean).sum())
    assert float(used.sum()) == pytest.approx(top_k, abs=1e-5)


def test_without_adapters_it_is_torchs_layer() -> None:
    layer, batch = make_layer(norm_eps=1e-12), make_batch(5)
    with torch.no_grad():
        layer.experts.scale.zero_()
    x, mask, sources = inputs(layer, batch)
    expected = transformer(layer)(x, src_key_padding_mask=~mask)
    found, _ = layer(x, mask, sources)
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("top_k", [1, 3, 6])
def test_even_probabilities_cost_a_third_for_each_chosen(top_k: int) -> None:
    router = Router(E, top_k)
    with torch.no_grad():
        for p in router.parameters():
            p.zero_()
    weights, balance = router(torch.randn(3, 4, 7, E))
    assert balance.item() == pytest.approx(top_k / 3)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 7))
    assert ((weights > 0).sum(-1) == top_k).all()


def test_what_the_router_gives_where_all_are_chosen() -> None:
    streams = torch.randn(3, 4, 7, E)
    router = Router(E, 6)
    torch.nn.init.normal_(router.score.weight)
    weights, balance = router(streams)
    torch.testing.assert_close(balance, torch.tensor(2.0))  # each is used, and they sum to 1
    router.top_k = 1
    best, _ = router(streams)
    assert torch.equal(best.argmax(-1), weights.argmax(-1))
    torch.testing.assert_close(best.amax(-1), torch.ones(4, 7))


def test_the_shares_of_use_have_no_gradient() -> None:
    router, streams = Router(E, 3), torch.randn(3, 4, 7, E)
    nn.init.normal_(router.score.weight)
    weights, balance = router(streams)
    used = (weights > 0).float().mean((0, 1))
    router.top_k = 6
    probabilities, _ = router(streams)
    expected = 2 * (used * probabilities.mean((0, 1))).sum()
    parameters = list(router.parameters())
    for one, other in zip(
        torch.autograd.grad(balance, parameters),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def one_hot_read(rows: list[int], real: list[bool], state: int, scale: float) -> Tensor:
    """x_m of one-hot keys, which the convolution passes on as they are, for a one-hot state."""
    layer = make_layer()
    layer.heads = 1
    convert = layer.convert["vision"]
    with torch.no_grad():
        convert.bias.zero_()
        convert.taps.weight = nn.Parameter(torch.eye(E)[:, None])
    features = torch.eye(E)[rows][None]
    source = layer.source("vision", features, torch.tensor([real]))
    return layer.read(scale * torch.eye(E)[[state]][None], source)[0, 0]


def test_scores_are_divided_by_the_root_of_the_whole_width() -> None:
    found = one_hot_read([0, 1], [True, True], state=0, scale=3.0)
    score = math.exp(3.0 / math.sqrt(E))
    expected = torch.zeros(E)
    expected[0], expected[1] = 3.0 + score / (score + 1), 1 / (score + 1)
    torch.testing.assert_close(found, expected)


def test_what_can_be_attended_to() -> None:
    found = one_hot_read([0, 1, 2], [False, True, False], state=0, scale=3.0)
    torch.testing.assert_close(found, torch.eye(E)[1] + 3.0 * torch.eye(E)[0])
    found = one_hot_read([0, 1], [False, False], state=0, scale=3.0)
    torch.testing.assert_close(found, 0.5 * torch.eye(E)[1] + 3.5 * torch.eye(E)[0])


def test_zero_audio_adds_the_convolutions_bias_to_all_states() -> None:
    layer, t = make_layer(), torch.randn(2, 6, E)
    nothing = torch.zeros(2, 9, 5), torch.ones(2, 9, dtype=torch.bool)
    source = layer.source("audio", *nothing)
    torch.testing.assert_close(layer.read(t, source), t + layer.convert["audio"].bias)
    with torch.no_grad():
        layer.convert["audio"].bias.zero_()
    torch.testing.assert_close(layer.read(t, layer.source("audio", *nothing)), t)


def test_one_streams_adapters_cannot_be_swapped_alone() -> None:
    """The router's one layer scores all three streams."""
    layer = make_layer()
    x, mask, sources = inputs(layer, make_batch(5))
    before, _ = layer(x, mask, sources)

    def swap(streams: int) -> Tensor:
        order = torch.arange(6).view(3, 2)
        order[:streams] = order[:streams].flip(1)
        with torch.no_grad():
            for p in layer.experts.parameters():
                p.copy_(p[order.flatten()])
        return layer(x, mask, sources)[0]

    with torch.no_grad():
        for p in layer.router.score.parameters():
            p.copy_(p.flip(0))
    torch.testing.assert_close(swap(3), before)
    assert not torch.allclose(swap(1), before, atol=1e-3)


def test_padding_does_not_matter() -> None:
    """Beyond what a window reads past the last real step."""
    spec = replace(make_spec(), lengths={"text": 6, "audio": 12, "vision": 12})
    model, batch = make(spec).eval(), make_batch(5, spec)
    other = {}
    for m, x in batch.features.items():
        past = 0 if m == "text" else 2
        lengths = batch.masks[m].sum(1, keepdim=True) + past
        behind = torch.arange(x.shape[1]) >= lengths
        other[m] = torch.where(behind[..., None], x + 5.0, x)
        assert behind.any()
    changed = model(replace(batch, features=other)).prediction
    torch.testing.assert_close(model(batch).prediction, changed)


def test_a_prediction_is_a_samples_own() -> None:
    for pool in ("masked_mean", "cls"):
        model, batch = make(pool=pool).eval(), make_batch(6)
        alone = torch.cat([model(batch.select(slice(i, i + 1))).prediction for i in range(6)])
        torch.testing.assert_close(model(batch).prediction, alone, atol=1e-5, rtol=1e-5)


def test_the_loss_is_the_sum_of_its_terms() -> None:
    model, batch = make(balance_weight=0.5).eval(), make_batch(6)
    output = model(batch)
    loss, _ = model.loss(output, batch, NOW)
    x, balances = model.enter(batch.features["text"]), []
    for layer in model.layers:
        _, mask, sources = inputs(layer, batch)
        x, balance = layer(x, mask, sources)
        balances.append(balance)
    expected = (output.prediction - batch.label).abs().mean() + 0.5 * sum(balances) / 2
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("norm_eps", [1e-5, 1e-12])
@pytest.mark.parametrize("case", [*range(8), "mixed"])
def test_gradients_are_bounded_at_the_start(case: int | str, norm_eps: float) -> None:
    """Text as wide as the layers has no layer of its own: a zero text stays zero."""
    model, batch = make(norm_eps=norm_eps), make_batch(8)
    assert isinstance(model.enter, nn.Identity)
    degraded = mixed(batch) if isinstance(case, str) else with_zeroed(batch, case)
    model.training_loss(degraded, NOW)[0].backward()
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    assert float(torch.stack(norms).norm()) < 1000


def test_text_of_another_width_enters_by_a_layer() -> None:
    assert count_parameters(make(width=15).enter) == 12 * 15 + 15


def test_sequences_shorter_than_the_convolution() -> None:
    spec = DataSpec({"text": 12, "audio": 5, "vision": 7}, dict.fromkeys(MODALITIES, 2), MODALITIES)
    model, batch = make(spec), make_batch(4, spec)
    assert model.layers[0].convert["audio"].taps.weight.shape[1] == 2
    loss, _ = model.training_loss(batch, NOW)
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize("top_k", [1, 3])
def test_what_one_step_uses_of_the_adapters(top_k: int) -> None:
    model = make(top_k=top_k)
    shares = model.expert_shares()
    assert len(shares) == 2
    for name, share in shares.items():
        assert isinstance(model.get_submodule(name), Adapters)
        assert share == pytest.approx(top_k / 6)


def test_classification_is_cross_entropy() -> None:
    spec = make_spec("classification", 4)
    model, batch = make(spec), make_batch(6, spec)
    output = model(batch)
    assert output.prediction.shape == (6, 4)
    expected = -output.prediction.log_softmax(1)[torch.arange(6), batch.label].mean()
    torch.testing.assert_close(model.loss(output, batch, NOW)[1]["task"], expected)
