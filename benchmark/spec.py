"""What a run is: the fields that decide its numbers, and the identity made of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from protocols.conditions import PROTOCOL_VERSIONS
from protocols.modalities import Task
from protocols.regimes import Regime


@dataclass(frozen=True)
class RunSpec:
    """One training run: a model on a data set under a regime with a seed.

    ``training`` and ``model_config`` are complete (every field, defaults included), so the record
    says everything and a later change of a default makes a new run.
    """

    dataset: str
    data_sha256: str
    task: Task
    model: str
    preset: str
    model_config: Mapping[str, Any]
    training: Mapping[str, Any]
    regime: Regime
    seed: int
    versions: Mapping[str, int] = field(default_factory=lambda: dict(PROTOCOL_VERSIONS))

    def identity(self) -> dict[str, Any]:
        """The scientific fields. Names of the data set and the preset are labels: not in here."""
        return {
            "data": self.data_sha256,
            "task": self.task,
            "model": self.model,
            "model_config": dict(self.model_config),
            "training": dict(self.training),
            "regime": self.regime.identity(),
            "seed": self.seed,
            "versions": dict(self.versions),
        }

    @property
    def run_id(self) -> str:
        """The first 12 hex digits of the SHA-256 of the canonical JSON of the identity."""
        canonical = json.dumps(self.identity(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def system(self) -> str:
        """The identity without the seed, as text: what the runs of several seeds share."""
        return json.dumps({**self.identity(), "seed": None}, sort_keys=True)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain types: the record's ``config.yaml``."""
        return {"run_id": self.run_id, **asdict(self)}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RunSpec:
        """The inverse of :meth:`as_dict`."""
        fields = {key: value for key, value in values.items() if key != "run_id"}
        return RunSpec(**{**fields, "regime": Regime(**fields["regime"])})
