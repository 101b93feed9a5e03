"""The LSTM over real steps against torch's own on packed sequences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from baselines import recurrent
from baselines.recurrent import LSTM, order_of

LENGTHS = (4, 1, 6, 3)
STEPS = 7


def padded(where: str, seed: int = 0) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Features, mask, and each sequence's real steps alone."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.zeros(len(LENGTHS), STEPS, 5)
    mask = torch.zeros(len(LENGTHS), STEPS, dtype=torch.bool)
    rows = []
    for i, length in enumerate(LENGTHS):
        steps = torch.arange(STEPS)
        if where == "left":
            steps = steps[STEPS - length :]
        elif where == "holes":
            steps = torch.randperm(STEPS, generator=generator)[:length].sort().values
        mask[i, steps[:length]] = True
        row = torch.randn(length, 5, generator=generator)
        x[i, mask[i]] = row
        rows.append(row)
    return x, mask, rows


def reference(lstm: LSTM) -> nn.LSTM:
    """torch's layer with the same weights."""
    first = lstm.directions[0]
    both = len(lstm.directions) == 2
    whole = nn.LSTM(first.input_size, first.hidden_size, batch_first=True, bidirectional=both)
    for direction, suffix in zip(lstm.directions, ("", "_reverse"), strict=False):
        for name, parameter in direction.named_parameters():
            getattr(whole, name + suffix).data.copy_(parameter.data)
    return whole


def run_packed(whole: nn.LSTM, rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    x = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    packed = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    states, (final, _) = whole(packed)
    return pad_packed_sequence(states, batch_first=True)[0], final.transpose(0, 1).flatten(1)


@pytest.fixture(params=["own recurrence", "torch's"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of running a direction, at a small size."""
    if request.param == "own recurrence":
        monkeypatch.setattr(recurrent, "_WIDE", 0)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("where", ["right", "left", "holes"])
@pytest.mark.usefixtures("path")
def test_states_and_gradients_are_those_of_packed_sequences(
    bidirectional: bool, where: str
) -> None:
    torch.manual_seed(1)
    lstm = LSTM(5, 3, bidirectional)
    whole = reference(lstm)
    x, mask, rows = padded(where)
    order = order_of(mask)
    states, final = lstm(order.front(x), order)
    expected_states, expected_final = run_packed(whole, rows)
    torch.testing.assert_close(final, expected_final)
    real = torch.arange(order.steps) < torch.tensor(LENGTHS)[:, None]
    torch.testing.assert_close(states[real], expected_states[real])

    weights = torch.randn_like(states)
    ((states * weights)[real].sum() + final.square().sum()).backward()
    ((expected_states * weights)[real].sum() + expected_final.square().sum()).backward()
    for direction, suffix in zip(lstm.directions, ("", "_reverse"), strict=False):
        for name, parameter in direction.named_parameters():
            torch.testing.assert_close(parameter.grad, getattr(whole, name + suffix).grad)


def test_the_recurrence_has_the_gradient_of_its_value() -> None:
    torch.manual_seed(0)
    projected = torch.randn(4, 3, 8, dtype=torch.double, requires_grad=True)
    weight = torch.randn(8, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(recurrent._Recurrence.apply, (projected, weight))


def test_nothing_but_padding_counts_as_one_step_of_zeros() -> None:
    torch.manual_seed(0)
    lstm = LSTM(5, 3, bidirectional=True)
    zeros = torch.zeros(2, 4, 5)
    final = lstm.final(zeros, torch.zeros(2, 4, dtype=torch.bool))
    one = lstm.final(zeros[:, :1], torch.ones(2, 1, dtype=torch.bool))
    torch.testing.assert_close(final, one)


@pytest.mark.usefixtures("path")
def test_without_gradients_the_states_are_the_same() -> None:
    torch.manual_seed(0)
    lstm = LSTM(5, 3, bidirectional=True)
    x, mask, _ = padded("right")
    with torch.inference_mode():
        quick = lstm.final(x, mask)
    torch.testing.assert_close(quick, lstm.final(x, mask))


def test_more_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    lstm = LSTM(5, 3, bidirectional=True)
    x, mask, _ = padded("right")
    longer = nn.functional.pad(x, (0, 0, 2, 3)), nn.functional.pad(mask, (2, 3))
    torch.testing.assert_close(lstm.final(*longer), lstm.final(x, mask))
