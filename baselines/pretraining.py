"""How a run's epochs are shared between a method's first stage and its main one."""

from __future__ import annotations

import math


def first_stage_epochs(share: float, epochs: int) -> int:
    """The epochs of the first stage: the share of all of them, rounded up.

    At least one epoch is left for the main stage, without which nothing could be selected.

    Args:
        share: in [0, 1].
        epochs: of the whole run, so that every method has the same budget.
    """
    whole = math.ceil(round(share * epochs, 6))  # 0.1 * 30 is a little more than 3
    return min(whole, epochs - 1)
