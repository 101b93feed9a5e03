"""What a degraded input is: the batch, the degradation operator, missing rules, draws, conditions.

Pure tensors; this package knows no model, no data set and no tracker (the lowest floor).
``protocols.degrade`` is for training loops of your own (:mod:`protocols.own_loop`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from protocols.own_loop import degrade

__all__ = ["degrade"]


def __getattr__(name: str) -> Any:
    if name == "degrade":  # torch is loaded by who asks for it
        from protocols.own_loop import degrade

        return degrade
    raise AttributeError(f"module 'protocols' has no attribute '{name}'")
