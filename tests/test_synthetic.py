"""The embedded data behaves as it says: MOSI-like difficulty, no leak, the same everywhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from benchmark.data import synthetic
from benchmark.data.dataset import SPLITS, Dataset
from benchmark.data.registry import load_dataset, registered
from benchmark.data.store import imported
from benchmark.errors import BenchmarkError
from protocols.modalities import MODALITIES, Modality
from tests.clock import within

REGRESSION_SHA256 = "7cc978cc9ed912faa190c826b470150046cfcf832b5e4079cde01f1e171a7165"
CLASSIFICATION_SHA256 = "0a5362ba5f26ee56eec955b554925a682c06f5a92d876d98acd917ce36c5d983"


@pytest.fixture(scope="module")
def sentiment() -> Dataset:
    return synthetic.regression(None)


@pytest.fixture(scope="module")
def intent() -> Dataset:
    return synthetic.classification(None)


def pooled(dataset: Dataset, split: str, modalities: Sequence[Modality]) -> np.ndarray:
    """Mean over the real steps, modalities side by side."""
    samples = dataset.splits[split].samples
    return np.concatenate(
        [
            (samples.features[m].sum(1) / samples.masks[m].sum(1, keepdim=True)).numpy()
            for m in modalities
        ],
        axis=1,
    )


def label(dataset: Dataset, split: str) -> np.ndarray:
    found = dataset.splits[split].samples.label
    assert found is not None
    return found.numpy()


def ridge_mae(dataset: Dataset, modalities: Sequence[Modality]) -> float:
    model = Ridge(30.0).fit(pooled(dataset, "train", modalities), label(dataset, "train"))
    guess = model.predict(pooled(dataset, "test", modalities))
    return float(np.abs(guess - label(dataset, "test")).mean())


def test_the_same_bits_everywhere(sentiment: Dataset, intent: Dataset) -> None:
    """The hash is part of every run's identity, so it may not depend on the machine."""
    assert sentiment.sha256 == REGRESSION_SHA256
    assert intent.sha256 == CLASSIFICATION_SHA256


def test_it_takes_no_time() -> None:
    with within(2):
        synthetic.regression(None)


@pytest.mark.parametrize("form", ["sentiment", "intent"])
def test_shape(form: str, request: pytest.FixtureRequest) -> None:
    dataset: Dataset = request.getfixturevalue(form)
    assert dataset.synthetic
    assert [len(dataset.splits[s]) for s in SPLITS] == [1284, 229, 686]
    ids = [i for s in SPLITS for i in dataset.splits[s].sample_ids]
    assert len(set(ids)) == len(ids)
    speakers = {s: {i.split("$_$")[0] for i in dataset.splits[s].sample_ids} for s in SPLITS}
    assert not speakers["train"] & speakers["test"]
    assert not speakers["train"] & speakers["valid"]
    assert not speakers["valid"] & speakers["test"]
    for split in dataset.splits.values():
        assert split.samples.available.all()
        for m in MODALITIES:
            features, mask = split.samples.features[m], split.samples.masks[m]
            assert features.shape == (
                len(split),
                dataset.spec.lengths[m],
                dataset.spec.widths[m],
            )
            assert not features[~mask].any()
            assert features.isfinite().all()
            assert torch.equal(mask, mask.long().cummin(1).values.bool())  # right padding
            assert len(mask.sum(1).unique()) > 5


def test_standardised_like_an_import(sentiment: Dataset) -> None:
    samples = sentiment.splits["train"].samples
    for m in MODALITIES:
        rows, width = samples.features[m][samples.masks[m]], sentiment.spec.widths[m]
        if m == "text":
            spread = rows.double().std(correction=0).item()
            assert sentiment.sigma_ref[m].tolist() == pytest.approx([spread] * width, rel=1e-5)
            continue
        torch.testing.assert_close(rows.mean(0), torch.zeros(rows.shape[1]), rtol=0, atol=1e-4)
        torch.testing.assert_close(
            rows.std(0, correction=0), torch.ones(rows.shape[1]), rtol=0, atol=1e-4
        )
        assert sentiment.sigma_ref[m].tolist() == [1] * width


def test_labels_are_like_mosi(sentiment: Dataset) -> None:
    values = label(sentiment, "train")
    assert np.abs(values).max() <= 3
    np.testing.assert_allclose(values * 5, np.rint(values * 5), atol=1e-5)
    assert 1.3 < np.abs(label(sentiment, "test") - np.median(values)).mean() < 1.5
    assert 0.02 < (values == 0).mean() < 0.08
    assert len(np.unique(values)) == 31


def test_difficulty(sentiment: Dataset) -> None:
    """Text says most, each modality something, all together most of all."""
    constant = float(np.abs(label(sentiment, "test") - label(sentiment, "train").mean()).mean())
    text, audio, vision = (ridge_mae(sentiment, [m]) for m in MODALITIES)
    everything = ridge_mae(sentiment, MODALITIES)
    assert 0.8 < everything < 1.0
    assert everything < text - 0.02
    assert text < min(audio, vision) - 0.15
    assert max(audio, vision) < constant - 0.15


def test_the_signal_is_on_few_steps(sentiment: Dataset) -> None:
    """No single position tells the label: what matters moves from sample to sample."""
    for m in MODALITIES:
        first = sentiment.splits["train"].samples.features[m][:, 0].numpy()
        test = sentiment.splits["test"].samples.features[m][:, 0].numpy()
        model = Ridge(30.0).fit(first, label(sentiment, "train"))
        guess = model.predict(test)
        alone = float(np.abs(guess - label(sentiment, "test")).mean())
        assert alone > ridge_mae(sentiment, [m]) + 0.08


def test_nothing_but_features_tells_the_label(sentiment: Dataset) -> None:
    """Neither lengths, nor position in the split, nor the speaker's number."""
    for split in SPLITS:
        values = label(sentiment, split)
        bound = 4 / np.sqrt(len(values))
        assert abs(np.corrcoef(np.arange(len(values)), values)[0, 1]) < bound
        for m in MODALITIES:
            lengths = sentiment.splits[split].samples.masks[m].sum(1).numpy()
            assert abs(np.corrcoef(lengths, values)[0, 1]) < bound


def test_classes(intent: Dataset) -> None:
    assert (intent.spec.task, intent.spec.classes) == ("classification", 6)
    counts = np.bincount(label(intent, "train"), minlength=6)
    assert counts.min() > 50
    assert counts.max() > 3 * counts.min()
    majority = (label(intent, "test") == counts.argmax()).mean()

    def accuracy(modalities: Sequence[Modality]) -> float:
        model = LogisticRegression(C=0.1, max_iter=300)
        model.fit(pooled(intent, "train", modalities), label(intent, "train"))
        return float(model.score(pooled(intent, "test", modalities), label(intent, "test")))

    text, audio, vision = (accuracy([m]) for m in MODALITIES)
    assert min(audio, vision) > majority + 0.1
    assert text > max(audio, vision) + 0.03
    assert 0.65 < accuracy(MODALITIES) < 0.85


# --- names ---


def test_registered_names(sentiment: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCHMARK_DATA_DIR", raising=False)
    assert {"synthetic", "synthetic-intent"} <= set(registered())
    assert load_dataset("synthetic").sha256 == sentiment.sha256


def test_unknown_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCHMARK_DATA_DIR", raising=False)
    with pytest.raises(BenchmarkError, match="Did you mean synthetic") as error:
        load_dataset("sinthetic")
    assert "--data-dir" in str(error.value)
    with pytest.raises(BenchmarkError, match="holds no imported data set"):
        load_dataset("mosi", tmp_path)
    with pytest.raises(BenchmarkError, match="does not exist"):
        load_dataset("mosi", tmp_path / "none")
    with pytest.raises(BenchmarkError, match="no such folder"):
        imported(tmp_path / "none")
    assert imported(tmp_path) == []
    monkeypatch.setenv("BENCHMARK_DATA_DIR", os.fspath(tmp_path / "none"))
    with pytest.raises(BenchmarkError, match="none does not exist"):
        load_dataset("mosi")


@pytest.mark.parametrize("name", ["..", ".", "../x", "", "/etc"])
def test_a_name_is_not_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchmarkError, match="unknown data set"):
        load_dataset(name, tmp_path)
