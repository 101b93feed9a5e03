"""Content that carries its own hash: what was changed after it was written is not believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic_core import from_json

SEAL = "sha256"
"""The key that the hash stands under."""


class UnsealedError(ValueError):
    """There is no hash: what wrote it was an older version."""


def hash_of(values: Mapping[str, Any]) -> str:
    """The SHA-256 of the canonical JSON of plain values."""
    return _hashed(_canonical(values))


def hash_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of arrays: their names, kinds, shapes and values."""
    hasher = hashlib.sha256()
    for name in sorted(arrays):
        values = arrays[name]
        hasher.update(f"{name} {values.dtype.str} {values.shape}\n".encode())
        hasher.update(values.tobytes())
    return hasher.hexdigest()


def _canonical(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with their hash."""
    return {**values, SEAL: hash_of(values)}


def unsealed(values: Any) -> dict[str, Any]:
    """The values that :func:`sealed` was given.

    Raises:
        ValueError: they are no mapping, or have another hash than they say.
        UnsealedError: they say none.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"it holds a {type(values).__name__}, not keys with values")
    if SEAL not in values:
        raise UnsealedError("it has no hash of its content")
    content = {key: value for key, value in values.items() if key != SEAL}
    if hash_of(content) != values[SEAL]:
        raise ValueError("it was edited or damaged after the run: its content has another hash")
    return content


_MARK = f',"{SEAL}":"'


def sealed_json(values: Mapping[str, Any]) -> str:
    """What :func:`sealed` makes of values, of which there is one, as JSON.

    It is the canonical JSON with the hash as the last value, so that who reads it need not write
    it again to know its hash, which takes longer than to read it.
    """
    content = _canonical(values)
    return f'{content[:-1]}{_MARK}{_hashed(content)}"}}'


def unsealed_json(text: str) -> dict[str, Any]:
    """The values of any JSON with their hash; raises what :func:`unsealed` does, and ValueError."""
    values = from_json(text)
    content, _, seal = text.rpartition(_MARK)
    if isinstance(values, dict) and seal == f'{_hashed(content + "}")}"}}':
        del values[SEAL]
        return values
    return unsealed(values)
