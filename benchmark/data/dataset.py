"""A data set in memory: three splits of resident tensors, and what a model must know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmark.interface import DataSpec
from protocols.modalities import Modalities, Modality

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Split:
    """The samples of one split, in their stored order.

    Attributes:
        sample_ids: N distinct ids; the keys of the corruption draws.
        samples: all N samples as one batch. Audio and vision are standardised per channel with
            train statistics; padding is zero; naturally missing modalities are unavailable.
    """

    sample_ids: tuple[str, ...]
    samples: Modalities

    def __len__(self) -> int:
        return len(self.sample_ids)


@dataclass(frozen=True)
class TrainingData:
    """What the trainer is given: everything but the test split."""

    train: Split
    valid: Split
    spec: DataSpec
    sigma_ref: Mapping[Modality, Tensor]


@dataclass(frozen=True)
class Dataset:
    """A loaded data set.

    Attributes:
        name: as the user calls it.
        sha256: hash of the stored features, ids and labels; part of every run's identity.
        spec: widths, lengths, present modalities and task.
        splits: train, valid and test.
        sigma_ref: modality -> reference standard deviation of the noise (Eq. 12): 1 for the
            standardised audio and vision; for text, which is left as its encoder made it, one
            number over all channels of the valid train steps (A11).
        synthetic: true for generated data; then every table and figure says so.
    """

    name: str
    sha256: str
    spec: DataSpec
    splits: Mapping[str, Split]
    sigma_ref: Mapping[Modality, Tensor]
    synthetic: bool = False

    def training_data(self) -> TrainingData:
        """The splits that training may see."""
        return TrainingData(
            self.splits["train"], self.splits["valid"], self.spec, dict(self.sigma_ref)
        )

    def to(self, device: torch.device | str) -> Dataset:
        """The same data set with its tensors resident on ``device``."""
        return replace(
            self,
            splits={
                name: Split(split.sample_ids, split.samples.to(device))
                for name, split in self.splits.items()
            },
            sigma_ref={m: sigma.to(device) for m, sigma in self.sigma_ref.items()},
        )
