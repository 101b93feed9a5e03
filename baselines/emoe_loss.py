"""EMOE's losses on its router and on what the modalities' experts say of each other.

As in the official code of Fang et al., "EMOE", CVPR 2025. M modalities, in any one order.
"""

from __future__ import annotations

from torch import Tensor

_SMALLEST_WEIGHT = 1e-9
_SOFTENING = 0.1


def entropy_loss(weights: Tensor) -> Tensor:
    """M sum_m w_m log w_m of (B, M) weights, the mean over samples.

    It falls as the weights become equal, to -M log M.
    """
    w = weights.clamp_min(_SMALLEST_WEIGHT)
    return weights.shape[1] * (w * w.log()).sum(1).mean()


def deserved_weights(errors: Tensor) -> Tensor:
    """The weights (B, M) that experts with these squared errors (B, M) deserve; no gradient.

    In proportion to 1 / (error + 0.1).
    """
    inverse = 1.0 / (errors.detach() + _SOFTENING)
    return inverse / inverse.sum(1, keepdim=True)


def similarity_loss(weights: Tensor, errors: Tensor) -> Tensor:
    """The mean squared distance of (B, M) weights from those deserved."""
    return (deserved_weights(errors) - weights).square().mean()


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared distance of two (B, d) vectors' softmaxes; none for the teacher."""
    return (student.softmax(-1) - teacher.detach().softmax(-1)).square().mean()
