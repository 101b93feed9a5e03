"""What a report must know of a model: each record keeps it, so no model need be installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Card:
    """The part of a model's card that a report shows.

    Attributes:
        title: the name as tables print it.
        source: how well the original is known; empty where the record does not say it.
        settings: all the model's settings under its preset; what departs from them is named in the
            system's label. None where the record does not say them.
    """

    title: str
    source: str = ""
    settings: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, name: str, facts: Mapping[str, Any] | None) -> Card:
        """The card of what a record keeps of its model (:func:`benchmark.naming.described`)."""
        return cls(**facts) if facts else cls(name)

    @property
    def reconstruction(self) -> bool:
        """Whether the method was rebuilt without its source, which every number must say."""
        return self.source == "reconstruction"

    @property
    def name(self) -> str:
        """The title, which says so where the method is a reconstruction."""
        return f"{self.title} (reconstruction)" if self.reconstruction else self.title
