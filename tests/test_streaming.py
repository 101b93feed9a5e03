"""Data that do not fit on the device stream to it: the same batches, the same run, less memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmark.data import dataset as datasets
from benchmark.data.dataset import Dataset, Split
from benchmark.predict import fill_table
from protocols.conditions import PROTOCOLS, conditions_of
from protocols.modalities import MODALITIES
from protocols.regimes import Regime
from tests.batches import make_dataset
from tests.test_train import config, run, weights


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_dataset(sizes=(50, 20, 10))


@pytest.fixture
def streamed(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The same data in chunks of some 20 samples."""
    monkeypatch.setattr(datasets, "CHUNK_BYTES", data.splits["train"].samples.bytes * 20 // 50)
    return data.to("cpu", room=0)


def test_batches_are_those_of_resident_data(data: Dataset, streamed: Dataset) -> None:
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    for size in (1, 7, 16, 64):
        resident = list(data.splits["train"].batches(order, size))
        chunked = list(streamed.splits["train"].batches(order, size))
        assert len(resident) == len(chunked)
        for one, other in zip(resident, chunked, strict=True):
            assert torch.equal(one.available, other.available)
            assert torch.equal(one.label, other.label)  # type: ignore[arg-type]
            for m in MODALITIES:
                assert torch.equal(one.features[m], other.features[m])
                assert torch.equal(one.masks[m], other.masks[m])


def test_no_more_than_a_chunk_is_fetched_at_a_time(
    streamed: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[int] = []
    plain = Split._fetch

    def counting(self: Split, index: torch.Tensor) -> object:
        fetched.append(len(index))
        return plain(self, index)

    monkeypatch.setattr(Split, "_fetch", counting)
    for _ in streamed.splits["train"].batches(torch.arange(50), 8):
        pass
    assert fetched == [16, 16, 16, 2]  # whole batches, at most 20 samples


@pytest.mark.parametrize("kind", ["clean", "spectrum"])
def test_a_streamed_run_is_the_resident_one(data: Dataset, streamed: Dataset, kind: str) -> None:
    settings, regime = config(epochs=3, batch_size=8), Regime(kind=kind)  # type: ignore[arg-type]
    conditions = conditions_of(PROTOCOLS, MODALITIES, ("seed_a1",), 1, "uniform_0.7")
    found = []
    for given in (data, streamed):
        fitted = run(given, settings, regime)
        table = fill_table(
            fitted.model, given.splits["test"], given.spec, given.sigma_ref, conditions
        )
        found.append((weights(fitted), fitted.history, table.prediction))
    (w1, h1, p1), (w2, h2, p2) = found
    assert torch.equal(w1, w2)
    assert h1.equals(h2)
    np.testing.assert_array_equal(p1, p2)


def test_the_room_on_the_device_decides(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    size = sum(split.samples.bytes for split in data.splits.values())
    for room, streams in ((None, False), (size, False), (size - 1, True)):
        monkeypatch.setattr(datasets, "_room", lambda device, room=room: room)
        placed = data.to("cpu")
        assert all((split.streams_to is not None) is streams for split in placed.splits.values())
        assert all(split.device.type == "cpu" for split in placed.splits.values())
    monkeypatch.undo()
    assert data.to("cpu").splits["train"].streams_to is None  # there is nowhere to stream to


def test_room_is_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    assert datasets._room(torch.device("cuda")) == 500


def test_data_at_rest_in_half_precision_are_the_same_run(data: Dataset) -> None:
    def with_text(dtype: torch.dtype) -> Dataset:
        def change(split: Split) -> Split:
            text = split.samples.features["text"].half().to(dtype)
            features = {**split.samples.features, "text": text}
            return replace(split, samples=replace(split.samples, features=features))

        return replace(data, splits={name: change(s) for name, s in data.splits.items()})

    half, full = with_text(torch.float16), with_text(torch.float32)
    assert half.splits["train"].samples.bytes < full.splits["train"].samples.bytes
    settings, regime = config(epochs=2), Regime(kind="spectrum")
    found = run(half, settings, regime)
    assert torch.equal(weights(found), weights(run(full, settings, regime)))
    conditions = conditions_of(PROTOCOLS, MODALITIES, ("seed_a1",), 1, "uniform_0.7")
    tables = [
        fill_table(found.model, d.splits["test"], d.spec, d.sigma_ref, conditions).prediction
        for d in (half, full)
    ]
    np.testing.assert_array_equal(*tables)
