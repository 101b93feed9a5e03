"""From a feature sequence to vectors of width d: the temporal encoder (A1) and pooling (A2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qamoe.config import Encoder, Pool, QAMoEConfig


class SequenceEncoder(nn.Module):
    """x = Dropout(LN(W_in u + b_in)) + positions, then one temporal layer.

    (B, T, d_m) features and (B, T) mask to (B, T, d). Padded steps never reach a valid one.
    """

    def __init__(self, in_width: int, config: QAMoEConfig) -> None:
        super().__init__()
        d = config.width
        self.project = nn.Linear(in_width, d)
        self.norm = nn.LayerNorm(d)
        self.dropout = nn.Dropout(config.dropout)
        self.kind: Encoder = config.encoder
        self.temporal = _temporal_layer(config)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Encode; rows of padding are zero in the result."""
        x = self.dropout(self.norm(self.project(features)))
        keep = mask[..., None]
        if self.kind == "transformer":
            x = x + sinusoidal_positions(x.shape[1], x.shape[2], x.device)
            # A sequence without any valid step attends to all of it, for the softmax of nothing
            # is NaN; the result is masked out below.
            ignored = ~mask & mask.any(dim=1, keepdim=True)
            x = self.temporal(x, src_key_padding_mask=ignored)
        elif self.kind in ("bigru", "bilstm"):
            x = self._recurrent(x, mask)
        elif self.kind == "conv1d_k3":
            x = torch.relu(self.temporal((x * keep).transpose(1, 2)).transpose(1, 2))
        return x * keep

    def _recurrent(self, x: Tensor, mask: Tensor) -> Tensor:
        """Either direction over the valid steps alone, without a length that the host must know.

        The valid steps come first, wherever the padding stood; what a direction gives behind the
        last of them is never read.
        """
        steps = torch.arange(mask.shape[1], device=x.device)
        last = (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)
        order = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[..., None]
        back = torch.where(steps <= last, last - steps, steps)[..., None]
        front = x.gather(1, order.expand_as(x))
        forwards, backwards = self.temporal.children()
        along = forwards(front)[0]
        against = backwards(front.gather(1, back.expand_as(x)))[0]
        out = torch.cat([along, against.gather(1, back.expand_as(against))], dim=-1)
        return torch.zeros_like(x).scatter(1, order.expand_as(out), out)


def _temporal_layer(config: QAMoEConfig) -> nn.Module:
    d = config.width
    if config.encoder == "transformer":
        return nn.TransformerEncoderLayer(
            d, config.encoder_heads, 2 * d, config.dropout, batch_first=True, norm_first=True
        )
    if config.encoder in ("bigru", "bilstm"):
        kind = nn.GRU if config.encoder == "bigru" else nn.LSTM
        return nn.ModuleList(kind(d, d // 2, batch_first=True) for _ in range(2))
    if config.encoder == "conv1d_k3":
        return nn.Conv1d(d, d, kernel_size=3, padding=1)
    return nn.Identity()


class Pooling(nn.Module):
    """(B, T, d) steps and (B, T) mask to (B, d); zero where a sample has no valid step."""

    def __init__(self, width: int, kind: Pool) -> None:
        super().__init__()
        self.kind = kind
        self.score = nn.Linear(width, 1) if kind == "attention" else None

    def forward(self, steps: Tensor, mask: Tensor) -> Tensor:
        """Pool over the valid steps."""
        if self.kind == "mean":
            return masked_mean(steps, mask)
        if self.score is not None:
            scores = self.score(steps)[..., 0].masked_fill(~mask, -1e9)
            weights = scores.softmax(dim=1) * mask
        else:
            positions = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
            first = positions.masked_fill(~mask, mask.shape[1]).amin(dim=1)
            last = positions.masked_fill(~mask, -1).amax(dim=1)
            chosen = first if self.kind == "cls" else last
            weights = (positions == chosen[:, None]).to(steps.dtype)
        return (weights[:, None, :] @ steps)[:, 0]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over valid steps: (B, T, ...) and (B, T) mask to (B, ...); 0 without any."""
    weights = mask.to(x.dtype)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.einsum("bt,bt...->b...", weights, x)


def sinusoidal_positions(steps: int, width: int, device: torch.device) -> Tensor:
    """The usual interleaved sine and cosine code, (steps, width); width is even."""
    position = torch.arange(steps, device=device, dtype=torch.float32)[:, None]
    rate = torch.exp(
        torch.arange(0, width, 2, device=device, dtype=torch.float32) * (-math.log(1e4) / width)
    )
    return torch.stack([(position * rate).sin(), (position * rate).cos()], dim=-1).flatten(1)
