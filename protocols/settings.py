"""Typed settings: frozen, unknown keys refused, and what of them departs from the defaults."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Settings(BaseModel):
    """Base of every group of settings: of a model, the training, a regime, an evaluation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_truth_value_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields.get(info.field_name or "")
        if isinstance(value, bool) and field is not None and field.annotation in _NUMBERS:
            raise ValueError("a number is wanted, not true or false")
        return value

    def idle(self) -> frozenset[str]:
        """The settings that have no effect beside the others; they count as their defaults."""
        return frozenset()

    def departures(self) -> dict[str, Any]:
        """The settings that have an effect and are not their defaults, as plain JSON values.

        They are what enters a run's identity: an option that is added with a default later
        leaves it as it was.
        """
        idle, defaults = self.idle(), type(self).model_construct()
        return {
            name: value
            for name, value in self.model_dump(mode="json").items()
            if name not in idle and getattr(self, name) != getattr(defaults, name, _NO_DEFAULT)
        }


class AnySettings(Settings):
    """Settings as a record keeps them, of a model that need not be installed."""

    model_config = ConfigDict(extra="allow", frozen=True)


_NUMBERS = (int, float, int | None, float | None)
_NO_DEFAULT = object()
