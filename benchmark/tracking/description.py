"""What a plan's parent run shows of the runs that are done: a table, and means as metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.hygiene import escape_markdown
from benchmark.metrics import LOWER_IS_BETTER, PAPER_NAMES, PRIMARY
from benchmark.questions import Headline, Question, overview
from benchmark.readouts import headline_value, spread
from benchmark.systems import Name, systems
from benchmark.tracking.tracked import Tracked, plain_name
from protocols.modalities import Task

SHOWN_CELLS = tuple((x, y) for x in (0.0, 0.3, 0.7) for y in (0.0, 0.3, 0.7))
"""(λ, η) of the landscape in a description."""


def summary_of_plan(done: Sequence[Tracked]) -> dict[str, float]:
    """The mean over seeds of each summary metric; of several systems under the system's name."""
    import pandas as pd  # not for a list

    runs = {run.spec.run_id: run for run in done}
    named = systems([run.spec for run in done])
    found: dict[str, float] = {}
    for name, specs in named.items():
        section = f"{plain_name(f'{name.model} {name.training}')}/" if len(named) > 1 else ""
        summaries = pd.DataFrame([dict(runs[spec.run_id].summary) for spec in specs])
        found |= {f"{section}{metric}": float(v) for metric, v in summaries.mean().items()}
    return found


def describe_plan(done: Sequence[Tracked]) -> str:
    """A Markdown table for each data set, model by regime: the primary metric over seeds."""
    by_data: dict[tuple[str, Task, bool], list[Tracked]] = {}
    for run in done:
        key = (run.spec.dataset, run.spec.task, "synthetic" in run.tags)
        by_data.setdefault(key, []).append(run)
    return "\n\n".join(_describe(*key, runs) for key, runs in by_data.items())


def _describe(dataset: str, task: Task, synthetic: bool, runs: list[Tracked]) -> str:
    metric = PRIMARY[task]
    answers = {run.spec.run_id: run.record.answers(metric) for run in runs}
    columns = overview({question for one in answers.values() for question in one})
    title = f"{PAPER_NAMES[metric]} {'↓' if metric in LOWER_IS_BETTER else '↑'}"
    lines = [
        f"| model | training | seeds | {' | '.join(f'{c.title}: {title}' for c in columns)} |",
        "| --- | --- | --- |" + " --- |" * len(columns),
    ]
    groups = {
        name: [answers[spec.run_id] for spec in specs]
        for name, specs in sorted(systems([run.spec for run in runs]).items())
    }
    for name, members in groups.items():
        cells = [spread([headline_value(one, column) for one in members]) for column in columns]
        shown = escape_markdown(name.model), escape_markdown(name.training), str(len(members))
        lines.append(f"| {' | '.join((*shown, *cells))} |")
    kind = " (**synthetic data**)" if synthetic else ""
    rules = ", ".join(sorted({str(run.spec.setting("training.select_on")) for run in runs}))
    caption = (
        f"Test split of {escape_markdown(dataset)}{kind}, mean ± standard deviation over seeds; "
        f"checkpoints selected on validation {rules}."
    )
    grids = [c for c in columns if c.questions[0].protocol == "grid"]
    landscapes = [line for one in grids for line in (*_landscapes(groups, one, metric), "")]
    return "\n".join([*lines, "", *landscapes, caption])


def _landscapes(
    groups: Mapping[Name, Sequence[Mapping[Question, float]]], grid: Headline, metric: str
) -> list[str]:
    """The corners and the middle of each system's λ×η landscape, averaged over seeds."""
    shown = [q for q in grid.questions if (q.intensity, q.rate) in SHOWN_CELLS]
    places = " | ".join(f"{q.intensity:g}, {q.rate:g}" for q in shown)
    rules = grid.title.removeprefix("Grid mean")
    head = f"| {PAPER_NAMES[metric]} at λ, η{rules} | {places} |"
    lines = [head, "| --- " * (1 + len(shown)) + "|"]
    for name, members in groups.items():
        means = [[answers[q] for answers in members if q in answers] for q in shown]
        cells = [spread(one).partition(" ")[0] for one in means]
        if any(cell != "–" for cell in cells):
            lines.append(f"| {escape_markdown(name.label)} | {' | '.join(cells)} |")
    return lines
