"""MCTN's recurrences, step by step, beside the equations written out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from baselines.mctn import MCTN, TRANSLATED, MCTNConfig
from baselines.translation import (
    DECODER_GATES,
    ENCODER_GATES,
    LSTM_GATES,
    Decoder,
    Recurrence,
    Regressor,
)
from benchmark.interface import count_parameters
from protocols.modalities import MODALITIES, Modality
from tests.batches import make_batch
from tests.test_mctn import NOW, make, padded, spec_of, stirred


def blocks(x: Tensor, count: int) -> list[Tensor]:
    return list(x.chunk(count, -1))


def hs(x: Tensor) -> Tensor:
    """The hard gate of the paper's framework."""
    return torch.clip(0.2 * x + 0.5, 0, 1)


Step = Callable[[list[Tensor], Tensor], tuple[Tensor, Tensor]]


def encoder_step(a: list[Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
    f, i, o, g = hs(a[0]), hs(a[1]), hs(a[2]), a[3].tanh()
    c = torch.tanh(f * c + i * g)
    return o * c, c


def decoder_step(a: list[Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
    i, g, o = hs(a[0]), a[1].tanh(), hs(a[2])
    c = i * c + i * g
    return o * c.tanh(), c


def lstm_step(a: list[Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = hs(a[0]), hs(a[1]), a[2].tanh(), hs(a[3])
    c = f * c + i * g
    return o * c.tanh(), c


def run(net: Recurrence, direction: int, inputs: list[Tensor], step: Step) -> list[Tensor]:
    """The states of one direction, written out; the inputs are (B, d), in the order of reading."""
    width = net.recurrent.shape[1]
    h = c = inputs[0].new_zeros(len(inputs[0]), width)
    states = []
    for x in inputs:
        a = x @ net.inner[:, direction] + h @ net.recurrent[direction] + net.bias[direction]
        h, c = step(blocks(a, len(net.gates)), c)
        states.append(h)
    return states


def encoded(net: Recurrence, x: Tensor) -> Tensor:
    """The two directions' sum (B, T, h)."""
    forward = run(net, 0, list(x.unbind(1)), encoder_step)
    back = run(net, 1, list(x.flip(1).unbind(1)), encoder_step)[::-1]
    return torch.stack([a + b for a, b in zip(forward, back, strict=True)], 1)


def decoded(net: Decoder, states: Tensor) -> Tensor:
    """What a decoder writes, with the attention weighed anew at every step."""
    inputs = []
    for _ in range(states.shape[1]):
        weights = torch.stack([(net.score * s).sum(-1) for s in states.unbind(1)], 1).softmax(1)
        inputs.append(sum(w[:, None] * s for w, s in zip(weights.T, states.unbind(1), strict=True)))
    hidden = torch.stack(run(net.recurrence, 0, inputs, decoder_step), 1)
    return torch.tanh(hidden @ net.output.weight.T + net.output.bias)


def answered(net: Regressor, states: Tensor) -> Tensor:
    h = torch.stack(run(net.recurrence, 0, list(states.unbind(1)), lstm_step), 1)
    shares = torch.tanh(h @ net.score.weight[0] + net.score.bias).softmax(1)
    return torch.einsum("bt,bth->bh", shares, h) @ net.answer.weight.T + net.answer.bias


@pytest.mark.parametrize(
    ("widths", "hidden", "expected"),
    [
        ((768, 74, 35), 32, 293_314),
        ((768, 5, 20), 32, 293_314),
        ((768, 74, 35), 128, 1_709_314),
        ((768, 5, 20), 128, 1_709_314),
    ],
)
def test_parameter_counts(widths: tuple[int, ...], hidden: int, expected: int) -> None:
    model = MCTN(MCTNConfig(hidden=hidden), spec_of(*widths))
    assert count_parameters(model) == expected
    if hidden == 32:
        used = (model.encoder, model.encoder_2, model.regressor)
        assert sum(map(count_parameters, used)) == 230_082


def test_the_gate() -> None:
    """A decoder whose candidate and output gate are fixed shows the input gate alone."""
    net = Recurrence(1, 1, DECODER_GATES)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.inner[0, 0, 0] = 1.0
        net.bias[0, 1:] = torch.tensor([100.0, 2.5])
    for x, gate in ((0.0, 0.5), (2.5, 1.0), (-2.5, 0.0), (9.0, 1.0), (-9.0, 0.0), (1.0, 0.7)):
        state = net(torch.tensor([[[x]]])).item()
        assert state == pytest.approx(math.tanh(gate), abs=1e-6)


def test_one_step_of_an_encoder() -> None:
    net = Recurrence(1, 1, ENCODER_GATES, directions=2, squashed=True)
    f, i, o, g = 1.3, -0.4, 0.7, 0.9
    with torch.no_grad():
        net.inner.zero_()
        net.bias.copy_(torch.tensor([f, i, o, g]).expand(2, 4))

    def gate(x: float) -> float:
        return 0.2 * x + 0.5

    expected = gate(o) * math.tanh(gate(i) * math.tanh(g))
    for state in net(torch.zeros(1, 1, 1)).flatten().tolist():
        assert state == pytest.approx(expected, abs=1e-6)


def test_the_decoders_cell_forgets_by_its_input_gate() -> None:
    net = Recurrence(1, 1, DECODER_GATES)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.bias[0] = torch.tensor([0.0, 1.0, 0.0])
    states = net(torch.zeros(1, 60, 1))[0, 0, :, 0]
    cells = (2 * states).atanh()  # the output gate is 0.5
    assert cells[0].item() == pytest.approx(0.38080, abs=1e-5)
    assert cells[1].item() == pytest.approx(0.57120, abs=1e-5)
    assert cells[-1].item() == pytest.approx(0.76159, abs=1e-5)


@pytest.mark.parametrize(
    ("gates", "step", "squashed"),
    [
        (ENCODER_GATES, encoder_step, True),
        (DECODER_GATES, decoder_step, False),
        (LSTM_GATES, lstm_step, False),
    ],
)
@pytest.mark.parametrize("steps", [1, 2, 6])
def test_states_and_gradients_are_those_of_the_steps_written_out(
    gates: str, step: Step, squashed: bool, steps: int
) -> None:
    torch.manual_seed(0)
    net = Recurrence(5, 3, gates, 2, squashed).double()
    for p in net.parameters():
        p.data.mul_(3.0)  # some gates are wide open, some shut
    x = (2 * torch.randn(4, steps, 5, dtype=torch.double)).requires_grad_()
    back = run(net, 1, list(x.flip(1).unbind(1)), step)[::-1]
    expected = torch.stack([torch.stack(run(net, 0, list(x.unbind(1)), step), 1),
                            torch.stack(back, 1)])  # fmt: skip
    states = net(x)
    torch.testing.assert_close(states, expected)
    wanted = torch.randn_like(expected)
    inputs = [x, *net.parameters()]
    for one, other in zip(
        torch.autograd.grad((states * wanted).sum(), inputs),
        torch.autograd.grad((expected * wanted).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_the_lstm_starts_open() -> None:
    torch.manual_seed(0)
    lstm, decoder = Recurrence(6, 8, LSTM_GATES), Recurrence(6, 8, DECODER_GATES)
    forget = torch.zeros(4, 8)
    forget[1] = 1.0
    assert torch.equal(lstm.bias.detach(), forget.flatten()[None])
    assert not decoder.bias.any()
    rows = lstm.recurrent[0].detach()
    torch.testing.assert_close(rows @ rows.T, torch.eye(8), atol=1e-5, rtol=0)
    bound = math.sqrt(6 / (6 + 32))
    assert 0.95 * bound < float(decoder.inner.detach().abs().max()) <= bound


@pytest.mark.parametrize("source", MODALITIES)
def test_the_model_is_its_reference(source: Modality) -> None:
    """Predictions and loss, by the steps written out; lengths and widths all differ."""
    model, batch = stirred(make(source=source)).double(), make_batch(5)
    x = {m: f.double() for m, f in batch.features.items()}
    batch = replace(batch, features=x, label=batch.label.double())
    first, second = (m for m in TRANSLATED if m != source)
    read = nn.functional.pad(x[source], (0, 12 - x[source].shape[2]))
    states = encoded(model.encoder, read)
    states_2 = encoded(model.encoder_2, states)
    answer = answered(model.regressor, states_2)[:, 0]
    written = decoded(model.decoder, states)
    back = decoded(model.decoder, encoded(model.encoder, written))
    loss = (answer - batch.label).abs().mean() + 0.01 * model.regressor.answer.weight.square().sum()
    for y, m in ((written, first), (back, source), (decoded(model.decoder_2, states_2), second)):
        loss = loss + 0.1 * (y - padded(x[m], y)).square().mean()
    output = model(batch)
    torch.testing.assert_close(output.prediction, answer)
    torch.testing.assert_close(model.loss(output, batch, NOW)[0], loss)
