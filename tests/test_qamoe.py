"""QA-MoE: what makes it QA-MoE, term by term against the paper's equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from benchmark.config import build
from benchmark.errors import BenchmarkError
from benchmark.interface import Output, Progress
from protocols.modalities import MODALITIES
from qamoe.config import QAMoEConfig
from qamoe.encoder import Pooling, SequenceEncoder
from qamoe.experts import ExpertBank, Router
from qamoe.loss import classification_nll, heteroscedastic_nll, unimodal_quality_loss
from qamoe.model import QAMoE
from qamoe.quality import GaussianFeature, quality_score
from tests.batches import make_batch, make_spec

NOW = Progress(0, 1, 0, 1)
SMALL = {"width": 16, "encoder_heads": 2}


def make(task="regression", classes=1, **settings) -> QAMoE:
    torch.manual_seed(0)
    return QAMoE(QAMoEConfig(**{**SMALL, **settings}), make_spec(task, classes))


def test_quality_score_of_known_variances() -> None:
    at_zero = nn.functional.softplus(torch.zeros(2, 5))
    assert quality_score(at_zero).tolist() == pytest.approx([0.5906] * 2, abs=1e-4)
    assert quality_score(torch.tensor([[1.0, 3.0]])).tolist() == pytest.approx([1 / 3])


def test_quality_falls_as_variance_grows() -> None:
    variance = torch.rand(6, 16) + 0.1
    scores = torch.stack([quality_score(variance * s) for s in (0.5, 1.0, 2.0, 10.0)])
    assert (scores.diff(dim=0) < 0).all()
    assert ((scores > 0) & (scores < 1)).all()


def test_variance_is_positive_and_mu_is_affine() -> None:
    feature = GaussianFeature(16, "affine", "mlp2")
    u = torch.randn(4, 16) * 10
    mu, variance, r = feature(u)
    assert variance is not None
    assert r is not None
    assert (variance > 0).all()
    torch.testing.assert_close(mu, u @ feature.mu.weight.T + feature.mu.bias)
    torch.testing.assert_close(r, 1 / (1 + variance.mean(-1)))


def naive_expert(bank: ExpertBank, i: int, x: torch.Tensor) -> torch.Tensor:
    h = bank.value_gate.shape[-1] // 2
    w1, w2 = bank.value_gate[i, :, :h], bank.value_gate[i, :, h:]
    b1, b2 = bank.value_gate_bias[i, 0, :h], bank.value_gate_bias[i, 0, h:]
    if bank.kind == "glu_plain":
        return (x @ w1 + b1) * torch.sigmoid(x @ w2 + b2)
    gate = x @ w2 + b2
    gate = gate * torch.sigmoid(gate) if bank.kind == "swiglu" else torch.sigmoid(gate)
    return ((x @ w1 + b1) * gate) @ bank.out[i] + bank.out_bias[i, 0]


@pytest.mark.parametrize("kind", ["glu_proj", "glu_plain", "swiglu"])
def test_the_mixture_is_the_sum_over_experts(kind) -> None:
    bank, router = ExpertBank(6, 4, kind, 2), Router(6, 4, 4, True)
    x = torch.randn(5, 6)
    weights = router(x)
    torch.testing.assert_close(weights, torch.softmax(x @ router.gate.weight.T, -1))
    expected = sum(weights[:, i, None] * naive_expert(bank, i, x) for i in range(4))
    torch.testing.assert_close(bank(x, weights), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_topk_keeps_the_k_best_and_renormalises(k: int) -> None:
    router = Router(6, 5, k, True)
    x = torch.randn(40, 6)
    logits = x @ router.gate.weight.T
    weights = router(x)
    for row, logit in zip(weights, logits, strict=True):
        kept = logit.argsort(descending=True)[:k]
        expected = torch.zeros(5)
        expected[kept] = torch.softmax(logit[kept], 0)
        torch.testing.assert_close(row, expected)
    plain = Router(6, 5, k, False)
    plain.load_state_dict(router.state_dict())
    torch.testing.assert_close(plain(x), torch.softmax(logits, -1) * (weights > 0))


def test_unselected_experts_get_no_gradient() -> None:
    bank, router = ExpertBank(6, 5, "glu_proj", 2), Router(6, 5, 2, True)
    x = torch.randn(1, 6)
    weights = router(x)
    bank(x, weights).sum().backward()
    assert bank.out.grad is not None
    touched = bank.out.grad.abs().sum(dim=(1, 2)) > 0
    assert torch.equal(touched, weights[0] > 0)
    assert int(touched.sum()) == 2


def test_the_gate_interpolates_between_mixture_and_prior() -> None:
    model = make().eval()
    batch = make_batch(6)
    features, mask = batch.features["audio"], batch.masks["audio"]
    head = model.features["audio"].pre_variance
    last = head[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(1e8)  # sigma2 without bound: r = 0
        at_zero = model.encode("audio", features, mask)
        last.bias.fill_(-1e4)  # sigma2 = 0: r = 1
        at_one = model.encode("audio", features, mask)
    torch.testing.assert_close(at_zero["y"], model.prior.expand(6, -1), atol=1e-5, rtol=0)
    u = model.pools["audio"](model.encoders["audio"](features, mask), mask)
    mu = model.features["audio"].mu(u)
    mixture = model.banks["shared"](mu, model.routers["shared"](mu))
    torch.testing.assert_close(at_one["y"], mixture)
    assert at_one["r"].tolist() == [1.0] * 6


def test_dense_routing_equals_eq7_without_topk() -> None:
    dense = make(topk=8).eval()
    batch = make_batch(5)
    encoded = dense.encode("text", batch.features["text"], batch.masks["text"])
    u = dense.pools["text"](
        dense.encoders["text"](batch.features["text"], batch.masks["text"]), batch.masks["text"]
    )
    mu, variance, _ = dense.features["text"](u)
    g = torch.softmax(mu @ dense.routers["shared"].gate.weight.T, -1)
    bank = dense.banks["shared"]
    mixture = sum(g[:, i, None] * naive_expert(bank, i, mu) for i in range(8))
    r = 1 / (1 + variance.mean(-1, keepdim=True))
    torch.testing.assert_close(
        encoded["y"], r * mixture + (1 - r) * dense.prior, atol=1e-6, rtol=1e-5
    )


def test_ablations_change_the_right_term() -> None:
    batch = make_batch(4)
    no_gate = make(ablation="no_gate")
    assert no_gate(batch).reliability is None
    assert no_gate.prior is None
    no_variance = make(ablation="no_variance")
    assert no_variance(batch).reliability.shape == (4, 3)
    assert not any("pre_variance" in name for name, _ in no_variance.named_parameters())
    full, no_prior = make().eval(), make(ablation="no_prior").eval()
    no_prior.load_state_dict({k: v for k, v in full.state_dict().items() if k != "prior"})
    for m in MODALITIES:
        a = full.encode(m, batch.features[m], batch.masks[m])
        b = no_prior.encode(m, batch.features[m], batch.masks[m])
        torch.testing.assert_close(a["y"] - (1 - a["r"][:, None]) * full.prior, b["y"])


def test_loss_is_eq10() -> None:
    p, y, s = torch.randn(7), torch.randn(7), torch.randn(7)
    expected = sum(
        0.5 * math.exp(-float(si)) * float(yi - pi) ** 2 + 0.5 * float(si)
        for pi, yi, si in zip(p, y, s, strict=True)
    )
    assert float(heteroscedastic_nll(p, s, y)) == pytest.approx(expected / 7, rel=1e-5)
    zero = torch.zeros(7)
    assert float(heteroscedastic_nll(p, zero, y)) == pytest.approx(
        float(0.5 * (p - y).square().mean())
    )
    for limit in (-10.0, 10.0):
        assert heteroscedastic_nll(p, torch.full((7,), limit), y).isfinite()
    best = (y - p).square().log()  # the optimal s leaves log|e| + 1/2
    assert float(heteroscedastic_nll(p, best, y)) == pytest.approx(
        float(((y - p).abs().log() + 0.5).mean()), rel=1e-5
    )


def test_classification_losses() -> None:
    logits, label, s = torch.randn(9, 4), torch.randint(0, 4, (9,)), torch.randn(9)
    ce = nn.functional.cross_entropy(logits, label, reduction="none")
    attenuated = classification_nll(logits, s, label, "attenuated_ce")
    torch.testing.assert_close(attenuated, (torch.exp(-s) * ce + 0.5 * s).mean())
    torch.testing.assert_close(classification_nll(logits, s, label, "plain_ce"), ce.mean())
    quiet = classification_nll(logits, torch.full((9,), -60.0), label, "mc_logit")
    torch.testing.assert_close(quiet, ce.mean())  # no noise: the plain loss


def test_unimodal_supervision_is_a_gaussian_nll() -> None:
    own, variance, label = torch.randn(5, 3), torch.rand(5, 3) + 0.2, torch.randn(5)
    expected = nn.functional.gaussian_nll_loss(own, label[:, None].expand(5, 3), variance)
    torch.testing.assert_close(unimodal_quality_loss(own, variance, label, False), expected)
    batch, model = make_batch(6), make(quality_supervision="unimodal")
    total, terms = model.loss(model(batch), batch, NOW)
    torch.testing.assert_close(total, terms["nll"] + 0.5 * terms["quality"])


def test_log_variance_is_clamped() -> None:
    model = make()
    with torch.no_grad():
        model.predict_log_variance.bias.fill_(1e6)
    output: Output = model(make_batch(3))
    assert output.log_variance.tolist() == [10.0] * 3


@pytest.mark.parametrize("kind", ["transformer", "bigru", "bilstm", "conv1d_k3", "linear_only"])
@pytest.mark.parametrize("left", [False, True])
def test_padding_does_not_reach_the_encoding(kind, left: bool) -> None:
    torch.manual_seed(0)
    config = QAMoEConfig(**SMALL, encoder=kind)
    encoder, pool = SequenceEncoder(5, config).eval(), Pooling(16, "mean")
    x, mask = torch.randn(3, 8, 5), torch.ones(3, 8, dtype=torch.bool)
    mask[:, :3] = not left
    mask[:, 5:] = left
    other = torch.where(mask[..., None], x, torch.randn_like(x) * 50)
    a, b = (pool(encoder(v, mask), mask) for v in (x, other))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize(("name", "kind"), [("bigru", nn.GRU), ("bilstm", nn.LSTM)])
def test_recurrent_encoders_are_torchs_over_the_valid_steps(name, kind) -> None:
    torch.manual_seed(0)
    encoder = SequenceEncoder(5, QAMoEConfig(**SMALL, encoder=name)).eval()
    whole = kind(16, 8, bidirectional=True, batch_first=True)
    whole.load_state_dict(dict(zip(whole.state_dict(), encoder.temporal.parameters(), strict=True)))
    x, mask = torch.randn(6, 9, 5), torch.rand(6, 9) > 0.4  # padding anywhere
    mask[0], mask[1] = True, False
    encoded = encoder(x, mask)
    inner = encoder.norm(encoder.project(x))
    assert not encoded[1].any()
    for own, steps, valid in zip(encoded, inner, mask, strict=True):
        if valid.any():
            torch.testing.assert_close(own[valid], whole(steps[valid][None])[0][0])


@pytest.mark.parametrize("kind", ["mean", "attention", "cls", "last_valid"])
def test_pooling(kind) -> None:
    torch.manual_seed(0)
    pool = Pooling(4, kind)
    steps = torch.randn(2, 5, 4)
    mask = torch.tensor([[True, True, True, False, False], [False] * 5])
    steps = steps * mask[..., None]
    pooled = pool(steps, mask)
    assert not pooled[1].any()
    valid = steps[0, :3]
    expected = {
        "mean": valid.mean(0),
        "cls": valid[0],
        "last_valid": valid[2],
        "attention": (torch.softmax(pool.score(valid)[:, 0], 0) @ valid) if pool.score else None,
    }[kind]
    torch.testing.assert_close(pooled[0], expected)


OPTIONS = [
    {"encoder": "bigru", "pool": "attention"},
    {"encoder": "conv1d_k3", "pool": "cls", "fusion": "sum"},
    {"moe_level": "token"},
    {"moe_level": "token", "quality_supervision": "unimodal"},
    {"fusion": "transformer", "expert": "swiglu", "beta_nll": 0.5},
    {"fusion": "gated_sum", "expert": "glu_plain", "router": "per_modality"},
    {"expert_bank": "per_modality", "prior": "per_modality", "sample_latent": True},
    {"modality_embedding": True, "fusion": "mean", "prior": "zeros_frozen"},
    {"ablation": "no_gate"},
    {"ablation": "no_variance"},
    {"ablation": "no_prior"},
    {"mu_head": "mlp2", "quality_predictor": "affine", "topk_renorm": False},
]


@pytest.mark.parametrize("settings", OPTIONS, ids=lambda s: "-".join(map(str, s.values())))
def test_every_reading_trains(settings) -> None:
    for task, classes in (("regression", 1), ("classification", 4)):
        model = make(task, classes, **settings)
        spec = make_spec(task, classes)
        total, _ = model.loss(model(make_batch(8, spec)), make_batch(8, spec), NOW)
        total.backward()
        assert total.isfinite()
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_settings_that_do_not_fit_are_refused() -> None:
    for settings in ({"topk": 9}, {"width": 10, "encoder_heads": 4}, {"expert": "mlp"}):
        with pytest.raises(BenchmarkError, match="model qamoe"):
            build(QAMoEConfig, settings, "model qamoe")
    with pytest.raises(BenchmarkError, match="Did you mean topk"):
        build(QAMoEConfig, {"topkk": 3}, "model qamoe")
