"""What a run is: the settings that decide its numbers, and the identity made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from benchmark.config import TrainingConfig
from benchmark.metrics import PRIMARY
from benchmark.seal import hash_of, sealed, unsealed
from protocols.modalities import Task
from protocols.regimes import Regime
from protocols.settings import AnySettings, Settings

EVALUATED: Literal["evaluated from outside"] = "evaluated from outside"
"""The source of a model trained elsewhere: its code was not read, it was only asked."""
PREDICTED = "predictions"
"""The part of an identity that is there only for a model trained elsewhere."""


@dataclass(frozen=True)
class RunSpec:
    """One run: a model on a data set, trained under a regime with a seed, or trained elsewhere.

    Attributes:
        dataset: the data set's name, a label; ``data_sha256`` is what counts.
        data_sha256: hash of the data set's content.
        task: what its labels are.
        model: the registered name; of a model trained elsewhere the name that it was given.
        version: of the model, from its card; of a model trained elsewhere as it was given.
        config: the model's settings, complete.
        training: the trainer's settings, complete, ``select_on`` resolved by the task; None for a
            model trained elsewhere (:func:`evaluated`).
        regime: how training and validation inputs are degraded.
        seed: decides initialisation, dropout, batch order and training corruption; of a model
            trained elsewhere a number that tells its trainings apart.
        preset: what the settings began with, a label.
        changes: the model's settings that are not the preset's, and the regime's that are not its
            kind's defaults: "model.topk" -> value. Labels.
        title, source: of the model's card, labels.
        recorded: the identity as a record keeps it; None for a run that is planned now.
    """

    dataset: str
    data_sha256: str
    task: Task
    model: str
    version: int | str
    config: Settings
    training: TrainingConfig | None
    regime: Regime
    seed: int
    preset: str = "paper"
    changes: Mapping[str, Any] | None = None
    title: str = ""
    source: str = ""
    recorded: Mapping[str, Any] | None = None

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """The scientific fields: versions, and the departures from the versions' defaults.

        A default, a setting without effect, a name or a preset is not in here; what the protocols
        and metrics mean belongs to the rows of tables, not to trainings.
        """
        if self.recorded is not None:
            return self.recorded
        training = self.trainer
        if training.select_on == PRIMARY[self.task]:  # what "auto" means
            training = training.model_copy(update={"select_on": "auto"})
        return {
            "data": self.data_sha256,
            "task": self.task,
            "model": {"name": self.model, "version": self.version, **self.config.departures()},
            "training": {"version": training.version, **training.departures()},
            "regime": self.regime.identity(),
            "seed": self.seed,
        }

    @cached_property
    def run_id(self) -> str:
        """The first 12 hex digits of the SHA-256 of the canonical JSON of the identity."""
        return hash_of(self.identity)[:12]

    def apart_from(self, *names: str) -> str:
        """What runs share that differ at most in the seed and in these: "regime", "model.topk".

        Two trainings elsewhere of one model differ in their predictions as in their seed.
        """
        left_out = ("seed", PREDICTED, *names)
        rest = {key: value for key, value in self.identity.items() if key not in left_out}
        for section, _, setting in (name.partition(".") for name in names):
            if setting:
                rest[section] = {k: x for k, x in rest[section].items() if k != setting}
        return hash_of(rest)

    def setting(self, name: str) -> Any:
        """The value of "model.topk", "training.epochs", "regime.scope"; None where it has none."""
        section, _, key = name.partition(".")
        return self.settings().get(section, {}).get(key)

    @property
    def trainer(self) -> TrainingConfig:
        """:attr:`training`, of a run that is trained here."""
        assert self.training is not None, "nothing trains a model that was trained elsewhere"
        return self.training

    @property
    def sections(self) -> dict[str, Settings]:
        """The groups of settings by the first part of their names."""
        trained = {"training": self.training} if self.training is not None else {}
        return {"model": self.config, **trained, "regime": self.regime}

    def settings(self) -> dict[str, dict[str, Any]]:
        """Every setting, defaults included: section -> setting -> plain value."""
        return {name: group.model_dump(mode="json") for name, group in self.sections.items()}

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain types: the record's ``config.yaml``."""
        labels = ("dataset", "preset", "title", "source")
        return sealed(
            {
                "run_id": self.run_id,
                "identity": dict(self.identity),
                **{name: getattr(self, name) for name in labels},
                "changes": dict(self.changes or {}),
                "settings": self.settings(),
            }
        )

    @staticmethod
    def from_dict(values: Any) -> RunSpec:
        """The inverse of :meth:`as_dict`.

        Raises:
            KeyError, TypeError, ValueError: where the values are no spec, or were changed since
                (:func:`benchmark.seal.unsealed`).
        """
        values = unsealed(values)
        identity, settings = values["identity"], values["settings"]
        return RunSpec(
            dataset=values["dataset"],
            data_sha256=identity["data"],
            task=identity["task"],
            model=identity["model"]["name"],
            version=identity["model"]["version"],
            config=AnySettings(**settings["model"]),
            training=TrainingConfig(**settings["training"]) if "training" in settings else None,
            regime=Regime(**settings["regime"]),
            seed=identity["seed"],
            preset=values["preset"],
            changes=values["changes"],
            title=values["title"],
            source=values["source"],
            recorded=identity,
        )


def evaluated(
    name: str, version: str, seed: int, dataset: str, data_sha256: str, task: Task, predictions: str
) -> RunSpec:
    """The run of a model that was trained elsewhere: nothing is known of it but what it predicts.

    Args:
        name: what its author calls it.
        version: which of its author's versions it is.
        seed: tells trainings of one version apart.
        dataset: the data set's name, a label.
        data_sha256: the hash of its content.
        task: what its labels are.
        predictions: the hash of what it predicts for the clean test split.
    """
    regime = Regime.model_validate({"kind": "elsewhere"})
    identity = {
        "data": data_sha256,
        "task": task,
        "model": {"name": name, "version": version},
        "regime": regime.identity(),
        "seed": seed,
        PREDICTED: predictions,
    }
    return RunSpec(
        dataset=dataset,
        data_sha256=data_sha256,
        task=task,
        model=name,
        version=version,
        config=AnySettings(),
        training=None,
        regime=regime,
        seed=seed,
        title=name,
        source=EVALUATED,
        recorded=identity,
    )
