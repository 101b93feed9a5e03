"""What MM-Boosting's base learners owe one another: their worth, and which samples to attend to.

K learners have losses (B, K) on the B samples of a batch. A reconstruction after the abstract of
Mai et al., "Multimodal Boosting", IEEE Transactions on Multimedia 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from protocols.modalities import Task

LEAST, MOST = 0.5, 2.0
"""The range to which a sample's weight is cut."""
_SMALLEST_MEAN = 1e-6


def learner_losses(answers: Tensor, label: Tensor, task: Task) -> Tensor:
    """(B, K) absolute errors or cross-entropies of the answers (B, K, out)."""
    if task == "regression":
        return (answers[..., 0] - label[:, None]).abs()
    each = label[:, None].expand(answers.shape[:2])
    return F.cross_entropy(answers.transpose(1, 2), each, reduction="none")


def deserved_scores(losses: Tensor, temperature: float) -> Tensor:
    """exp(-loss / temperature), (B, K) in (0, 1], without gradient.

    Of cross-entropies, at temperature 1, it is the probability of the true class.
    """
    return (-losses.detach() / temperature).exp()


def deserved_shares(losses: Tensor, temperature: float) -> Tensor:
    """The same relative to the other learners: softmax over K, (B, K), without gradient."""
    return (-losses.detach() / temperature).softmax(1)


def complementary_weights(losses: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the samples for each learner, larger where the other learners are wrong.

    A sample's weight for learner k is the mean loss of the others, by its mean over the batch, cut
    to [0.5, 2]; they are then divided by their mean over the batch. Where that mean loss is the
    same for all samples, or zero, or the sample or the learner is the only one, they are 1.

    Args:
        losses: (B, K).

    Returns:
        (B, K) weights with mean 1 over the batch, without gradient; the share that was cut.
    """
    losses = losses.detach()
    others = losses.shape[1] - 1
    if not others:
        return torch.ones_like(losses), losses.new_zeros(())
    s = (losses.sum(1, keepdim=True) - losses) / others
    raw = s / s.mean(0, keepdim=True).clamp_min(_SMALLEST_MEAN)
    cut = raw.clamp(LEAST, MOST)
    return cut / cut.mean(0, keepdim=True), (raw != cut).to(raw.dtype).mean()
