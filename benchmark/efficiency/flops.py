"""Floating-point operations of a forward pass, counted.

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
