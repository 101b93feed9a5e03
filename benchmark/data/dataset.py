"""A data set in memory: three splits of tensors, and what a model must know of them.

The splits are resident on the device that uses them. Where they do not fit there they stay on the
host and stream to it in chunks, through the same two methods: the batches are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.rewritten import Rewritten, require_rewritten
from benchmark.data.standardise import Scale
from benchmark.data.transfer import to_device, used_here
from benchmark.errors import BenchmarkError
from benchmark.interface import DataSpec
from protocols.conditions import Condition
from protocols.modalities import MODALITIES, Modalities, Modality

SPLITS = ("train", "valid", "test")
CHUNK_BYTES = 256 * 2**20
"""What streams to the device at a time; two such chunks are there at once."""
RESIDENT_SHARE = 0.5
"""Data may fill this share of a device's free memory; the rest is the model's."""


@dataclass(frozen=True)
class Split:
    """The samples of one split, in their stored order.

    Attributes:
        sample_ids: N distinct ids; the keys of the corruption draws.
        samples: all N samples as one batch. Audio and vision are standardised per channel with
            train statistics; padding is zero; naturally missing modalities are unavailable. Text
            is in half precision where its source was; ``part`` and ``batches`` give float32.
        streams_to: the device that uses the samples where they stay on the host; None where they
            are resident.
        rewritten: the states of its rewritten transcripts, where the data set has them.
    """

    sample_ids: tuple[str, ...]
    samples: Modalities
    streams_to: torch.device | None = None
    rewritten: Rewritten | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def device(self) -> torch.device:
        """The device that uses the samples."""
        return self.streams_to or self.samples.device

    def select(self, rows: Tensor) -> Split:
        """Some of the samples, as a split of the same name: (n,) long, on the CPU."""
        return Split(
            tuple(self.sample_ids[row] for row in rows.tolist()),
            self.samples.select(rows.to(self.samples.device)),
            self.streams_to,
            self.rewritten.select(rows) if self.rewritten else None,
        )

    def part(self, rows: slice) -> Modalities:
        """Consecutive samples, on the device."""
        return self.samples.select(rows).to(self.device).as_float32()

    def with_rewritten(
        self,
        samples: Modalities,
        part: slice,
        rule: str,
        draw: int,
        intensity: float,
        joint: str = "",
    ) -> Modalities:
        """The samples of ``part`` with the text of rewritten transcripts; see
        :meth:`benchmark.data.rewritten.Rewritten.put`. Raises BenchmarkError without any."""
        if self.rewritten is None:
            raise BenchmarkError(f"the noise rule '{rule}' needs transcripts: there are none here")
        return self.rewritten.put(samples, part, rule, draw, intensity, joint)

    def batches(self, order: Tensor, size: int) -> Iterator[Modalities]:
        """Batches of ``size`` samples on the device, along ``order``: (N,) long, on the CPU."""
        if self.streams_to is None:
            for index in order.to(self.device).split(size):
                yield self.samples.select(index).as_float32()
            return
        pieces = order.split(max(1, CHUNK_BYTES * len(self) // self.samples.bytes // size) * size)
        with ThreadPoolExecutor(1) as second:  # fetches the next chunk while this one is used
            coming = second.submit(self._fetch, pieces[0])
            for following in (*pieces[1:], None):
                chunk = coming.result()
                used_here(chunk)
                if following is not None:
                    coming = second.submit(self._fetch, following)
                for start in range(0, len(chunk), size):
                    yield chunk.select(slice(start, start + size)).as_float32()

    def _fetch(self, index: Tensor) -> Modalities:
        """The samples at ``index``, from the host to the device, as they are stored."""
        return to_device(self.samples.select(index), self.device)


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
        splits: train, valid and test; without test in a search.
        sigma_ref: modality -> (d_m,) reference standard deviation of the noise (Eq. 12): 1 for the
            standardised audio and vision; for text, which is left as its encoder made it, one
            number over all channels of the valid train steps (A11). 0 where a channel never
            varies in training.
        synthetic: true for generated data; then every table and figure says so.
        scales: audio and vision -> the statistics that standardised them; for new samples.
        class_names: the classes' names by number, where the data set names them.
    """

    name: str
    sha256: str
    spec: DataSpec
    splits: Mapping[str, Split]
    sigma_ref: Mapping[Modality, Tensor]
    synthetic: bool = False
    scales: Mapping[Modality, Scale] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()

    @cached_property
    def centre(self) -> Mapping[Modality, Tensor]:
        """Modality -> (d_m,) train mean of its valid steps, on the device; worked out when asked
        for. About 0 for the standardised audio and vision."""
        train = self.splits["train"]
        return {m: _mean_step(train, place, m) for place, m in enumerate(MODALITIES)}

    def centre_for(self, noise_rules: Iterable[str]) -> Mapping[Modality, Tensor] | None:
        """:attr:`centre` where a rule fills what is missing with it."""
        return self.centre if "fill_mean" in noise_rules else None

    def require(self, conditions: Iterable[Condition]) -> None:
        """Raise BenchmarkError where conditions need what the data set does not hold."""
        test = self.splits.get("test", self.splits["valid"]).rewritten
        require_rewritten(self.name, test.facts if test else None, conditions)

    def training_data(self) -> TrainingData:
        """The splits that training may see."""
        return TrainingData(
            self.splits["train"], self.splits["valid"], self.spec, dict(self.sigma_ref)
        )

    def facts(self) -> dict[str, Any]:
        """What reports need of the data: hash, whether synthetic or aligned, the best constants."""
        label = self.splits["train"].samples.label
        assert label is not None
        values = label.cpu().numpy()
        floors: dict[str, float]
        if self.spec.task == "regression":
            floors = {"mean": float(values.mean()), "median": float(np.median(values))}
        else:
            floors = {"majority": int(np.bincount(values).argmax())}
        return {
            "data_sha256": self.sha256,
            "synthetic": self.synthetic,
            "aligned": len({self.spec.lengths[m] for m in self.spec.present}) == 1,
            "floors": floors,
        }

    def without_test(self) -> Dataset:
        """The same data set with no test split in it: what a search may see."""
        return replace(self, splits={k: v for k, v in self.splits.items() if k != "test"})

    def to(self, device: torch.device | str, room: int | None = None) -> Dataset:
        """The same data set for use on ``device``: resident there, or streamed if it has no room.

        Args:
            device: the device.
            room: bytes that the data may take there; by default half of what is free, and on the
                CPU, where the data already are, as many as there are.
        """
        target = torch.device(device)
        if room is None:
            room = _room(target)
        resident = room is None or sum(s.samples.bytes for s in self.splits.values()) <= room

        def place(split: Split) -> Split:
            if resident:
                return replace(split, samples=split.samples.to(target), streams_to=None)
            return replace(split, streams_to=target)

        return replace(
            self,
            splits={name: place(split) for name, split in self.splits.items()},
            sigma_ref={m: sigma.to(target) for m, sigma in self.sigma_ref.items()},
        )


def _mean_step(split: Split, place: int, m: Modality) -> Tensor:
    """The mean of a modality's valid steps over the samples that have it, in chunks."""
    total = torch.zeros(split.samples.features[m].shape[-1], dtype=torch.float64)
    count = 0
    for start in range(0, len(split), _MEAN_ROWS):
        rows = slice(start, start + _MEAN_ROWS)
        valid = split.samples.masks[m][rows] & split.samples.available[rows, place, None]
        total += split.samples.features[m][rows][valid].sum(0, dtype=torch.float64).cpu()
        count += int(valid.sum())
    return (total / max(count, 1)).float().to(split.device)


_MEAN_ROWS = 512


def _room(device: torch.device) -> int | None:
    """Bytes that data may take on a device; None: no limit."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(free * RESIDENT_SHARE)
