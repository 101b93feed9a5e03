"""What a CPU is not asked for: the noisy rows of methods whose every answer is dear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmark.execution.executor import Execution
from benchmark.plan import PlanConfig, Planned, evaluation_of
from benchmark.registry import model_class
from protocols.conditions import NO_RULE


def affordable(
    plan: Sequence[Planned], request: PlanConfig, how: Execution
) -> tuple[list[Planned], list[str]]:
    """The plan as this device is asked for it.

    On a CPU the tables of methods whose card calls them dear keep the rows without noise: the clean
    test and Protocol I. A GPU adds the others to the same runs later.

    Returns:
        The plan, and for each method that lost rows a line that says so and why.
    """
    everything = any(evaluation_of(product).dear for product in request.products)
    if everything or how.device != "cpu":
        return list(plan), []
    kept, said = [], {}
    for planned in plan:
        why, rows = model_class(planned.spec.model).card.dear, planned.conditions
        if why:
            rows = tuple(c for c in rows if c.noise_rule == NO_RULE)
        if len(rows) < len(planned.conditions):
            said[planned.spec.title] = (
                f"{planned.spec.title}: Protocol I only, without noise, because on a CPU its "
                f"answers are dear: {why}. All protocols: a GPU, or --set evaluation.dear=true"
            )
        kept.append(replace(planned, conditions=rows))
    return kept, list(said.values())
