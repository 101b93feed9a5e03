"""The networks of MCTN: recurrences with hard gates, its attention decoder and its regressor.

As in the official code of Pham, Liang, Manzini, Morency, Poczos, "Found in Translation: Learning
Robust Joint Representations by Cyclic Translations Between Modalities", AAAI 2019, without the
scalars that cannot change its results.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

ENCODER_GATES, DECODER_GATES, LSTM_GATES = "fiog", "igo", "ifgo"
"""The blocks of the weights as the official code has them: forget, input and output gate, and the
candidate g. A decoder's forget gate reads the input gate's block."""
_ORDER = "ofig"
_SLOPE, _MIDDLE = 0.2, 0.5


class Recurrence(nn.Module):
    """One or two directions of a recurrence whose gates are hs(x) = clip(0.2 x + 0.5, 0, 1).

    c_t = f c_{t-1} + i tanh(g) and h_t = o tanh(c_t), from zero states, over all steps: there is
    no mask. With ``squashed`` it is tanh(c_t) that is carried on in place of c_t.

    Weights are stored (in, directions, blocks h), (directions, h, blocks h) and
    (directions, blocks h).

    Args:
        width_in: d.
        width: h, of one direction.
        gates: the blocks and their order.
        directions: 1, or 2 for one from the last step to the first as well.
        squashed: see above.
    """

    def __init__(
        self, width_in: int, width: int, gates: str, directions: int = 1, squashed: bool = False
    ) -> None:
        super().__init__()
        self.gates, self.squashed = gates, squashed
        self.inner = nn.Parameter(torch.empty(width_in, directions, len(gates) * width))
        self.recurrent = nn.Parameter(torch.empty(directions, width, len(gates) * width))
        self.bias = nn.Parameter(torch.zeros(directions, len(gates) * width))
        whole = 4 * width  # three blocks start as if drawn with the fourth, as in the original
        glorot_(self.inner, width_in, whole)
        if gates == DECODER_GATES:
            glorot_(self.recurrent, width, whole)
        else:
            for own in self.recurrent:
                nn.init.orthogonal_(own)
        if gates == LSTM_GATES:
            with torch.no_grad():
                self.bias.unflatten(1, (4, width))[:, gates.index("f")].fill_(1.0)

    def forward(self, x: Tensor, steps: int | None = None) -> Tensor:
        """The states of every direction, each at its own place in time.

        Args:
            x: (B, T, d), or (B, 1, d) that is read at each of ``steps`` steps.
            steps: T, where x does not say it.

        Returns:
            (directions, B, T, h).
        """
        weights = (self.inner, self.recurrent, self.bias)
        inner, recurrent, bias = map(self._ordered, weights)
        read = x.transpose(0, 1)
        projected = torch.addmm(bias.flatten(), read.flatten(0, 1), inner.flatten(1))
        each = _turned(projected.view(*read.shape[:2], *bias.shape).transpose(1, 2))
        if steps is not None:
            each = each.expand(steps, -1, -1, -1)
        states = _HardGates.apply(each, recurrent, self.squashed)
        return _turned(states).permute(1, 2, 0, 3)

    def _ordered(self, weight: Tensor) -> Tensor:
        """The (..., blocks h) weight as (..., 4h), in the order o, f, i, g."""
        blocks = dict(zip(self.gates, weight.chunk(len(self.gates), -1), strict=True))
        blocks.setdefault("f", blocks["i"])
        return torch.cat([blocks[gate] for gate in _ORDER], -1)


def _turned(x: Tensor) -> Tensor:
    """(T, G, B, n) with the second of two directions back to front."""
    if x.shape[1] == 1:
        return x
    forward, back = x.unbind(1)
    return torch.stack([forward, back.flip(0)], 1)


class _HardGates(torch.autograd.Function):
    """The recurrence after the projection of its inputs, with the gradient written out.

    Whatever does not depend on the neighbouring step is computed for all steps at once, outside
    the loops: seven small operations a step are left, and six for the gradient.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, weight: Tensor, squashed: bool) -> Tensor:
        """(T, G, B, 4h) inputs to o, f, i, g and (G, h, 4h) weights to (T, G, B, h) states."""
        h = weight.shape[1]
        scale, shift = projected.new_ones(4 * h), projected.new_zeros(4 * h)
        scale[: 3 * h], shift[: 3 * h] = _SLOPE, _MIDDLE
        gates = torch.addcmul(shift, projected, scale)
        scaled = weight * scale
        cells, tanhs, states = gates.new_empty(3, *gates.shape[:3], h).unbind()
        carried = tanhs if squashed else cells
        for t, own in enumerate(gates.unbind()):
            if t:  # not in place by name: the count of operations knows this one
                torch.baddbmm(own, states[t - 1], scaled, out=own)
            hard, g = own.split((3 * h, h), -1)
            o, f, i = hard.clamp_(0.0, 1.0).chunk(3, -1)
            torch.mul(i, g.tanh_(), out=cells[t])
            if t:
                cells[t].addcmul_(f, carried[t - 1])
            torch.tanh(cells[t], out=tanhs[t])
            torch.mul(o, tanhs[t], out=states[t])
        ctx.save_for_backward(weight, gates, carried, tanhs, states)
        ctx.squashed = squashed
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, gates, carried, tanhs, states = ctx.saved_tensors
        steps, h = len(states), weight.shape[1]
        slopes = _slopes(gates, carried, tanhs)
        flat = 1.0 - tanhs * tanhs
        to_cell = gates[..., :h] * flat  # from the state
        back = gates[1:, ..., h : 2 * h]  # from the next cell to this one
        if ctx.squashed:
            back = back * flat[:-1]
        transposed = weight.transpose(1, 2).contiguous()
        grad_cell = torch.zeros_like(states[0])
        for t in reversed(range(steps)):
            grad_state = grad[t]
            if t + 1 < steps:
                grad_state = torch.baddbmm(grad_state, slopes[t + 1], transposed)
                grad_cell.mul_(back[t])
            grad_cell.addcmul_(grad_state, to_cell[t])
            slopes[t, ..., :h].mul_(grad_state)
            slopes[t, ..., h:].unflatten(-1, (3, h)).mul_(grad_cell[..., None, :])
        before, after = (x.transpose(0, 1).flatten(1, 2) for x in (states[:-1], slopes[1:]))
        return slopes, before.transpose(1, 2) @ after, None


def _slopes(gates: Tensor, carried: Tensor, tanhs: Tensor) -> Tensor:
    """(T, G, B, 4h): from the state to the input of o, from the cell to those of f, i and g."""
    h = tanhs.shape[-1]
    i, g = gates[..., 2 * h :].chunk(2, -1)
    slopes = torch.empty_like(gates)
    hard = slopes[..., : 3 * h]
    # a gate that is neither shut nor wide open: a distance of less than 0.5 to its middle
    torch.lt((gates[..., : 3 * h] - _MIDDLE).abs_(), _MIDDLE, out=hard).mul_(_SLOPE)
    to_o, to_f, to_i, to_g = slopes.chunk(4, -1)
    to_o.mul_(tanhs)
    to_f[0].zero_()
    to_f[1:].mul_(carried[:-1])
    to_i.mul_(g)
    torch.mul(i, g * g, out=to_g).neg_().add_(i)
    return slopes


class Decoder(nn.Module):
    """Writes a sequence from the states of another one, as many steps as they are.

    A step reads the states' attention mean; the scores do not depend on the step, so that the mean
    is one vector for all of them. Nothing that was written is read again. Outputs are in (-1, 1).

    Args:
        width: h.
        width_out: D, of a written step.
    """

    def __init__(self, width: int, width_out: int) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.empty(width))
        glorot_(self.score, width, 1)
        self.recurrence = Recurrence(width, width, DECODER_GATES)
        self.output = glorot_linear(width, width_out)

    def forward(self, states: Tensor) -> Tensor:
        """(B, T, h) to (B, T, D)."""
        shares = (states @ self.score).softmax(1)
        read = shares[:, None] @ states
        return self.output(self.recurrence(read, states.shape[1])[0]).tanh()


class Regressor(nn.Module):
    """An LSTM with hard gates, attention over its states, and a linear answer.

    Args:
        width: h.
        outputs: width of the answer.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.recurrence = Recurrence(width, width, LSTM_GATES)
        self.score = glorot_linear(width, 1)
        self.answer = glorot_linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, h) to (B, outputs)."""
        states = self.recurrence(x)[0]
        shares = self.score(states).tanh().softmax(1)
        return self.answer((shares.transpose(1, 2) @ states)[:, 0])


def glorot_linear(width_in: int, width_out: int) -> nn.Linear:
    """A linear layer with Glorot-uniform weights and zero biases."""
    layer = nn.Linear(width_in, width_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def glorot_(weight: Tensor, fan_in: int, fan_out: int) -> None:
    """Fills a weight uniformly to Glorot's bound for these fans."""
    bound = (6.0 / (fan_in + fan_out)) ** 0.5
    nn.init.uniform_(weight, -bound, bound)
