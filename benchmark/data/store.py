"""Imported data sets on disk: list them, load one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.data.arrays import BROKEN
from benchmark.data.dataset import SPLITS, Dataset, Split
from benchmark.data.manifest import (
    FEATURES,
    MANIFEST,
    SAMPLES,
    Manifest,
    Rows,
    changed_files,
    content_sha256,
    import_again,
    read_manifest,
    rewrite_again,
)
from benchmark.data.rewritten import Rewritten
from benchmark.data.standardise import Scale, channel_sigma, constant_channels
from benchmark.errors import BenchmarkError
from benchmark.files import check_regular
from benchmark.interface import DataSpec
from protocols.modalities import MODALITIES, Modalities, Modality


def imported(data_dir: Path) -> list[Manifest]:
    """The manifests of the data sets in ``data_dir``, by name.

    Raises:
        BenchmarkError: the folder does not exist, or a manifest in it is damaged.
    """
    if not data_dir.is_dir():
        raise BenchmarkError(f"{data_dir}: no such folder (the folder of imported data sets).")
    folders = sorted(p.parent for p in data_dir.glob(f"*/{MANIFEST}"))
    return [read_manifest(p) for p in folders if not p.name.startswith(".")]


def load(data_dir: Path, name: str) -> Dataset:
    """The imported data set ``name``, memory-mapped.

    Raises:
        BenchmarkError: not imported, or its files are incomplete or damaged.
    """
    folder = data_dir / name
    manifest = read_manifest(folder)
    try:
        dataset = _load(folder, manifest)
    except (BenchmarkError, OSError, RuntimeError, *BROKEN) as error:
        raise _damaged(folder, error) from None
    verify(folder, manifest, dataset, remembered=True)
    return dataset


def verify(folder: Path, manifest: Manifest, dataset: Dataset, remembered: bool = False) -> None:
    """Compare a loaded data set with the hashes of its import.

    Args:
        folder: where it is.
        manifest: its manifest, whose own hash is compared with what was loaded.
        dataset: what was loaded.
        remembered: files found sound before are not hashed again; see :func:`changed_files`.

    Raises:
        BenchmarkError: names the files that differ.
    """
    wrong = changed_files(folder, manifest, remembered)
    rows = []
    for name, split in dataset.splits.items():
        assert split.samples.label is not None
        label, available = split.samples.label.numpy(), split.samples.available.numpy()
        rows.append(Rows(name, split.sample_ids, label, available))
    features = manifest.files.get(FEATURES, "")
    facts = (manifest.task, manifest.classes, manifest.sigma_ref, features)
    if not wrong and content_sha256(*facts, rows) != manifest.sha256:
        wrong = [MANIFEST]
    if wrong:
        only = manifest.rewriting is not None and wrong == [manifest.rewriting.file]
        again = rewrite_again(folder) if only else import_again(folder)
        raise BenchmarkError(
            f"{folder}: {' and '.join(wrong)} changed since it was made (SHA-256 differs). {again}"
        )


def _damaged(folder: Path, error: Exception) -> BenchmarkError:
    return BenchmarkError(f"{folder}: damaged or incomplete ({error}). {import_again(folder)}")


def _load(folder: Path, manifest: Manifest) -> Dataset:
    import pandas as pd
    from safetensors import SafetensorError, safe_open

    for name in (FEATURES, SAMPLES):
        check_regular(folder / name)
    samples = pd.read_parquet(folder / SAMPLES).groupby("split", sort=False)
    splits = {}
    try:
        with safe_open(folder / FEATURES, framework="pt") as tensors:
            for split in SPLITS:
                found = _split(tensors, samples.get_group(split), split, manifest)
                splits[split] = replace(found, rewritten=_rewritten(folder, split, manifest))
    except SafetensorError as error:
        raise _damaged(folder, error) from None
    widths: dict[Modality, int] = {m: manifest.widths.get(m, 1) for m in MODALITIES}
    lengths: dict[Modality, int] = {m: manifest.lengths.get(m, 1) for m in MODALITIES}
    present = tuple(m for m in MODALITIES if m in manifest.widths)
    spec = DataSpec(widths, lengths, present, manifest.task, manifest.classes)
    scales = {
        m: Scale.from_lists(mean, manifest.std[m], manifest.constant[m])
        for m, mean in manifest.mean.items()
    }
    sigma = {m: _sigma(m, manifest, scales, splits["train"].samples) for m in MODALITIES}
    names = manifest.class_names
    return Dataset(manifest.name, manifest.sha256, spec, splits, sigma, False, scales, names)


def _rewritten(folder: Path, split: str, manifest: Manifest) -> Rewritten | None:
    facts = manifest.rewriting
    return Rewritten(folder, split, facts) if facts and split != "train" else None


def _sigma(
    modality: Modality,
    manifest: Manifest,
    scales: Mapping[Modality, Scale],
    train: Modalities,
) -> Tensor:
    """(d_m,) reference deviation of the noise; zero for a modality that the set lacks."""
    if modality not in manifest.widths:
        return torch.zeros(1)
    if modality in scales:
        constant = scales[modality].constant
    else:
        there = train.available[:, MODALITIES.index(modality), None]
        keep = train.masks[modality] & there
        constant = constant_channels(train.features[modality].numpy(), keep.numpy())
    return torch.from_numpy(channel_sigma(manifest.sigma_ref[modality], constant))


def _split(tensors: Any, rows: Any, split: str, manifest: Manifest) -> Split:
    """One split; a modality that the set lacks is one zero step of width 1, all padding."""
    count = len(rows)
    if count != manifest.counts[split]:
        raise ValueError(f"{split} has {count} samples, the manifest says {manifest.counts[split]}")
    features: dict[Modality, Tensor] = {}
    masks: dict[Modality, Tensor] = {}
    for m in MODALITIES:
        if m in manifest.widths:
            features[m] = tensors.get_tensor(f"{split}.{m}.features")
            masks[m] = tensors.get_tensor(f"{split}.{m}.mask")
            stated = (count, manifest.lengths[m], manifest.widths[m])
            if tuple(features[m].shape) != stated:
                raise ValueError(f"{split} {m} is {tuple(features[m].shape)}, not {stated}")
        else:
            features[m] = torch.zeros(count, 1, 1)
            masks[m] = torch.zeros(count, 1, dtype=torch.bool)
    kind = np.float32 if manifest.task == "regression" else np.int64
    available = rows[[f"{m}_available" for m in MODALITIES]].to_numpy(dtype=bool, copy=True)
    label = rows["label"].to_numpy(dtype=kind, copy=True)
    batch = Modalities(features, masks, torch.from_numpy(available), torch.from_numpy(label))
    return Split(tuple(rows["id"]), batch)
