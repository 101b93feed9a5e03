"""Models by name, from the entry-point group ``benchmark.models``: in-tree ones and anybody's.

``pip install`` of a package that declares one makes its model known here; nothing else changes.
"""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import asdict
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BenchmarkError, unknown

if TYPE_CHECKING:  # names cost no torch, a class does
    from benchmark.interface import MultimodalModel

GROUP = "benchmark.models"


def model_names() -> list[str]:
    """Every registered name, sorted. Raises BenchmarkError where two packages claim one name."""
    return sorted(_entries())


@cache
def model_class(name: str) -> type[MultimodalModel]:
    """The class of a registered model.

    Raises:
        BenchmarkError: for an unknown name, or an entry that cannot be imported or is no model.
    """
    from benchmark.interface import MultimodalModel

    entries = _entries()
    if name not in entries:
        raise unknown("model", name, entries)
    entry = entries[name]
    try:
        found = entry.load()
    except (ImportError, AttributeError) as error:
        raise BenchmarkError(
            f"model '{name}' ({entry.value}) cannot be imported: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, MultimodalModel)):
        raise BenchmarkError(
            f"model '{name}' ({entry.value}) is no subclass of benchmark.interface.MultimodalModel"
        )
    return found


def model_facts(name: str) -> dict[str, Any]:
    """What a record keeps of a model: its card, and the hash of the file that defines its class.

    The hash stands for the version of a model whose card has none.
    """
    kind = model_class(name)
    source = inspect.getsourcefile(kind)
    content = Path(source).read_bytes() if source else b""
    return {**asdict(kind.card), "source_sha256": hashlib.sha256(content).hexdigest()}


def _entries() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise BenchmarkError(
                f"two packages register the model name '{entry.name}': {other.value} and "
                f"{entry.value}. Rename or uninstall one of them."
            )
    return found
