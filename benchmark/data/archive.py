"""Feature packages as .npz or .safetensors: the pickle's keys, one level flatter.

``train.text``, ``train.id``, ``valid.regression_labels`` and so on. An .npz holds every column as
an array (texts as dtype=str). A .safetensors file holds numbers only: its texts (``train.id``,
``train.raw_text``) are JSON lists in the metadata.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError

ARCHIVES = (".npz", ".safetensors")


def read_archive(path: Path) -> dict[str, Any]:
    """The columns by split: ``{"train": {"id": ..., "text": ...}, ...}``.

    Raises:
        BenchmarkError: the file is damaged, or a column cannot be read without executing code.
    """
    columns = _npz(path) if path.suffix == ".npz" else _safetensors(path)
    data: dict[str, Any] = {}
    for key, values in columns.items():
        split, dot, name = key.partition(".")
        if dot:
            data.setdefault(split, {})[name] = values
        else:
            data[key] = values
    return data


def _npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: _column(archive, key, path) for key in archive.files}
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise BenchmarkError(f"{path}: damaged, or no .npz file ({error}).") from None


def _column(archive: Any, key: str, path: Path) -> Any:
    try:
        return archive[key]
    except ValueError as error:
        raise BenchmarkError(
            f"{path}: {key}: cannot be read without executing code ({error}). Save texts with"
            " np.array(texts, dtype=str), and sequences padded to one array of numbers."
        ) from None


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as tensors:
            found = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118
            texts = tensors.metadata() or {}
    except (SafetensorError, OSError, TypeError, AttributeError) as error:
        raise BenchmarkError(f"{path}: damaged, or no .safetensors file ({error}).") from None
    for key, text in texts.items():
        if "." in key:
            try:
                found[key] = json.loads(text)
            except ValueError as error:
                raise BenchmarkError(
                    f"{path}: metadata '{key}' must be a JSON list of texts ({error})."
                ) from None
    return found
