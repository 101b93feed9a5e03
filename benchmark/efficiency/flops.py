"""Floating-point operations of a forward pass, counted; and a BERT-base encoder's, by formula.

A multiply-add counts as two. Matrix products, convolutions, recurrent layers and attention are
counted, and outer products; other element-wise work is not.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmark.interface import MultimodalModel
from protocols.modalities import Modalities


@dataclass(frozen=True)
class FlopCount:
    """Operations of one pass over a batch.

    Attributes:
        total: of everything, as it is computed.
        modules: name of a submodule -> its operations.
    """

    total: int
    modules: Mapping[str, int]


def count_flops(model: MultimodalModel, batch: Modalities) -> FlopCount:
    """Count a forward pass in eval mode on the CPU; the model and the batch must be there."""
    model.eval()
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mul: _outer_product})
    with _everything_is_seen(), torch.no_grad(), counter:
        model(batch)
    root = type(model).__name__
    modules = {
        name.removeprefix(f"{root}."): sum(counts.values())
        for name, counts in counter.get_flop_counts().items()
        if name.startswith(f"{root}.")
    }
    return FlopCount(counter.get_total_flops(), modules)


@contextmanager
def _everything_is_seen() -> Iterator[None]:
    """Without fused kernels, which the counter takes for one operation of no cost.

    On a CPU these are oneDNN's LSTM, the fast path of multi-head attention and fused attention.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
            warnings.filterwarnings("ignore", message="TF32")  # of torch, when it sets the flag
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _outer_product(first: Any, second: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """A product that broadcasts both factors, one operation per element; any other counts 0."""
    shapes = [shape for shape in (first, second) if isinstance(shape, torch.Size)]
    made = math.prod(out_shape)
    return made if len(shapes) == 2 and made > max(map(math.prod, shapes)) else 0


@dataclass(frozen=True)
class BertBase:
    """BERT-base-uncased by its configuration (Devlin et al., 2019): no weights are needed."""

    width: int = 768
    layers: int = 12
    hidden: int = 3072
    vocabulary: int = 30522
    positions: int = 512
    segments: int = 2

    @property
    def parameters(self) -> int:
        """Embeddings, layers and pooler."""
        d, h = self.width, self.hidden
        embeddings = (self.vocabulary + self.positions + self.segments) * d + 2 * d
        attention = 4 * (d * d + d)
        feed_forward = d * h + h + h * d + d
        return embeddings + self.layers * (attention + feed_forward + 4 * d) + d * d + d

    def flops(self, tokens: int) -> int:
        """Of one sequence: projections, scores and mixing, feed-forward, and the pooler."""
        d, h = self.width, self.hidden
        products = 4 * d * d + 2 * d * h
        attention = 2 * tokens * d
        return 2 * (self.layers * tokens * (products + attention) + d * d)
