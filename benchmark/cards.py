"""What there is to say of a model, in the same words wherever it is shown: its card, its settings.

``benchmark show``, MLflow's description of a run, a report's page and a submission say this.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from benchmark.systems import short
from protocols.settings import Settings


def card_facts(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A card's lines, (what, text), without title and deviations.

    Args:
        card: as a record keeps it; keys that a record of another version lacks are passed over.
    """
    said = {
        "citation": card.get("citation"),
        "source": card.get("source"),
        "version": card.get("version"),
        "reads availability": _yes_or_no(card.get("reads_availability")),
        "trains beside clean inputs": _yes_or_no(card.get("reads_clean")),
    }
    return [(what, str(text)) for what, text in said.items() if text not in (None, "")]


def deviations(card: Mapping[str, Any]) -> list[str]:
    """Where the model departs from the original, and why."""
    return [str(one) for one in card.get("deviations") or ()]


def _yes_or_no(value: Any) -> str | None:
    return None if value is None else "yes" if value else "no"


@dataclass(frozen=True)
class SettingRow:
    """A setting as it is shown: its name, default, what it may be, and what it means."""

    name: str
    default: str
    values: str
    meaning: str


def setting_rows(kind: type[Settings], section: str) -> list[SettingRow]:
    """Every setting of a group, as ``--set`` names it: "model.topk"."""
    return [
        SettingRow(f"{section}.{name}", _default(field), _values(field), field.description or "")
        for name, field in kind.model_fields.items()
    ]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    return shown(field.get_default(call_default_factory=True))


def shown(value: Any) -> str:
    """A setting's value as ``--set`` takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(shown, value))}]"
    return short(value)


def _values(field: FieldInfo) -> str:
    """The choices, or the kind of number and its limits."""
    text = _kind(field.annotation)
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [
        f"{sign} {limit:g}"
        for rule in field.metadata
        for name, sign in signs.items()
        if isinstance(limit := getattr(rule, name, None), int | float)
    ]
    return ", ".join([text, *limits])


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " | ".join(map(_kind, arguments))
    if origin in (tuple, list):
        return f"[{_kind(arguments[0])}, ...]"
    names = {type(None): "null", bool: "true | false", float: "number", int: "integer"}
    return str(names.get(annotation) or getattr(annotation, "__name__", annotation))
