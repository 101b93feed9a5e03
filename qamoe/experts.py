"""The mixture of Eq. 7: routing g(mu) = softmax(W_g mu) and a bank of N GLU experts.

All experts are computed as one batched product and weighed; at N = 8 and d = 128 that costs less
than sending samples to their experts, and it never synchronises with the host.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, silu

from qamoe.config import Expert


class Router(nn.Module):
    """(..., d) mu to (..., N) weights, zero outside the top k."""

    def __init__(self, width: int, experts: int, topk: int, renormalise: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(width, experts, bias=False)
        self.topk = topk
        self.renormalise = renormalise

    def probabilities(self, mu: Tensor) -> Tensor:
        """(..., N) softmax over all experts, before any is left out."""
        return self.gate(mu).softmax(dim=-1)

    def forward(self, mu: Tensor) -> Tensor:
        """The routing weights; renormalised, they equal a softmax over the kept logits."""
        logits = self.gate(mu)
        if self.topk == logits.shape[-1]:
            return logits.softmax(dim=-1)
        kept = one_hot(logits.topk(self.topk, dim=-1).indices, logits.shape[-1]).sum(-2).bool()
        if self.renormalise:
            return logits.masked_fill(~kept, float("-inf")).softmax(dim=-1)
        return logits.softmax(dim=-1) * kept


class ExpertBank(nn.Module):
    """N experts E_i: R^d -> R^d.

    ``glu_proj``: W3 [(W1 x + b1) * sigmoid(W2 x + b2)] + b3 with hidden width h = mult * d;
    ``swiglu``: the same with silu in place of sigmoid;
    ``glu_plain``: (W1 x + b1) * sigmoid(W2 x + b2), without W3, so h = d.
    """

    def __init__(self, width: int, experts: int, kind: Expert, hidden_mult: int) -> None:
        super().__init__()
        hidden = width if kind == "glu_plain" else hidden_mult * width
        self.kind = kind
        self.value_gate = _uniform(experts, width, 2 * hidden, fan_in=width)  # [W1; W2]
        self.value_gate_bias = _uniform(experts, 1, 2 * hidden, fan_in=width)
        if kind != "glu_plain":
            self.out = _uniform(experts, hidden, width, fan_in=hidden)  # W3
            self.out_bias = _uniform(experts, 1, width, fan_in=hidden)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """sum_i weights_i E_i(x): (..., d) and (..., N) to (..., d)."""
        rows = x.reshape(-1, x.shape[-1])
        outputs = self.each(rows)  # (N, rows, d)
        mixed = torch.einsum("nrd,rn->rd", outputs, weights.reshape(len(rows), -1))
        return mixed.reshape(x.shape)

    def each(self, rows: Tensor) -> Tensor:
        """Every expert on every row: (R, d) to (N, R, d)."""
        value, gate = (torch.matmul(rows, self.value_gate) + self.value_gate_bias).chunk(2, dim=-1)
        if self.kind == "glu_plain":
            return value * gate.sigmoid()
        hidden = value * (silu(gate) if self.kind == "swiglu" else gate.sigmoid())
        return torch.matmul(hidden, self.out) + self.out_bias


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """A linear layer's default initialisation, for a stack of them."""
    bound = fan_in**-0.5
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
