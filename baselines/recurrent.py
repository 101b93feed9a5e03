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
        return x.take_along_dim(self.index[..., None], 1)

    def reverse(self, x: Tensor) -> Tensor:
        """(B, T', d) with the real steps back to front; what is behind them stays there."""
        place = torch.arange(self.steps, device=x.device)
        last = self.last[:, None]
        return x.take_along_dim(torch.where(place <= last, last - place, place)[..., None], 1)


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
        run = self._run_on_cpu if x.device.type == "cpu" else self._run
        states = run(x, order)
        last = order.last[:, None, None]
        if len(states) == 1:
            return states[0], states[0].take_along_dim(last, 1)[:, 0]
        # the backward direction ends at place 0 of the real order, after ``last`` of its own
        final = torch.cat([s.take_along_dim(last, 1)[:, 0] for s in states], -1)
        return torch.cat([states[0], order.reverse(states[1])], -1), final

    def final(self, x: Tensor, mask: Tensor) -> Tensor:
        """Final states (B, D h) of (B, T, d) sequences with a (B, T) mask."""
        order = order_of(mask)
        return self(order.front(x), order)[1]

    def _run(self, x: Tensor, order: Order) -> list[Tensor]:
        """The (B, T', h) states of each direction, in the order in which it runs."""
        inputs = [x] if len(self.directions) == 1 else [x, order.reverse(x)]
        return [lstm(own)[0] for lstm, own in zip(self.directions, inputs, strict=True)]

    def _run_on_cpu(self, x: Tensor, order: Order) -> list[Tensor]:
        """:meth:`_run`, with both directions in one recurrence over projected inputs."""
        weights = [tuple(lstm.parameters()) for lstm in self.directions]
        inner, recurrent, bias, other_bias = zip(*weights, strict=True)
        projected = F.linear(x, torch.cat(inner), torch.cat(bias) + torch.cat(other_bias))
        gates = list(projected.chunk(len(weights), -1))
        if len(gates) == 2:
            gates[1] = order.reverse(gates[1])
        stacked = torch.stack(gates).permute(2, 0, 1, 3).contiguous()
        return list(_Recurrence.apply(stacked, torch.stack(recurrent)).permute(1, 2, 0, 3))


class _Recurrence(torch.autograd.Function):
    """D LSTM recurrences side by side, with the gradient written out.

    Sizes are small, so the time goes into the number of operations per step: seven forward and
    five backward, against some forty of torch's own training path on a CPU. Whatever does not
    depend on the next step is computed for all steps at once, outside the loop.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, weight: Tensor) -> Tensor:
        """(T, D, B, 4h) inputs to the gates i, f, g, o and (D, 4h, h) weights to (T, D, B, h)."""
        steps, h = projected.shape[0], weight.shape[-1]
        keep = steps if any(ctx.needs_input_grad) else 1
        gates = projected.new_empty(keep, *projected.shape[1:])
        cells, squashed = projected.new_empty(2, keep, *projected.shape[1:3], h).unbind()
        states = projected.new_empty(steps, *projected.shape[1:3], h)
        transposed = weight.transpose(1, 2).contiguous()
        for t in range(steps):
            own = gates[t % keep]
            if t:
                torch.baddbmm(projected[t], states[t - 1], transposed, out=own)
            else:
                own.copy_(projected[0])
            own[..., : 2 * h].sigmoid_()
            own[..., 2 * h : 3 * h].tanh_()
            own[..., 3 * h :].sigmoid_()
            i, f, g, o = own.chunk(4, -1)
            cell = cells[t % keep]
            if t:
                torch.mul(f, cells[(t - 1) % keep], out=cell).addcmul_(i, g)
            else:
                torch.mul(i, g, out=cell)
            torch.tanh(cell, out=squashed[t % keep])
            torch.mul(o, squashed[t % keep], out=states[t])
        ctx.save_for_backward(weight, gates, cells, squashed, states)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weight, gates, cells, squashed, states = ctx.saved_tensors
        h = weight.shape[-1]
        forget = gates[..., h : 2 * h]
        inner, carried = _slopes(gates, cells, squashed)
        grad_cell = torch.zeros_like(states[0])
        for t in reversed(range(len(states))):
            grad_state = grad[t]
            if t + 1 < len(states):
                grad_state = torch.baddbmm(grad_state, inner[t + 1], weight)
                grad_cell.mul_(forget[t + 1])
            grad_cell.addcmul_(grad_state, carried[t])
            inner[t, ..., : 3 * h].unflatten(-1, (3, h)).mul_(grad_cell[..., None, :])
            inner[t, ..., 3 * h :].mul_(grad_state)
        later, before = (
            x.transpose(0, 1).flatten(1, 2) for x in (inner[1:], states[:-1])
        )  # (D, (T - 1) B, .)
        return inner, later.transpose(1, 2) @ before


def _slopes(gates: Tensor, cells: Tensor, squashed: Tensor) -> tuple[Tensor, Tensor]:
    """What a gradient is multiplied by, for all steps.

    Returns:
        (T, D, B, 4h) from the cell to the inputs of i, f and g, and from the state to that of o;
        (T, D, B, h) from the state to the cell.
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
