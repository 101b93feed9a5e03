"""Entry points of every group, ours and anybody's: a broken one is named, and harms no other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from benchmark.errors import BenchmarkError, unknown
from benchmark.strangers import strangers


@dataclass(frozen=True)
class Plugin:
    """What a package declares under a name.

    Attributes:
        kind: what it is, for people ("model").
        name: as it is asked for.
        entries: what declares it; two that differ are a clash.
    """

    kind: str
    name: str
    entries: tuple[EntryPoint, ...]

    @property
    def value(self) -> str:
        """Where it is: "package.module:name"."""
        return self.entries[0].value

    def load(self) -> Any:
        """The object. Raises BenchmarkError where it cannot be had, whatever the reason."""
        values = sorted({entry.value for entry in self.entries})
        if len(values) > 1:
            raise self.broken(f"two packages declare it: {' and '.join(values)}")
        with strangers(self.broken):
            return self.entries[0].load()

    def broken(self, why: str) -> BrokenError:
        """The error that says what is wrong with it."""
        return BrokenError(
            f"{self.kind} '{self.name}' ({self.value}) is broken: {why}. Mend, rename or uninstall"
            " what declares it.",
            why,
        )


class BrokenError(BenchmarkError):
    """An entry that cannot be used, and ``why`` in a few words."""

    def __init__(self, message: str, why: str) -> None:
        super().__init__(message)
        self.why = why


def plugins(kind: str) -> dict[str, Plugin]:
    """Everything declared in the group ``benchmark.<kind>s``, by name; nothing is imported."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in _declared(f"benchmark.{kind}s", tuple(sys.path)):
        found.setdefault(entry.name, []).append(entry)
    return {name: Plugin(kind, name, tuple(found[name])) for name in sorted(found)}


@lru_cache
def _declared(group: str, path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """What is installed on the path; a look through all of it takes hundredths of a second."""
    return tuple(entry_points(group=group))


def offered(name: str) -> Any:
    """What a package above the harness offers as ``benchmark.<name>``: reports do some.

    Raises:
        BenchmarkError: where none is installed that does, or it is broken.
    """
    known = plugins("function")
    if name not in known:
        raise unknown("function", name, known, "Is the package that offers it installed?")
    return known[name].load()


def broken_rows(kind: str) -> Iterator[tuple[str, str]]:
    """(name, "broken: why") of those that cannot be loaded."""
    for name, plugin in plugins(kind).items():
        try:
            plugin.load()
        except BrokenError as error:
            yield name, f"broken: {error.why}"
