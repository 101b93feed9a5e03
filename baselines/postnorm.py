"""A post-norm transformer encoder layer that is quick on short sequences in training."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from baselines.kernels import dropout, feed_forward


class PostNormLayer(nn.Module):
    """``torch.nn.TransformerEncoderLayer`` (Vaswani et al. 2017): its weights, its results.

    On a CPU torch spends more on drawing the dropout masks of its wide hidden layer than on the
    rest of it.

    Args:
        width: e, a multiple of ``heads``.
        heads: attention heads.
        hidden: width of the feed-forward half.
        rate: dropout rate, everywhere the layer has one.
    """

    def __init__(self, width: int, heads: int, hidden: int, rate: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, rate
        self.layer = nn.TransformerEncoderLayer(width, heads, hidden, rate, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, e) to the same; all steps are real."""
        layer = self.layer
        added = self._dropout(self._attend(x))
        x = layer.norm1(x + added)
        inner, outer = layer.linear1, layer.linear2
        added = feed_forward(
            x.flatten(0, 1)[None],
            inner.weight.t()[None],
            inner.bias[None, None],
            outer.weight.t()[None],
            outer.bias[None, None],
            self.rate if self.training else 0.0,
        )
        return layer.norm2(x + self._dropout(added.view_as(x)))

    def _attend(self, x: Tensor) -> Tensor:
        attention = self.layer.self_attn
        fused = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        q, k, v = fused.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        mixed = self._dropout(weights) @ v
        return attention.out_proj(mixed.transpose(1, 2).flatten(2))

    def _dropout(self, x: Tensor) -> Tensor:
        return dropout(x, self.rate, self.training)
