"""LSTMs over the real steps of padded sequences, in either direction, without host synchronisation.

The originals pack their sequences, which needs every length on the host and runs step by step with
a shrinking batch. Here the real steps of a sequence are moved to its front once, wherever the
padding was; a direction then runs over the padded batch, and the states after a sequence's last
real step are never read. So padding changes nothing, and a GPU step never waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Order:
    """Where the real steps of B sequences are; T' steps hold the longest of them.

    Attributes:
        index: (B, T') the step that comes at each place, real steps first; None when that is how
            they lie already.
        steps: T'.
        last: (B,) place of the last real step; 0 for a sequence of nothing but padding, which
            counts as one step of zeros.
    """

    index: Tensor | None
    steps: int
    last: Tensor

    def front(self, x: Tensor) -> Tensor:
        """(B, T, d) to (B, T', d) with the real steps at the front."""
        if self.index is None:
            return x[:, : self.steps]
        return _rows(x, self.index)

    def reverse(self, x: Tensor) -> Tensor:
        """(B, T', d) with the real steps back to front; what is behind them stays there."""
        place = torch.arange(self.steps, device=x.device)
        last = self.last[:, None]
        return _rows(x, torch.where(place <= last, last - place, place))


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """The steps of (B, T, d) that a (B, T') index names, as whole rows: (B, T', d)."""
    start = torch.arange(len(x), device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (start + index).flatten()).unflatten(0, index.shape)


def order_of(mask: Tensor) -> Order:
    """The order of the real steps of a (B, T) mask, true = real, with padding anywhere.

    On a CPU, where looking at the lengths costs nothing, steps that are padding in the whole batch
    are left out; elsewhere all T stay.
    """
    steps = mask.shape[1]
    last = (mask.sum(1) - 1).clamp_min(0)
    if mask.device.type == "cpu":
        steps = int(last.max()) + 1 if len(mask) else 1
        if bool((mask[:, 1:] <= mask[:, :-1]).all()):
            return Order(None, steps, last)
    index = (~mask).to(torch.uint8).argsort(dim=1, stable=True)
    return Order(index[:, :steps], steps, last)


class LSTM(nn.Module):
    """One LSTM layer, in one direction or both, over sequences of different lengths.

    Weights, initialisation and results are those of ``torch.nn.LSTM`` on a packed sequence;
    each direction is a ``torch.nn.LSTM`` of its own.

    Args:
        width_in: d.
        width: h, of one direction.
        bidirectional: also run from the last real step to the first.
    """

    def __init__(self, width_in: int, width: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.directions = nn.ModuleList(
            nn.LSTM(width_in, width, batch_first=True) for _ in range(1 + bidirectional)
        )

    def forward(self, x: Tensor, order: Order) -> tuple[Tensor, Tensor]:
        """Run over sequences with the real steps at the front (see :meth:`Order.front`).

        Args:
            x: (B, T', d).
            order: of the B sequences.

        Returns:
            (B, T', D h) states, both directions side by side; behind a sequence's real steps they
            mean nothing. (B, D h) final states of the directions, as ``torch.nn.LSTM`` has them.
        """
        states = self._run(x, order)
        if len(states) == 1:
            return states[0], _ends(states, order)
        return torch.cat([states[0], order.reverse(states[1])], -1), _ends(states, order)

    def final(self, x: Tensor, mask: Tensor) -> Tensor:
        """Final states (B, D h) of (B, T, d) sequences with a (B, T) mask."""
        order = order_of(mask)
        return self.final_in(order.front(x), order)

    def final_in(self, x: Tensor, order: Order) -> Tensor:
        """The final states alone of :meth:`forward`, which saves turning the others round."""
        return _ends(self._run(x, order), order)

    def _run(self, x: Tensor, order: Order) -> list[Tensor]:
        """The (B, T', h) states of each direction, in the order in which it runs."""
        inputs = [x] if len(self.directions) == 1 else [x, order.reverse(x)]
        return [_run(lstm, own) for lstm, own in zip(self.directions, inputs, strict=True)]


def _ends(states: list[Tensor], order: Order) -> Tensor:
    """The final states (B, D h): both directions run over the real steps first."""
    return torch.cat([_rows(s, order.last[:, None])[:, 0] for s in states], -1)


_WIDE = 1 << 16
"""Size of an input weight from which its own products decide how long a step takes."""


def _run(lstm: nn.Module, x: Tensor) -> Tensor:
    """The (B, T, h) states of a (B, T, d) batch.

    Training over wide features on a CPU, torch's layer spends a third of its time on the gradient
    at the features, which nobody asked for; elsewhere it is the fastest.
    """
    inner, recurrent, bias, other_bias = lstm.parameters()
    training = torch.is_grad_enabled() and inner.requires_grad and not x.requires_grad
    if training and x.device.type == "cpu" and inner.numel() >= 4 * _WIDE:
        projected = F.linear(x, inner, bias + other_bias).transpose(0, 1)
        return _Recurrence.apply(projected, recurrent).transpose(0, 1)
    return lstm(x)[0]


class _Recurrence(torch.autograd.Function):
    """An LSTM after the projection of its inputs, with the gradient written out.

    Whatever does not depend on the next step is computed for all steps at once, outside the loop.
    The layout of the projection is kept, so that neither it nor its gradient is ever copied.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, weight: Tensor) -> Tensor:
        """(T, B, 4h) inputs to the gates i, f, g, o and (4h, h) weights to (T, B, h) states."""
        (steps, size, _), h = projected.shape, weight.shape[1]
        gates = torch.empty_like(projected)
        cells, squashed, states = projected.new_empty(3, steps, size, h).unbind()
        transposed = weight.t().contiguous()
        for t in range(steps):
            own = projected[t] if t == 0 else torch.addmm(projected[t], states[t - 1], transposed)
            torch.sigmoid(own[:, : 2 * h], out=gates[t, :, : 2 * h])
            torch.tanh(own[:, 2 * h : 3 * h], out=gates[t, :, 2 * h : 3 * h])
            torch.sigmoid(own[:, 3 * h :], out=gates[t, :, 3 * h :])
            i, f, g, o = gates[t].chunk(4, -1)
            torch.mul(i, g, out=cells[t])
            if t:
                cells[t].addcmul_(f, cells[t - 1])
            torch.tanh(cells[t], out=squashed[t])
            torch.mul(o, squashed[t], out=states[t])
        ctx.save_for_backward(weight, gates, cells, squashed, states)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weight, gates, cells, squashed, states = ctx.saved_tensors
        h = weight.shape[1]
        forget = gates[..., h : 2 * h]
        inner, carried = _slopes(gates, cells, squashed)
        grad_cell = torch.zeros_like(states[0])
        for t in reversed(range(len(states))):
            grad_state = grad[t]
            if t + 1 < len(states):
                grad_state = torch.addmm(grad_state, inner[t + 1], weight)
                grad_cell.mul_(forget[t + 1])
            grad_cell.addcmul_(grad_state, carried[t])
            inner[t, :, : 3 * h].unflatten(-1, (3, h)).mul_(grad_cell[:, None])
            inner[t, :, 3 * h :].mul_(grad_state)
        return inner, inner[1:].flatten(0, 1).t() @ states[:-1].flatten(0, 1)


def _slopes(gates: Tensor, cells: Tensor, squashed: Tensor) -> tuple[Tensor, Tensor]:
    """What a gradient is multiplied by, for all steps.

    Returns:
        (T, B, 4h) from the cell to the inputs of i, f and g, and from the state to that of o;
        (T, B, h) from the state to the cell.
    """
    i, f, g, o = gates.chunk(4, -1)
    slopes = torch.empty_like(gates)
    to_i, to_f, to_g, to_o = slopes.chunk(4, -1)
    torch.mul(i, g, out=to_i).addcmul_(to_i, i, value=-1.0)
    to_f[0].zero_()
    torch.mul(f[1:], cells[:-1], out=to_f[1:])
    to_f.addcmul_(to_f, f, value=-1.0)
    torch.mul(i, g * g, out=to_g).neg_().add_(i)
    torch.mul(o, squashed, out=to_o).addcmul_(to_o, o, value=-1.0)
    carried = torch.addcmul(o, o, squashed * squashed, value=-1.0)
    return slopes, carried
