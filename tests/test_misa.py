"""MISA: its losses against closed forms, its encoder against packed LSTMs, its hazards."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from baselines.misa import MISA, MISAConfig, SequenceVector
from baselines.misa_loss import central_moment_discrepancy, difference_loss
from benchmark.interface import DataSpec, Progress, count_parameters
from protocols.modalities import MODALITIES
from tests.batches import make_batch, make_spec
from tests.test_lmf import lengthened

NOW = Progress(0, 1, 0, 1)


def make(task="regression", classes=1, **settings: object) -> MISA:
    torch.manual_seed(0)
    small = {"width": 8, "feed_forward": 16, **settings}
    return MISA(MISAConfig(**small), make_spec(task, classes))


def spec_of(audio: int, vision: int) -> DataSpec:
    widths = {"text": 768, "audio": audio, "vision": vision}
    return DataSpec(widths, dict.fromkeys(MODALITIES, 50), MODALITIES)


@pytest.mark.parametrize(("audio", "vision", "total"), [(74, 35, 1_432_033), (5, 20, 1_134_961)])
def test_parameter_counts_of_the_published_settings(audio: int, vision: int, total: int) -> None:
    model = MISA(MISAConfig(), spec_of(audio, vision))
    assert sum(p.numel() for p in model.parameters()) == total
    unused = sum(p.numel() for p in model.shared_or_private.parameters())
    assert unused == 128 * 4 + 4
    assert count_parameters(model) == total - unused


def moments_by_numpy(x: np.ndarray, y: np.ndarray) -> float:
    total = np.linalg.norm(x.mean(0) - y.mean(0))
    for k in range(2, 6):
        of_x = ((x - x.mean(0)) ** k).mean(0)
        of_y = ((y - y.mean(0)) ** k).mean(0)
        total += np.linalg.norm(of_x - of_y)
    return float(total)


def test_moment_discrepancy_against_numpy() -> None:
    codes = torch.rand(3, 7, 4, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    arrays = codes.numpy()
    expected = np.mean([moments_by_numpy(a, b) for a, b in itertools.combinations(arrays, 2)])
    assert central_moment_discrepancy(codes).item() == pytest.approx(expected, abs=1e-5)


def test_moment_discrepancy_by_hand() -> None:
    """x in {0, 2}, y in {0, 4}: means 1 and 2; variances 1 and 4; no odd moments; fourth 1, 16."""
    codes = torch.tensor([[[0.0], [2.0]], [[0.0], [4.0]]])
    assert central_moment_discrepancy(codes).item() == pytest.approx(1 + 3 + 15, abs=1e-4)


def test_moment_discrepancy_of_codes_that_coincide() -> None:
    codes = torch.rand(1, 6, 4).expand(3, -1, -1).clone().requires_grad_()
    loss = central_moment_discrepancy(codes)
    assert loss.item() < 1e-4
    loss.backward()
    assert codes.grad is not None
    assert codes.grad.isfinite().all()


def frobenius(x: Tensor, y: Tensor) -> Tensor:
    """The mean squared entry of X^T Y, entry by entry."""
    normal = []
    for code in (x, y):
        code = code - code.mean(0)
        rows = [row / (row.detach().square().sum().sqrt() + 1e-6) for row in code]
        normal.append(torch.stack(rows))
    product = torch.zeros(x.shape[1], y.shape[1], dtype=x.dtype)
    for row_x, row_y in zip(*normal, strict=True):
        product = product + torch.outer(row_x, row_y)
    return product.square().mean()


@pytest.mark.parametrize("size", [2, 5, 12])
def test_difference_loss_against_explicit_products(size: int) -> None:
    torch.manual_seed(0)
    codes = torch.rand(6, size, 4, dtype=torch.double, requires_grad=True)
    p_t, p_v, p_a, c_t, c_v, c_a = codes
    pairs = [(p_t, c_t), (p_v, c_v), (p_a, c_a), (p_a, p_t), (p_a, p_v), (p_t, p_v)]
    expected = sum((frobenius(x, y) for x, y in pairs), torch.zeros((), dtype=torch.double))
    loss = difference_loss(codes[:3], codes[3:])
    torch.testing.assert_close(loss, expected)
    for gradient, other in zip(
        torch.autograd.grad(loss, codes), torch.autograd.grad(expected, codes), strict=True
    ):
        torch.testing.assert_close(gradient, other)


def test_difference_loss_of_one_sample_is_zero() -> None:
    codes = torch.rand(6, 1, 4, requires_grad=True)
    loss = difference_loss(codes[:3], codes[3:])
    loss.backward()
    assert loss.item() == 0.0
    assert codes.grad is not None
    assert codes.grad.isfinite().all()


def test_the_vector_of_a_sequence_is_that_of_packed_lstms() -> None:
    torch.manual_seed(0)
    network, lengths = SequenceVector(5, 8), torch.tensor([4, 1, 6])
    x = torch.randn(3, 6, 5)
    mask = torch.arange(6) < lengths[:, None]
    x = x * mask[..., None]

    def packed(layer: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
        first = layer.directions[0]
        whole = nn.LSTM(first.input_size, first.hidden_size, batch_first=True, bidirectional=True)
        for direction, suffix in zip(layer.directions, ("", "_reverse"), strict=True):
            for name, parameter in direction.named_parameters():
                getattr(whole, name + suffix).data.copy_(parameter.data)
        packing = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        states, (final, _) = whole(packing)
        return pad_packed_sequence(states, batch_first=True)[0], torch.cat([final[0], final[1]], 1)

    states, first = packed(network.first, x)
    _, second = packed(network.second, network.between(states))
    u = network.normalise(F.relu(network.project(torch.cat([first, second], 1))))
    torch.testing.assert_close(network(x, mask), u, atol=1e-6, rtol=1e-5)


def test_codes_reconstruction_and_total() -> None:
    model, batch = make(dropout=0.0).eval(), make_batch(6)
    output = model(batch)
    extras = output.extras
    for place, m in enumerate(("text", "vision", "audio")):
        u = model.vectors[m](batch.features[m], batch.masks[m])
        p, c = torch.sigmoid(model.private[m](u)), torch.sigmoid(model.shared(u))
        torch.testing.assert_close(extras["private"][place], p)
        torch.testing.assert_close(extras["shared"][place], c)
        torch.testing.assert_close(extras["rebuilt"][place], model.rebuild[m](p + c))
        torch.testing.assert_close(extras["vector"][place], u)
    total, terms = model.loss(output, batch, NOW)
    each = [(extras["rebuilt"][i] - extras["vector"][i]).square().mean().item() for i in range(3)]
    assert terms["reconstruction"].item() == pytest.approx(np.mean(each), rel=1e-5)
    task = (output.prediction - batch.label).square().mean()
    expected = task + 0.3 * terms["difference"] + terms["similarity"] + terms["reconstruction"]
    torch.testing.assert_close(total, expected)
    assert extras["vector"].requires_grad  # the target of the reconstruction is not detached


def test_the_six_codes_are_a_sequence_of_the_transformer() -> None:
    model, batch = make().eval(), make_batch(4)
    seen: list[Tensor] = []
    model.mix.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    extras = model(batch).extras
    expected = [*extras["private"], *extras["shared"]]  # p_t p_v p_a c_t c_v c_a
    torch.testing.assert_close(seen[0], torch.stack(expected, 1))


def test_adversarial_similarity_turns_the_gradient_round() -> None:
    model, batch = make(similarity="adversarial", dropout=0.0, reverse_gradient=0.5), make_batch(6)
    codes = torch.rand(3, 6, 8, requires_grad=True)
    loss = model._similarity(codes)
    logits = model.discriminate(F.relu(model.discriminate_in(codes)))
    label = torch.arange(3)[:, None].expand(3, 6)
    plain = F.cross_entropy(logits.flatten(0, 1), label.flatten())
    torch.testing.assert_close(loss, plain)
    turned, straight = torch.autograd.grad(loss, codes)[0], torch.autograd.grad(plain, codes)[0]
    torch.testing.assert_close(turned, -0.5 * straight)
    model.training_loss(batch, NOW)[0].backward()
    assert model.discriminate.weight.grad is not None


def test_recurrent_weights_start_orthogonal() -> None:
    weight = make().vectors["audio"].first.directions[1].weight_hh_l0
    torch.testing.assert_close(weight.T @ weight, torch.eye(weight.shape[1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("text_path", ["mean", "bilstm"])
def test_padding_changes_nothing(text_path: str) -> None:
    model, batch = make(text_path=text_path).eval(), make_batch(6)
    torch.testing.assert_close(
        model(lengthened(batch)).prediction, model(batch).prediction, atol=1e-5, rtol=1e-5
    )
