"""Models by name, from the entry-point group ``benchmark.models``: in-tree ones and anybody's.

``pip install`` of a package that declares one makes its model known here; nothing else changes.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

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
