"""TFN: the outer product with its ones, and what reads it."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from baselines.subnetworks import VectorNetwork, masked_mean
from baselines.tfn import TFN, TFNConfig
from benchmark.interface import DataSpec, Progress, count_parameters
from protocols.modalities import MODALITIES
from tests.batches import make_batch, make_spec, with_zeroed
from tests.test_lmf import lengthened

NOW = Progress(0, 1, 0, 1)
SMALL = {"hidden_text": 6, "text_out": 3, "hidden_audio": 4, "hidden_vision": 2, "post_width": 5}
STILL = {"dropout_audio": 0.0, "dropout_vision": 0.0, "dropout_post": 0.0}


def make(task="regression", classes=1, **settings: object) -> TFN:
    torch.manual_seed(0)
    return TFN(TFNConfig(**{**SMALL, **settings}), make_spec(task, classes))


def product_by_loops(z_v: Tensor, z_a: Tensor, z_t: Tensor) -> Tensor:
    """Every product of an entry of each, vision slowest, as the layer reads them."""
    rows = []
    for v, a, t in zip(z_v.tolist(), z_a.tolist(), z_t.tolist(), strict=True):
        rows.append([x * y * z for x, y, z in itertools.product(v, a, t)])
    return torch.tensor(rows)


@pytest.mark.parametrize(("task", "classes"), [("regression", 1), ("classification", 4)])
@pytest.mark.parametrize("training", [False, True])
def test_the_prediction_is_that_of_the_outer_product(task, classes, training: bool) -> None:
    model, batch = make(task, classes, **STILL), make_batch(5, make_spec(task, classes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.train(training)
    vectors = {m: model.networks[m](batch.features[m], batch.masks[m]) for m in MODALITIES}
    ones = torch.ones(5, 1)
    z_t, z_a, z_v = (torch.cat([ones, vectors[m]], 1) for m in MODALITIES)
    product = product_by_loops(z_v, z_a, z_t)
    by_einsum = torch.einsum("bv,ba,bt->bvat", z_v, z_a, z_t).flatten(1)
    torch.testing.assert_close(product, by_einsum)
    post = F.relu(product @ model.post_in.weight.T + model.post_in.bias)
    answer = model.answer(F.relu(model.post_inner(post)))
    if task == "regression":
        answer = 6 * torch.sigmoid(answer[:, 0]) - 3
    torch.testing.assert_close(model(batch).prediction, answer, atol=1e-5, rtol=1e-5)


def test_unimodal_and_bimodal_products_are_among_the_inputs() -> None:
    """With weight on a product that takes ones elsewhere, only its modalities matter."""
    model, batch = make(**STILL).eval(), make_batch(6)
    sizes = (SMALL["hidden_vision"] + 1, SMALL["hidden_audio"] + 1, SMALL["text_out"] + 1)
    with torch.no_grad():
        weight = model.post_in.weight.zero_().view(-1, *sizes)
        weight[:, 0, 0, 1:] = 1.0  # 1 x 1 x text
        alone = model(batch).prediction
        text_only = model(with_zeroed(batch, 0b001)).prediction
        torch.testing.assert_close(alone, text_only)
        weight[:, 0, 1:, 1:] = 1.0  # 1 x audio x text
        two = model(batch).prediction
        assert not torch.allclose(two, alone)
        torch.testing.assert_close(two, model(with_zeroed(batch, 0b011)).prediction)


def test_parameter_counts_of_the_published_settings() -> None:
    spec = DataSpec({"text": 768, "audio": 74, "vision": 35}, dict.fromkeys(MODALITIES, 50), ())
    mosi = TFN(TFNConfig(), spec)
    assert mosi.post_in.in_features == 33 * 129 * 33 == 140_481
    lstm = 4 * 128 * (768 + 128 + 2)
    text = lstm + 128 * 32 + 32
    audio = 2 * 74 + 74 * 32 + 32 + 2 * (32 * 32 + 32)
    vision = 2 * 35 + 35 * 128 + 128 + 2 * (128 * 128 + 128)
    post = 140_481 * 64 + 64 + 64 * 64 + 64 + 64 + 1
    assert count_parameters(mosi) == text + audio + vision + post
    mosei = TFN(TFNConfig(text_out=128, hidden_audio=16, post_width=16), spec)
    assert mosei.post_in.in_features == 282_897


def test_sentiment_stays_within_its_range() -> None:
    model, batch = make().eval(), make_batch(6)
    with torch.no_grad():
        model.answer.bias.fill_(50.0)
    assert (model(batch).prediction <= 3).all()


def test_the_product_is_dropped_out_entry_by_entry() -> None:
    model, batch = make(dropout_audio=0.0, dropout_vision=0.0, dropout_post=0.5), make_batch(6)
    torch.manual_seed(1)
    first = model(batch).prediction
    assert not torch.equal(first, model(batch).prediction)


def test_the_time_mean_is_over_real_steps() -> None:
    batch = make_batch(4)
    x, mask = batch.features["audio"], batch.masks["audio"]
    expected = torch.stack([row[real].mean(0) for row, real in zip(x, mask, strict=True)])
    torch.testing.assert_close(masked_mean(x, mask), expected)
    assert torch.equal(masked_mean(x, torch.zeros_like(mask)), torch.zeros_like(expected))


def test_a_vector_network_in_plain_steps() -> None:
    torch.manual_seed(0)
    network, batch = VectorNetwork(5, 4, 0.0), make_batch(6)
    x = masked_mean(batch.features["audio"], batch.masks["audio"])
    y = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
    for layer in network.layers:
        y = F.relu(y @ layer.weight.T + layer.bias)
    result = network(batch.features["audio"], batch.masks["audio"])
    torch.testing.assert_close(result, y, atol=1e-5, rtol=1e-4)


def test_padding_changes_nothing() -> None:
    model, batch = make().eval(), make_batch(6)
    torch.testing.assert_close(
        model(lengthened(batch)).prediction, model(batch).prediction, atol=1e-6, rtol=1e-5
    )
