"""What ``benchmark search`` is asked for, checked: one model, a space, an objective."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from benchmark.config import ObjectiveName
from benchmark.data.dataset import Dataset
from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.execution.executor import Execution
from benchmark.interface import MultimodalModel
from benchmark.plan import PlanConfig, check_missing_rule, evaluation_of, plan_runs
from benchmark.registry import model_class
from benchmark.search.objective import Objective, objective_of
from benchmark.search.space import Space, grid_of, parse_space
from benchmark.search.study import Point
from benchmark.spec import RunSpec

DEFAULT_TRIALS = 30
"""Of a study whose space is no small grid."""


@dataclass(frozen=True)
class SearchRequest:
    """What is searched, checked: everything that the study's name depends on.

    Attributes:
        request: data set, one model, one regime, seeds and fixed settings.
        space: the searched settings.
        objective: what is optimised.
        dataset: without its test split.
    """

    request: PlanConfig
    space: Space
    objective: Objective
    dataset: Dataset

    @property
    def name(self) -> str:
        """The study's name: for people, then a hash of space, data, regime, objective and rest."""
        runs = [dict(spec.identity) for spec in plan_runs(self.request, self.dataset)]
        for name in self.space:
            section, key = name.split(".", 1)
            for run in runs:
                run[section] = {k: x for k, x in run[section].items() if k != key}
        identity = {
            "space": {name: dimension.plain() for name, dimension in self.space.items()},
            "objective": asdict(self.objective),
            "runs": runs,
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        parts = (*self.request.models, self.dataset.name, *self.request.regimes)
        return "-".join((*parts, self.objective.name, digest[:8]))

    def with_settings(self, settings: Point) -> PlanConfig:
        """The request with a point of the space: what ``benchmark run`` takes."""
        chosen: dict[str, dict[str, object]] = {
            "model": dict(self.request.model),
            "training": dict(self.request.training),
        }
        for name, value in settings.items():
            section, key = name.split(".", 1)
            chosen[section][key] = value
        return self.request.model_copy(update=chosen)

    def specs(self, settings: Point) -> list[RunSpec]:
        """The runs of a trial, one for each seed. Raises BenchmarkError where settings clash."""
        return plan_runs(self.with_settings(settings), self.dataset)


def plan_search(
    request: PlanConfig,
    objective: ObjectiveName,
    space: Mapping[str, object] | None,
    data: Execution,
    space_name: str = "the space",
) -> SearchRequest:
    """Check what is asked for.

    Args:
        request: must name one model and one regime.
        objective: the objective's name.
        space: a search space; by default the one that stands beside the model.
        data: names the data set and where it is.
        space_name: what the space is, for messages.

    Raises:
        BenchmarkError: where something is unknown or does not fit.
    """
    if request.runs:
        raise BenchmarkError("a search tunes one model: a plan of several products has no one")
    for what, names in (("model", request.models), ("regime", request.regimes)):
        if len(names) != 1:
            raise BenchmarkError(f"a search tunes one {what}: name it with --{what}")
    kind: type[MultimodalModel] = model_class(request.models[0])
    parsed = parse_space(space or kind.search_space, kind, space_name)
    for name in parsed:
        section, key = name.split(".", 1)
        if key in getattr(request, section):
            raise BenchmarkError(f"{name} is both set and searched: leave out one of them")
    dataset = load_dataset(data.dataset, data.data_dir).without_test()
    asked = objective_of(objective, evaluation_of(request), dataset.spec)
    dataset.require(asked.conditions())
    check_missing_rule(plan_runs(request, dataset), dataset)
    plan = SearchRequest(request, parsed, asked, dataset)
    _check_some_point(plan)
    return plan


def _check_some_point(plan: SearchRequest) -> None:
    """Where no point of a grid fits the model, the first one's reason is the user's to mend."""
    first: BenchmarkError | None = None
    for point in grid_of(plan.space) or []:
        try:
            plan.specs(point)
        except BenchmarkError as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first
