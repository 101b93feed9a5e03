"""What a search asks: spaces and objectives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmark.config import EvaluationConfig
from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.registry import model_class
from benchmark.search.objective import OBJECTIVES, SEARCH_LEVELS, Objective, objective_of
from benchmark.search.space import Choices, Range, grid_of, parse_space
from benchmark.search.study import Study
from protocols.conditions import LEVELS, at_level
from protocols.modalities import MODALITIES
from tests.records import make_table


def test_a_space_is_checked() -> None:
    qamoe = model_class("qamoe")
    wrong = {
        "is empty": {},
        "model.topk": {"model.topkk": [1]},
        "training.epochs": {"training.epoch": [1]},
        "write it as": {"model.topk": 3},
        "no number": {"model.topk": [[1, 2]]},
        "must be below": {"model.topk": {"low": 8, "high": 1}},
        "begins above 0": {"training.weight_decay": {"low": 0.0, "high": 1.0, "log": True}},
        "not together with log": {"model.topk": {"low": 1, "high": 8, "log": True, "step": 1}},
    }
    for said, values in wrong.items():
        with pytest.raises(BenchmarkError, match=said):
            parse_space(values, qamoe, "space.yaml")


def test_small_finite_spaces_are_grids() -> None:
    space = parse_space(model_class("qamoe").search_space, model_class("qamoe"), "the space")
    points = grid_of(space)
    assert points is not None
    expected = itertools.product((1e-3, 5e-4, 1e-4), (1, 2, 3, 4, 8))
    assert [tuple(p.values()) for p in points] == list(expected)
    ranges = {"a": Range(1, 3), "b": Range(0.1, 0.3, step=0.1), "c": Choices(("x",))}
    assert len(grid_of(ranges) or []) == 9
    for endless in (Range(0.0, 1.0), Range(1, 1000), Range(1, 8, log=True)):
        assert grid_of({"a": endless}) is None
    assert grid_of({k: Choices(tuple(range(5))) for k in "abc"}) is None  # 125 points


def test_every_point_of_a_grid_is_claimed_once(tmp_path) -> None:
    space = {
        "a": Range(0.1, 0.3, step=0.1),
        "b": Range(1, 2),
        "c": Choices((None, "x", 1.5)),
        "d": Choices((False, True)),
    }
    study = Study("study", space, True, None, tmp_path)
    study.begin(36)
    found = []
    while (trial := study.claim(36)) is not None:
        found.append(tuple(trial.settings.values()))
        study.finish(trial.number, float(len(found)))
    study.close()
    assert len(found) == 36
    assert set(found) == {tuple(point.values()) for point in grid_of(space) or []}
    names = {path.name for path in study.draw(tmp_path, "MAE")}
    assert names == {"parallel_coordinates.png", "slices.png", "history.png", "importances.png"}


def test_the_grid_objective_is_the_exact_expectation() -> None:
    """Against a loop over subsets with product weights, written from the definition."""
    table = make_table(draws=2, n=17, seed=3)
    objective = Objective("grid", "regression", MODALITIES)
    errors = []
    for intensity, rate, draw in itertools.product(SEARCH_LEVELS, LEVELS, range(2)):
        total = 0.0
        for mask in range(8):
            chance = np.prod([(1 - rate) if mask >> i & 1 else rate for i in range(3)])
            row = table.row(at_level("seed_a1", draw, intensity, mask))
            total += chance * np.abs(table.prediction[row] - table.label).mean()
        errors.append(total)
    assert objective.value(table) == pytest.approx(np.mean(errors), rel=1e-6)
    assert np.mean(SEARCH_LEVELS) == pytest.approx(np.mean(LEVELS))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_an_objective_needs_its_own_rows_only(name, task) -> None:
    table = make_table(task, draws=3)
    objective = Objective(name, task, MODALITIES)
    value = objective.value(table)
    own = [i for i, c in enumerate(table.conditions) if c in set(objective.conditions())]
    assert len(own) == len(objective.conditions())
    assert all(c.draw < 2 for c in objective.conditions())
    changed = make_table(task, draws=3, seed=9)
    changed.prediction[own] = table.prediction[own]
    changed.label[:] = table.label
    for key in table.joint_levels:
        changed.joint_levels[key][:] = table.joint_levels[key]
    assert objective.value(changed) == value
    changed.prediction[own[0]] += 1.0 if task == "regression" else np.arange(3.0)
    assert objective.value(changed) != value


def test_an_objective_has_at_least_two_draws() -> None:
    spec = load_dataset("synthetic").spec
    for given, expected in (({}, 2), ({"draws": 1}, 2), ({"draws": 4}, 4)):
        evaluation = EvaluationConfig(**given)
        assert objective_of("grid", evaluation, spec).draws == expected
