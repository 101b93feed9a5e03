"""The batch: three feature sequences, their padding masks, their availability, the label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the names of modalities are for everybody, also for who reads records only
    import torch
    from torch import Tensor

Task = Literal["regression", "classification"]
"""What a label is: a sentiment, or a class."""

Modality = Literal["text", "audio", "vision"]

MODALITIES: tuple[Modality, ...] = ("text", "audio", "vision")
"""The modalities in the paper's order t, a, v: the order of every axis of length 3."""

LETTERS: dict[Modality, str] = {"text": "t", "audio": "a", "vision": "v"}


@dataclass(frozen=True)
class Modalities:
    """A batch of B samples, as every model receives it.

    A missing modality is an all-zero sequence with its padding mask unchanged, never a dropped
    key. A modality that a data set does not have at all is one zero step of width 1, all padding.

    Attributes:
        features: modality -> (B, T_m, d_m) float; rows of padding are zero.
        masks: modality -> (B, T_m) bool; true = real step, false = padding. Degradation never
            changes it.
        available: (B, 3) bool in the order t, a, v; false = the modality was zeroed or is absent.
            Harness metadata: a method may read it only if its original uses availability.
        label: (B,) float sentiment or long class index; None when only predictions are wanted.
    """

    features: Mapping[Modality, Tensor]
    masks: Mapping[Modality, Tensor]
    available: Tensor
    label: Tensor | None = None

    def __len__(self) -> int:
        return self.available.shape[0]

    @property
    def text(self) -> Tensor:
        """(B, T_t, d_t), as ``features["text"]``."""
        return self.features["text"]

    @property
    def audio(self) -> Tensor:
        """(B, T_a, d_a), as ``features["audio"]``."""
        return self.features["audio"]

    @property
    def vision(self) -> Tensor:
        """(B, T_v, d_v), as ``features["vision"]``."""
        return self.features["vision"]

    @property
    def device(self) -> torch.device:
        """The device that holds the batch."""
        return self.available.device

    @property
    def bytes(self) -> int:
        """The memory that the features and masks take."""
        return sum(x.nbytes for x in (*self.features.values(), *self.masks.values()))

    def tensors(self) -> list[Tensor]:
        """All tensors of the batch; those without a label are one fewer."""
        label = [] if self.label is None else [self.label]
        return [*self.features.values(), *self.masks.values(), self.available, *label]

    def _each(self, change: Callable[[Tensor], Tensor]) -> Modalities:
        """The batch with every tensor changed alike."""
        return Modalities(
            {m: change(x) for m, x in self.features.items()},
            {m: change(x) for m, x in self.masks.items()},
            change(self.available),
            None if self.label is None else change(self.label),
        )

    def select(self, index: Tensor | slice) -> Modalities:
        """The samples at ``index``: a (K,) long tensor on the batch's device, or a slice."""
        return self._each(lambda x: x[index])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Modalities:
        """The same batch on ``device``."""
        return self._each(lambda x: x.to(device, non_blocking=non_blocking))

    def pin(self) -> Modalities:
        """The same batch in host memory that a device copies from without the host's help."""
        return self._each(lambda x: x.pin_memory())

    def clone(self) -> Modalities:
        """The same batch in memory of its own."""
        return self._each(lambda x: x.clone())

    def copy_(self, other: Modalities) -> None:
        """Overwrite this batch, in place, with another of the same shapes."""
        for own, theirs in zip(self.tensors(), other.tensors(), strict=True):
            own.copy_(theirs)

    def as_float32(self) -> Modalities:
        """The same batch in single precision, as models compute; data at rest may be half."""
        return replace(self, features={m: x.float() for m, x in self.features.items()})

    def without_label(self) -> Modalities:
        """The same batch with nothing of the answer in it: what a model sees at evaluation."""
        return replace(self, label=None)
