"""Searches small enough for tests."""

from __future__ import annotations

from pathlib import Path

from benchmark.execution.executor import Execution
from benchmark.plan import PlanConfig
from benchmark.search.request import SearchRequest, plan_search
from benchmark.search.session import SearchSession
from benchmark.search.study import Study

SMALL = {"width": 16, "encoder_heads": 2}
RATES = {"training.learning_rate": [1e-3, 5e-4]}


def planned(data_dir: Path, space=None, objective="grid", name="tiny", **changes) -> SearchRequest:
    values = {
        "dataset": name,
        "models": ("qamoe",),
        "regimes": ("spectrum",),
        "seeds": (1,),
        "model": SMALL,
        "training": {"epochs": 2},
        **changes,
    }
    how = Execution(name, data_dir, Path("unused"), "cpu", 1)
    return plan_search(PlanConfig(**values), objective, space or RATES, how)


def searched(plan: SearchRequest, data_dir: Path, runs: Path, count: int | None = None) -> Study:
    how = Execution(plan.dataset.name, data_dir, runs, "cpu", 1)
    session = SearchSession(plan, how, count, None, True)
    session.carry_out()
    return session.study
