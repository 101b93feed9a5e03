"""C-MIB: its numbers, its predictions against a plain reading, its loss, and what it samples."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from baselines.bottleneck import Bottleneck, divergence
from baselines.c_mib import BRANCHES, CMIB, CMIBConfig
from benchmark.interface import DataSpec, Output, Progress, count_parameters
from protocols.modalities import MODALITIES, Modalities
from tests.batches import make_batch, make_spec, with_zeroed
from tests.test_layers import randomise, reference_encode

NOW = Progress(0, 2, 1, 4)


def spec_of(*widths: int) -> DataSpec:
    return DataSpec(
        dict(zip(MODALITIES, widths, strict=True)), dict.fromkeys(MODALITIES, 50), MODALITIES
    )


def make(spec: DataSpec | None = None, seed: int = 0, **settings: object) -> CMIB:
    torch.manual_seed(seed)
    settings = {"width": 8, "layers": 2, "hidden": 16, **settings}
    return CMIB(CMIBConfig(**settings), spec or make_spec())  # type: ignore[arg-type]


def open_wide(model: CMIB, shift: float = 5.0) -> CMIB:
    """Deviations of the size of the means, and weights that make both matter."""
    randomise(model)
    with torch.no_grad():
        for bottleneck in model.bottleneck.values():
            bottleneck.deviation.bias.add_(shift)
    return model


@pytest.mark.parametrize(
    ("widths", "width", "expected"),
    [
        ((768, 74, 35), 50, 942_300),
        ((768, 74, 35), 128, 3_154_692),
        ((768, 5, 20), 50, 929_700),
        ((768, 5, 20), 128, 3_122_436),
        ((768, 74, 47), 50, 944_100),
        ((768, 74, 47), 128, 3_159_300),
    ],
)
def test_parameter_counts(widths: tuple[int, ...], width: int, expected: int) -> None:
    assert count_parameters(CMIB(CMIBConfig(width=width), spec_of(*widths))) == expected


def test_heads_follow_the_width_unless_set() -> None:
    assert [CMIBConfig(width=w).attention_heads for w in (50, 128)] == [5, 4]
    assert CMIBConfig(width=50, heads=10).attention_heads == 10
    with pytest.raises(ValueError, match="not a multiple of heads"):
        CMIBConfig(width=50, heads=4)


def test_initial_weights_are_those_of_bert_and_the_latents_nearly_their_means() -> None:
    torch.manual_seed(0)
    model = CMIB(CMIBConfig(width=50), spec_of(768, 74, 35))
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    weights = {n: m.weight for n, m in linear.items()}
    for m, stack in model.encoder.items():
        for name in ("output", "inner", "outer"):
            weights |= {f"{m}.{name}.{i}": w for i, w in enumerate(getattr(stack, name)[0])}
        bound = math.sqrt(6 / (50 + 150))  # Xavier-uniform, untouched
        assert float(stack.projection.detach().abs().max()) == pytest.approx(bound, rel=0.01)
    large = [w for w in weights.values() if w.numel() > 2000]
    assert len(large) == 4 * 3 + 1 + 2 * 3 * 3
    for weight in large:
        assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert all(not m.bias.any() for m in linear.values())
    _, sigma = model.bottleneck["text"](torch.randn(500, 50))
    assert float(sigma.detach().mean()) == pytest.approx(0.0067153, rel=0.05)


def reference_vectors(model: CMIB, batch: Modalities, text_pool: str, pool: str) -> list[Tensor]:
    """x_t, x_a, x_v, each sample on its own, by torch's own convolution and attention."""
    vectors = []
    for m in MODALITIES:
        kernel = model.convolution[m].weight.permute(2, 0, 1)
        rows = []
        for x, mask in zip(batch.features[m], batch.masks[m], strict=True):
            steps = nn.functional.conv1d(x.T[None], kernel, padding=1).transpose(1, 2)
            length = max(int(mask.sum()), 1)
            if m != "text":
                steps = reference_encode(model.encoder[m], 0, steps)
            rows.append(
                {
                    "last": steps[0, -1],
                    "last_valid": steps[0, length - 1],
                    "mean": steps[0, :length].mean(0),
                    "cls": steps[0, 0],
                }[text_pool if m == "text" else pool]
            )
        vectors.append(torch.stack(rows))
    return vectors


def reference_latent(bottleneck: Bottleneck, x: Tensor, noise: Tensor | float) -> Tensor:
    g = bottleneck.hidden(x).relu()
    sigma = nn.functional.softplus(bottleneck.deviation(g) - 5)
    return bottleneck.mean(g) + sigma * noise


@pytest.mark.parametrize(
    ("text_pool", "pool"), [*product(("last_valid", "mean"), ("last",)), ("cls", "last_valid"),
                            ("last", "last")]
)  # fmt: skip
def test_the_model_is_its_reference(text_pool: str, pool: str) -> None:
    model = open_wide(make(text_pool=text_pool, pool=pool)).eval()
    batch = make_batch(4)
    z = [
        reference_latent(model.bottleneck[m], x, 0.0)
        for m, x in zip(MODALITIES, reference_vectors(model, batch, text_pool, pool), strict=True)
    ]
    f = model.fusion(torch.cat(z, 1)).relu()
    answer = model.head["fused"](reference_latent(model.bottleneck["fused"], f, 0.0))
    output = model(batch)
    torch.testing.assert_close(output.prediction, answer[:, 0], atol=2e-5, rtol=1e-4)
    for m, latent in zip(MODALITIES, z, strict=True):
        expected = model.head[m](latent)[:, 0]
        torch.testing.assert_close(output.extras["answers"][m], expected, atol=2e-5, rtol=1e-4)


def test_divergence_is_a_mean_and_zero_for_the_standard_gaussian() -> None:
    assert float(divergence(torch.zeros(3, 4), torch.ones(3, 4))) == 0.0
    sigma = nn.functional.softplus(torch.full((3, 4), -5.0))
    assert float(divergence(torch.zeros(3, 4), sigma)) == pytest.approx(4.503382, abs=1e-6)
    mu, sigma = torch.randn(3, 4), torch.rand(3, 4) + 0.1
    law = torch.distributions.kl_divergence(
        torch.distributions.Normal(mu, sigma), torch.distributions.Normal(0.0, 1.0)
    )
    torch.testing.assert_close(divergence(mu, sigma), law.mean())
    twice = divergence(mu.repeat(2, 2), sigma.repeat(2, 2))
    torch.testing.assert_close(twice, divergence(mu, sigma))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_vanishing_deviation_leaves_loss_and_gradient_finite(dtype: torch.dtype) -> None:
    bottleneck = Bottleneck(4, 8).to(dtype)
    with torch.no_grad():
        bottleneck.deviation.bias.fill_(-200.0)
    mu, sigma = bottleneck(torch.randn(3, 4, dtype=dtype))
    assert sigma.dtype == torch.float32
    loss = divergence(mu, sigma)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in bottleneck.parameters())


def test_with_constant_heads_the_loss_is_five_errors() -> None:
    model, batch = make(beta=0.0), make_batch(7)
    with torch.no_grad():
        for head in model.head.values():
            head.weight.zero_()
            head.bias.fill_(0.4)
    assert batch.label is not None
    expected = 5 * sum(abs(0.4 - float(y)) for y in batch.label) / 7
    assert float(model.training_loss(batch, NOW)[0].detach()) == pytest.approx(expected, rel=1e-5)


def test_the_predictions_error_counts_twice() -> None:
    model, batch = make(beta=0.0), make_batch(7)
    output = model(batch)
    answers = {m: a.detach() for m, a in output.extras["answers"].items()}
    prediction = output.prediction.detach().requires_grad_()
    loss, _ = model.loss(
        Output(prediction, extras={**output.extras, "answers": answers}), batch, NOW
    )
    loss.backward()
    torch.testing.assert_close(prediction.grad, 2 * (prediction - batch.label).sign().detach() / 7)


def test_the_loss_is_the_sum_of_its_terms() -> None:
    model, batch = open_wide(make(beta=0.3)), make_batch(7)
    loss, terms = model.training_loss(batch, NOW)
    errors = 2 * terms["task"] + sum(terms[f"task_{m}"] for m in MODALITIES)
    kl = sum(terms[f"divergence_{b}"] for b in BRANCHES)
    torch.testing.assert_close(loss, errors + 0.3 * kl)


def test_training_samples_and_each_draw_is_new() -> None:
    still = dict.fromkeys(
        ("attention_dropout", "relu_dropout", "residual_dropout", "embedding_dropout"), 0.0
    )
    model, batch = open_wide(make(**still)), make_batch(5)
    one, two = model(batch), model(batch)
    for branch in MODALITIES:  # the same Gaussians, other samples
        torch.testing.assert_close(one.extras["mu"][branch], two.extras["mu"][branch])
    for branch in BRANCHES:
        noise = (one.extras["z"][branch] - one.extras["mu"][branch]) / one.extras["sigma"][branch]
        assert not torch.equal(one.extras["z"][branch], two.extras["z"][branch])
        assert 0.5 < float(noise.detach().std()) < 1.6


@pytest.mark.parametrize("samples", [1, 3])
def test_sampled_predictions_average_the_banks(samples: int) -> None:
    settings = {"latent": "sample", "latent_samples": samples, "noise_seed": 7}
    model, batch = open_wide(make(**settings)).eval(), make_batch(4)
    assert model.noise.shape == (samples, 4, 8)
    x = reference_vectors(model, batch, "last_valid", "last")
    answers = []
    for bank in model.noise:
        z = [
            reference_latent(model.bottleneck[m], own, noise)
            for m, own, noise in zip(MODALITIES, x, bank[:3], strict=True)
        ]
        f = model.fusion(torch.cat(z, 1)).relu()
        answers.append(model.head["fused"](reference_latent(model.bottleneck["fused"], f, bank[3])))
    expected = torch.stack(answers).mean(0)[:, 0]
    torch.testing.assert_close(model(batch).prediction, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("latent", ["mean", "sample"])
def test_a_prediction_is_a_function_of_sample_and_checkpoint(latent: str) -> None:
    model, batch = open_wide(make(latent=latent, latent_samples=2)).eval(), make_batch(5)
    together = model(batch).prediction
    assert torch.equal(together, model(batch).prediction)
    alone = torch.cat([model(batch.select(slice(i, i + 1))).prediction for i in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    again = make(latent=latent, latent_samples=2, seed=5).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(together, again(batch).prediction)


def test_another_noise_seed_is_another_prediction_unless_nothing_deviates() -> None:
    models = [open_wide(make(latent="sample", noise_seed=s)).eval() for s in (0, 1)]
    models.append(open_wide(make()).eval())
    batch = make_batch(5)
    first, second, mean = (m(batch).prediction for m in models)
    assert not torch.allclose(first, second, atol=1e-3)
    for model in models:
        with torch.no_grad():
            for bottleneck in model.bottleneck.values():
                bottleneck.deviation.bias.fill_(-1000.0)
    first, second, mean = (m(batch).prediction for m in models)
    torch.testing.assert_close(first, mean)
    torch.testing.assert_close(first, second)


def test_the_bank_leaves_torchs_generator_alone() -> None:
    drawn = []
    for latent in ("mean", "sample"):
        make(latent=latent)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_the_text_vector_reads_to_one_step_past_the_last_real_one() -> None:
    model, batch = open_wide(make()).eval(), make_batch(4)
    lengths = batch.masks["text"].sum(1)

    def with_text_changed(shift: int) -> Tensor:
        """mu_t where rows from ``lengths + shift`` on are other ones."""
        x = batch.features["text"]
        changed = torch.arange(x.shape[1]) >= (lengths + shift)[:, None]
        x = torch.where(changed[..., None], x + 1.0, x)
        return model.encode("text", x, batch.masks["text"])["mu"]

    before = with_text_changed(99)
    assert torch.equal(with_text_changed(1), before)
    assert (with_text_changed(-1) != before).any(1).all()


def test_the_last_step_of_frozen_text_says_nothing() -> None:
    model, batch = make(text_pool="last"), make_batch(6)
    x = model._text_vector(batch.features["text"], batch.masks["text"])
    short = batch.masks["text"].sum(1) < batch.masks["text"].shape[1] - 1
    assert short.any()
    assert not x[short].any()
    nothing = torch.zeros_like(batch.masks["text"])
    valid = make()._text_vector(batch.features["text"], nothing)
    cls = make(text_pool="cls")._text_vector(batch.features["text"], nothing)
    torch.testing.assert_close(valid, cls)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_zero_modality_is_one_gaussian(modality: str) -> None:
    model = open_wide(make()).eval()
    batch = with_zeroed(make_batch(5), 0)
    output = model(batch)
    mu = output.extras["mu"][modality]
    torch.testing.assert_close(mu, mu[:1].expand_as(mu))


def test_the_text_convolution_has_its_own_rate() -> None:
    (phase,) = make(text_lr_scale=0.5).phases()
    rest, text = phase.groups
    assert text["lr_scale"] == 0.5
    assert len(text["params"]) == 1
    assert "lr_scale" not in rest
    assert len(rest["params"]) + 1 == len(list(make().parameters()))


def test_classification_is_cross_entropy_five_times() -> None:
    spec = make_spec("classification", 4)
    model, batch = make(spec, beta=0.0), make_batch(6, spec)
    output = model(batch)
    assert output.prediction.shape == (6, 4)
    logs = [
        a.log_softmax(1)[torch.arange(6), batch.label] for a in output.extras["answers"].values()
    ]
    expected = -(sum(log.mean() for log in logs) + logs[3].mean())
    torch.testing.assert_close(model.loss(output, batch, NOW)[0], expected)
