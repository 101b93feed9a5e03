"""What a report must know of a model: its title, how well its source is known, its defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.records import RunRecord


@dataclass(frozen=True)
class Card:
    """The part of a model's card that a report shows.

    Attributes:
        title: the name as tables print it.
        source: how well the original is known; empty where nothing says it.
        presets: preset -> the model's complete settings under it; what departs from them is named
            in the system's label.
    """

    title: str
    source: str = ""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def reconstruction(self) -> bool:
        """Whether the method was rebuilt without its source, which every number must say."""
        return self.source == "reconstruction"


CardLookup = Callable[[str], Card | None]


def installed(name: str) -> Card | None:
    """The card of a registered model; None for one that is not installed."""
    from benchmark.errors import BenchmarkError
    from benchmark.naming import preset_settings
    from benchmark.registry import model_class

    try:
        kind = model_class(name)
    except BenchmarkError:
        return None
    return Card(kind.card.title, kind.card.source, preset_settings(name))


def recorded(run: RunRecord) -> Card:
    """The card as a run's record keeps it, for a model that is not installed here."""
    facts = run.environment.get("model")
    if not facts:
        return Card(run.spec.model)
    presets = {} if facts["settings"] is None else {run.spec.preset: facts["settings"]}
    return Card(facts["title"], facts["source"], presets)
