"""QA-MoE's readings that are not its defaults, by closed forms: A31, precisions, as released."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import log_loss
from torch.nn.functional import cross_entropy, gaussian_nll_loss, softplus

from benchmark.config import build
from benchmark.contract import CHECKS
from benchmark.contract_cases import cases
from benchmark.errors import BenchmarkError
from benchmark.interface import DataSpec, Progress
from benchmark.plan import Product, plan_runs
from benchmark.registry import model_facts
from benchmark.systems import run_title
from protocols.modalities import MODALITIES
from qamoe.config import QAMoEConfig
from qamoe.fusion import FusionLayer
from qamoe.loss import availability_loss, load_balance_loss
from qamoe.model import QAMoE
from qamoe.precision import LEAST_VARIANCE, PrecisionFusion
from qamoe.shared_errors import SharedErrorsFusion
from tests.batches import make_batch, make_dataset, make_spec, with_zeroed
from tests.test_replay import changes_python_state

NOW = Progress(0, 1, 0, 1)
SMALL = {"width": 16, "encoder_heads": 2}
READINGS = [
    {"fusion": "precision"},
    {"fusion": "precision", "beta_nll": 0.5, "modality_embedding": True, "sample_latent": True},
    {"fusion": "shared_errors"},
    {"uncertainty_head": "reads_variance"},
    {"missing_flags": True, "quality_supervision": "availability", "load_balance": 0.01},
    {"missing_flags": True, "load_balance": 0.01, "moe_level": "token"},
    {"quality_supervision": "availability", "ablation": "no_variance", "mu_head": "mlp2"},
]


def make(spec: DataSpec | None = None, **settings: object) -> QAMoE:
    torch.manual_seed(0)
    return QAMoE(QAMoEConfig(**{**SMALL, **settings}), spec or make_spec())  # type: ignore[arg-type]


def moments_of_product(means, variances, powers) -> tuple[float, float]:
    """Mean and variance of prod_m N(y; mean_m, variance_m)^power_m, by summing over a fine grid."""
    y = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    logs = sum(
        -0.5 * w * (y - o) ** 2 / v for o, v, w in zip(means, variances, powers, strict=True)
    )
    density = (logs - logs.max()).exp()
    density /= density.sum()
    mean = float((density * y).sum())
    return mean, float((density * (y - mean) ** 2).sum())


def test_the_answer_is_the_product_of_the_modalities_gaussians_and_the_prior() -> None:
    torch.manual_seed(1)
    fusion = PrecisionFusion(5, 1, MODALITIES)
    with torch.no_grad():
        fusion.trust.copy_(torch.tensor([0.3, -1.0, 2.0]))
        fusion.prior_log_variance.fill_(-0.7)
        fusion.prior_mean.fill_(1.3)
    y = {m: torch.randn(4, 5) for m in MODALITIES}
    variance = {m: torch.rand(4) + 0.05 for m in MODALITIES}
    fused = fusion(y, variance)
    for row in range(4):
        own = [fusion.own[m](y[m])[row, 0].item() for m in MODALITIES]
        v = [float(variance[m][row]) + LEAST_VARIANCE for m in MODALITIES]
        powers = [*fusion.trust.sigmoid().tolist(), 1.0]
        # the prior's variance is exp(c): p_0 = exp(-c)
        mean, spread = moments_of_product([*own, 1.3], [*v, math.exp(-0.7)], powers)
        assert fused.prediction[row, 0].item() == pytest.approx(mean, abs=1e-4)
        assert fused.log_variance[row].exp().item() == pytest.approx(spread, rel=1e-3)


def test_what_says_nothing_is_left_to_the_others_and_the_prior() -> None:
    fusion = PrecisionFusion(5, 1, MODALITIES)
    with torch.no_grad():
        fusion.prior_mean.fill_(-0.8)
    y = {m: torch.randn(3, 5) for m in MODALITIES}
    silent = {m: torch.full((3,), 1e9) for m in MODALITIES}
    fused = fusion(y, silent)
    torch.testing.assert_close(fused.prediction, torch.full((3, 1), -0.8))
    torch.testing.assert_close(fused.log_variance, torch.zeros(3))  # the prior's own
    heard = fusion(y, {**silent, "text": torch.zeros(3)})
    torch.testing.assert_close(
        heard.prediction, fusion.own["text"](y["text"]), rtol=1e-2, atol=1e-2
    )


def test_a_modality_that_the_data_lack_has_no_say_and_no_parameters() -> None:
    model = make(make_spec(present=("text", "vision")), fusion="precision").eval()
    assert set(model.fusion.own) == {"text", "vision"}
    assert len(model.fusion.trust) == 2
    batch = make_batch(4, make_spec(present=("text", "vision")))
    encoded = {m: dict(model.encode(m, x, batch.masks[m])) for m, x in batch.features.items()}
    expected = model.fuse(encoded).prediction
    encoded["audio"] = {name: x + 7.0 for name, x in encoded["audio"].items()}
    assert torch.equal(model.fuse(encoded).prediction, expected)


def test_precisions_take_the_mixture_without_its_gate() -> None:
    model, batch = make(fusion="precision").eval(), make_batch(5)
    assert model.prior is None
    m = "vision"
    encoded = model.encode(m, batch.features[m], batch.masks[m])
    u = model.pools[m](model.encoders[m](batch.features[m], batch.masks[m]), batch.masks[m])
    mu, variance, r = model.features[m](u)
    mixture = model.banks["shared"](mu, model.routers["shared"](mu))
    torch.testing.assert_close(encoded["y"], mixture)
    torch.testing.assert_close(encoded["r"], r)
    torch.testing.assert_close(encoded["variance"], variance.mean(-1))


@pytest.mark.parametrize("present", [MODALITIES, ("text", "audio")])
def test_the_loss_of_precisions_is_eq10_and_half_the_sum_of_the_own_ones(present) -> None:
    spec = make_spec(present=present)
    model, batch = make(spec, fusion="precision"), make_batch(6, spec)
    output = model.eval()(batch)
    total, terms = model.loss(output, batch, NOW)
    s, error = output.log_variance, (batch.label - output.prediction).square()
    expected = (0.5 * (-s).exp() * error + 0.5 * s).mean()
    for place in range(len(present)):
        own, v = output.extras["own"][:, place, 0], output.extras["variance"][:, place]
        expected = expected + 0.5 * gaussian_nll_loss(own, batch.label, v)
    torch.testing.assert_close(total, expected)
    assert "own_answers" in terms


def shared_errors(present=MODALITIES, outputs: int = 1) -> SharedErrorsFusion:
    torch.manual_seed(2)
    return SharedErrorsFusion(6, outputs, present, FusionLayer(6, "concat_mlp", 0.0, 2)).double()


@pytest.mark.parametrize(("present", "outputs"), [(MODALITIES, 1), (("text", "audio"), 3)])
def test_shared_errors_give_the_best_linear_unbiased_answer_or_no_weight(present, outputs) -> None:
    fusion = shared_errors(present, outputs)
    with torch.no_grad():
        fusion.shared.copy_(torch.tensor([0.1, -0.2, 0.05, 0.15][-len(present) - 1 :]))
        fusion.prior_log_variance.fill_(-0.4)
        fusion.prior_mean.fill_(0.9)
    y = {m: torch.randn(40, 6).double() for m in MODALITIES}
    variance = {m: 3 * torch.rand(40).double() + 0.05 for m in MODALITIES}
    fused, prior = fusion(y, variance), math.exp(0.4)
    share = fusion.shares()
    root = share.sqrt()
    correlation = torch.outer(root, root) + torch.diag(1 - share)
    silent = 0
    for row in range(40):
        deviation = torch.diag(fused.own_variance[row].sqrt())
        weight = torch.linalg.inv(deviation @ correlation @ deviation).sum(1)
        silent += int((weight < 0).sum())
        weight = weight.clamp_min(0)
        total = weight.sum() + prior
        expected = (weight @ fused.own[row] + prior * 0.9) / total
        torch.testing.assert_close(fused.prediction[row], expected)
        torch.testing.assert_close(fused.log_variance[row], -total.log())
    assert 0 < silent < 40 * (len(present) + 1)


def test_without_a_shared_error_it_is_the_product_of_independent_gaussians() -> None:
    fusion = shared_errors()
    with torch.no_grad():
        fusion.shared.fill_(-10.0)  # a share of 4e-44
    y = {m: torch.randn(3, 6).double() for m in MODALITIES}
    variance = {m: torch.rand(3).double() + 0.05 for m in MODALITIES}
    fused = fusion(y, variance)
    for row in range(3):
        own = [*fused.own[row, :, 0].tolist(), 0.0]
        spreads = [*fused.own_variance[row].tolist(), 1.0]
        mean, spread = moments_of_product(own, spreads, [1.0] * 5)
        assert fused.prediction[row, 0].item() == pytest.approx(mean, abs=1e-4)
        assert fused.log_variance[row].exp().item() == pytest.approx(spread, rel=1e-3)


def test_the_joint_answers_variance_rises_with_each_modalitys() -> None:
    fusion = shared_errors()
    y = {m: torch.randn(3, 6).double() for m in MODALITIES}
    variance = {m: torch.ones(3).double() for m in MODALITIES}
    before = fusion(y, variance).own_variance[:, -1]
    for m in MODALITIES:
        assert (fusion(y, {**variance, m: variance[m] * 4}).own_variance[:, -1] > before).all()


def test_precisions_of_classes_weigh_logits() -> None:
    spec = make_spec("classification", 4)
    model, batch = make(spec, fusion="precision").eval(), make_batch(6, spec)
    with torch.no_grad():
        model.fusion.prior_mean.copy_(torch.tensor([0.5, -0.5, 0.0, 1.0]))
    output = model(batch)
    own, v = output.extras["own"], output.extras["variance"]
    weights = torch.cat([0.5 / v, torch.ones(6, 1)], 1)  # alpha and c are 0
    weights = weights / weights.sum(1, keepdim=True)
    answers = torch.cat([own, model.fusion.prior_mean.expand(6, 1, 4)], 1)
    torch.testing.assert_close(output.prediction, (weights[..., None] * answers).sum(1))
    s = output.log_variance
    total, _ = model.loss(output, batch, NOW)
    ce = cross_entropy(output.prediction, batch.label, reduction="none")
    expected = ((-s).exp() * ce + 0.5 * s).mean()
    for place in range(3):
        each = cross_entropy(own[:, place], batch.label, reduction="none")
        expected = expected + 0.5 * (each / v[:, place] + 0.5 * v[:, place].log()).mean()
    torch.testing.assert_close(total, expected)


def test_the_head_that_reads_variance_adds_weighted_logarithms() -> None:
    reads, batch = make(uncertainty_head="reads_variance").eval(), make_batch(6)
    plain = make().eval()
    plain.load_state_dict({k: v for k, v in reads.state_dict().items() if k != "variance_weight"})
    a = torch.tensor([0.0, -2.0, 1.0])
    with torch.no_grad():
        assert not reads.variance_weight.any()
        reads.variance_weight.copy_(a)
    output = reads(batch)
    variance = torch.stack([reads.encode(m, x, batch.masks[m])["variance"]
                            for m, x in batch.features.items()], 1)  # fmt: skip
    added = sum(softplus(a[i]) * variance[:, i].log() for i in range(3))
    torch.testing.assert_close(output.log_variance, plain(batch).log_variance + added)
    torch.testing.assert_close(output.prediction, plain(batch).prediction)


def test_where_variance_is_read_it_rises_with_the_uncertainty() -> None:
    model, batch = make(uncertainty_head="reads_variance").eval(), make_batch(6)
    encoded = {m: dict(model.encode(m, x, batch.masks[m])) for m, x in batch.features.items()}
    leaves = {m: encoded[m]["variance"].detach().requires_grad_() for m in MODALITIES}
    for m in MODALITIES:
        encoded[m]["variance"] = leaves[m]
    model.fuse(encoded).log_variance.sum().backward()
    for leaf in leaves.values():  # d s / d v_m = softplus(0) / v_m
        torch.testing.assert_close(leaf.grad, math.log(2) / leaf)


def test_a_variance_of_zero_is_read_without_infinity() -> None:
    model = make(uncertainty_head="reads_variance")
    with torch.no_grad():
        for m in MODALITIES:
            model.features[m].pre_variance[-1].weight.zero_()
            model.features[m].pre_variance[-1].bias.fill_(-200.0)  # softplus underflows
    output = model(batch := make_batch(4))
    model.loss(output, batch, NOW)[0].backward()
    assert output.log_variance.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_availability_is_learned_by_cross_entropy() -> None:
    reliability = torch.rand(9, 3, dtype=torch.float64) * 0.9 + 0.05
    missing = (torch.rand(9, 3) < 0.4).double()
    expected = log_loss(1 - missing.flatten().numpy(), reliability.flatten().numpy())
    assert float(availability_loss(reliability, missing)) == pytest.approx(expected)


def test_load_balance_counts_the_experts_kept() -> None:
    torch.manual_seed(0)
    probability = torch.randn(40, 3, 8).softmax(-1)
    chosen = probability.topk(3, -1).indices
    kept = torch.zeros_like(probability).scatter(-1, chosen, 1.0)
    counts = torch.bincount(chosen.flatten(), minlength=8) / 120
    expected = 8 * sum(float(counts[i] * probability[..., i].mean()) for i in range(8))
    assert float(load_balance_loss(kept, probability)) == pytest.approx(expected, rel=1e-5)
    even = torch.full((40, 3, 8), 1 / 8)
    assert float(load_balance_loss(kept, even)) == pytest.approx(3.0)  # k


def test_as_released_the_loss_has_its_three_terms() -> None:
    settings = QAMoE.presets["released"].model
    model, batch = make(**settings), with_zeroed(make_batch(6), 0b101)
    output = model(batch)
    total, terms = model.loss(output, batch, NOW)
    parts = terms["nll"] + 0.5 * terms["quality"] + 0.01 * terms["load_balance"]
    torch.testing.assert_close(total, parts)
    there = torch.tensor([1.0, 0.0, 1.0]).expand(6, 3)
    r = output.reliability
    expected = -(there * r.log() + (1 - there) * (1 - r).log()).mean()
    torch.testing.assert_close(terms["quality"], expected)


def test_the_flag_stands_beside_the_features() -> None:
    model, batch = make(missing_flags=True).eval(), make_batch(4)
    head = model.features["audio"].mu
    assert head.in_features == SMALL["width"] + 1
    features, mask = batch.features["audio"], batch.masks["audio"]
    there = model.encode("audio", features, mask)
    gone = model.encode("audio", torch.zeros_like(features), mask)
    assert not there["missing"].any()
    assert gone["missing"].all()
    with torch.no_grad():
        head.weight[:, -1] += 5.0  # what only the flag multiplies
    torch.testing.assert_close(model.encode("audio", features, mask)["y"], there["y"])
    moved = model.encode("audio", torch.zeros_like(features), mask)["y"]
    assert (moved - gone["y"]).abs().max() > 1e-3


def test_as_released_says_how_it_is_known() -> None:
    card = QAMoE.presets["released"].card
    assert card is not None
    assert card.reads_availability
    assert not QAMoE.card.reads_availability
    assert card.version == QAMoE.card.version
    assert any("Unknown" in line for line in card.deviations)
    assert model_facts("qamoe", "released")["source"] == card.source
    assert model_facts("qamoe", "paper")["source"] == QAMoE.card.source
    product = Product(models=("qamoe",), preset="released", regimes=("spectrum",))
    (spec,) = plan_runs(product, make_dataset())
    title = run_title(spec)
    assert title.startswith("QA-MoE [released] (seen through a third party)")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("settings", READINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_contract_of_the_readings(settings, check: str) -> None:
    for data, case in cases(QAMoE, QAMoEConfig(**SMALL, **settings)).items():
        if len(case.spec.present) == 3:  # all kinds of data are the defaults' to be tried on
            assert list(CHECKS[check](case)) == [], data


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "precision", "ablation": "no_gate"}, "needs sigma2"),
        ({"uncertainty_head": "reads_variance", "ablation": "no_variance"}, "needs sigma2"),
        ({"fusion": "precision", "uncertainty_head": "reads_variance"}, "no uncertainty head"),
        ({"fusion": "precision", "ablation": "no_prior"}, "no y_prior"),
        ({"fusion": "precision", "quality_supervision": "unimodal"}, "own answer already"),
        ({"fusion": "precision", "moe_level": "token"}, "moe_level=utterance"),
        ({"fusion": "shared_errors", "ablation": "no_prior"}, "shared_errors has no y_prior"),
        ({"quality_supervision": "availability", "ablation": "no_gate"}, "needs r"),
        ({"load_balance": 0.1, "router": "per_modality"}, "one bank"),
    ],
)
def test_readings_that_exclude_each_other_are_refused(settings, message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        build(QAMoEConfig, settings, "model qamoe")


@pytest.mark.parametrize("settings", READINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_a_recorded_step_changes_tensors_alone(settings) -> None:
    assert not changes_python_state(make(**settings))


@pytest.mark.parametrize("settings", [{}, *READINGS], ids=lambda s: "-".join(map(str, s.values())))
def test_a_step_never_reads_from_the_device(settings) -> None:
    """Tensors without content: whatever would wait for a value raises."""
    model, batch = make(**settings).to("meta"), make_batch(6).to("meta")
    total, _ = model.loss(model(batch), batch, NOW)
    total.backward()
