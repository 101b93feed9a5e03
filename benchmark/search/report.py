"""What a search leaves: the ranked trials, the best settings as a file, for people and for runs."""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.files import replace_file
from benchmark.hygiene import csv_cell
from benchmark.records import DamagedError, RunStore
from benchmark.screen import Column, Rows
from benchmark.search.request import SearchRequest
from benchmark.search.study import Point, Trial
from benchmark.spec import RunSpec
from benchmark.tracking.parents import ARTIFACTS, SEARCH, Plan
from benchmark.yamlfile import to_yaml

FOLDER = "searches"
BEST, TRIALS = "best.yaml", "trials.csv"
_OTHERS = frozenset({"rank", "epoch", "state", "trial", "runs", "reason"})
"""Columns of a ranked trial that are no settings."""
SHOWN_TRIALS = 30
"""In the description that tracking shows, which has room for 8000 characters."""


def ranked(trials: Sequence[Trial], minimise: bool) -> list[Trial]:
    """The trials that count: those with a value, best first, then pruned and failed ones.

    A trial that another one replaced is left out; of several with the same settings the first
    with a value counts.
    """
    sign = 1.0 if minimise else -1.0
    order = {"done": 0, "pruned": 1, "failed": 2, "running": 3, "waiting": 4}
    counted = sorted(
        (trial for trial in trials if not trial.replaced),
        key=lambda t: (order[t.state], sign * (t.value or 0.0), t.number),
    )
    first = {tuple(sorted(t.settings.items())): t for t in reversed(counted)}
    return [t for t in counted if first[tuple(sorted(t.settings.items()))] is t]


def settings_text(settings: Point) -> str:
    """For people: "learning_rate 0.0005, topk 3"."""
    return ", ".join(f"{_short(name)} {value}" for name, value in settings.items())


def trial_title(spec: RunSpec, settings: Point) -> str:
    """The name of a trial's run: model, regime, what was searched, seed."""
    point = ", ".join(f"{_short(name)}={value}" for name, value in settings.items())
    return f"{spec.title} · {spec.regime.name} ({point}) · seed {spec.seed}"


def _short(name: str) -> str:
    return name.split(".", 1)[1]


def _heading(name: str, space: Iterable[str]) -> str:
    """Of a setting's column: whole where another has that name, LMF's ``model.rank`` say."""
    short = _short(name)
    alone = sum(_short(other) == short for other in space) == 1
    return short if alone and short not in _OTHERS else name


def rows_of(plan: SearchRequest, trials: Sequence[Trial], store: RunStore) -> list[dict[str, Any]]:
    """A row for each ranked trial: rank, settings, objective, kept epoch's validation, state."""
    rows = []
    for rank, trial in enumerate(ranked(trials, plan.objective.minimise), start=1):
        row: dict[str, Any] = {"rank": rank if trial.state == "done" else None}
        row |= {_heading(name, plan.space): trial.settings.get(name) for name in plan.space}
        row[plan.objective.title] = trial.value
        row |= _curves(plan, trial, store)
        row |= {"state": trial.state, "trial": trial.number, "runs": " ".join(trial.run_ids)}
        rows.append({**row, "reason": trial.reason})
    return rows


def _curves(plan: SearchRequest, trial: Trial, store: RunStore) -> Mapping[str, Any]:
    """Where the first seed's best epoch was, and its validation metric under the regime."""
    name = f"valid_{plan.objective.metric}"
    if trial.state != "done" or not store.is_trained(trial.run_ids[0]):
        return {"epoch": None, name: None}
    try:
        history = store.trained(trial.run_ids[0]).history
    except DamagedError:  # `benchmark list runs` says what is wrong with the record
        return {"epoch": None, name: None}
    best = history[history["best"] == 1].iloc[-1]
    return {"epoch": int(best["epoch"]), name: float(best[name])}


def show(rows: Sequence[Mapping[str, Any]], title: str, console: Console) -> None:
    """Print the ranked trials."""
    hidden = set() if any(row["reason"] for row in rows) else {"reason"}
    names = [name for name in (rows[0] if rows else {}) if name not in hidden]
    spare = {name: place for place, name in enumerate(("state", "epoch", "trial", "runs"), 1)}
    table = Rows(
        *(
            Column(name, _are_numbers(row[name] for row in rows), spare.get(name, 0))
            for name in names
        ),
        title=title,
    )
    for row in rows:
        table.add(*(_cell(row[name]) for name in names))
    console.print(table)


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(value is None or isinstance(value, int | float) for value in values)


def _cell(value: Any) -> str:
    """A cell for people: of a number four digits."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) >= 0.01 else f"{value:.4g}"
    return str(value)


def write_results(
    plan: SearchRequest, trials: Sequence[Trial], rows: Sequence[Mapping[str, Any]], folder: Path
) -> Path | None:
    """Write ``trials.csv``, and ``best.yaml`` where a trial has a value; the latter's path.

    Raises:
        BenchmarkError: where the folder cannot be written to.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else ["trial"])
    writer.writeheader()
    writer.writerows({key: csv_cell(value) for key, value in row.items()} for row in rows)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / TRIALS, text.getvalue().encode())
        best = ranked(trials, plan.objective.minimise)[:1]
        if not best or best[0].value is None:
            return None
        replace_file(folder / BEST, best_yaml(plan, best[0]).encode())
    except OSError as error:
        raise BenchmarkError(
            f"cannot write to {folder}: {error.strerror or error}. The trials are kept; the same "
            "command writes their results."
        ) from None
    return folder / BEST


def best_yaml(plan: SearchRequest, best: Trial) -> str:
    """The request that trains the best trial: a file for ``benchmark run --config``."""
    request = plan.with_settings(best.settings).model_dump(mode="json", exclude_defaults=True)
    request |= {"dataset": plan.request.dataset, "seeds": list(plan.request.seeds)}
    request["evaluation"] = {**request.get("evaluation", {}), "objective": plan.objective.name}
    header = (
        f"# study {plan.name}, trial {best.number}: {settings_text(best.settings)}\n"
        f"# {plan.objective.title} {best.value!r}, runs {' '.join(best.run_ids)}\n"
    )
    return header + to_yaml(request)


def tracked_search(
    plan: SearchRequest,
    experiment: str,
    trials: Sequence[Trial],
    rows: Sequence[Mapping[str, Any]],
    files: Sequence[Path],
    finished: bool,
) -> Plan:
    """A study as tracking shows it: a parent run whose children are the trials' runs.

    Args:
        plan: what is searched.
        experiment: where it is tracked.
        trials: of the study.
        rows: see :func:`rows_of`.
        files: the study's files, relative to the runs folder.
        finished: whether the study has all its trials.
    """
    tags = {
        "dataset": plan.dataset.name,
        "model": plan.request.models[0],
        "regime": plan.request.regimes[0],
        "seed": "+".join(map(str, plan.request.seeds)),
        "objective": plan.objective.title,
        "study": plan.name,
    }
    done = {str(trial.number): trial.value for trial in trials if trial.value is not None}
    metric = f"valid/{plan.objective.name}_{plan.objective.metric}"
    best = accumulate(done.values(), min if plan.objective.minimise else max)
    series = {metric: done, f"{metric}_best": dict(zip(done, best, strict=True))}
    titles = {
        spec.run_id: trial_title(spec, trial.settings)
        for trial in trials
        for spec in (plan.specs(trial.settings) if trial.run_ids else ())
    }
    title = f"search: {tags['model']} · {tags['regime']} · {plan.objective.title}"
    return Plan(
        plan_id=plan.name,
        title=title,
        experiment=experiment,
        description=_description(plan, rows, [path.name for path in files]),
        created=time.time(),
        run_ids=tuple(dict.fromkeys(run_id for trial in trials for run_id in trial.run_ids)),
        tags=tags,
        kind=SEARCH,
        params={f"space.{name}": str(d.plain()) for name, d in plan.space.items()},
        series=series if done else {},
        files=tuple(map(str, files)),
        titles=titles,
        finished=finished,
    )


def _description(
    plan: SearchRequest, rows: Sequence[Mapping[str, Any]], files: Sequence[str]
) -> str:
    """Markdown: what was searched, the first trials, the figures."""
    states = Counter(row["state"] for row in rows)
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    lines = [
        f"{'Lowest' if plan.objective.minimise else 'Highest'} **{plan.objective.title}** on "
        f"`{plan.dataset.name}`; test was not looked at. Trials: {counts or 'none yet'}.",
        "",
    ]
    shown = [name for name in (rows[0] if rows else {}) if name not in ("runs", "reason")]
    if shown:
        lines += [f"| {' | '.join(shown)} |", "| --- " * len(shown) + "|"]
        lines += [f"| {' | '.join(_cell(row[n]) for n in shown)} |" for row in rows[:SHOWN_TRIALS]]
    if len(rows) > SHOWN_TRIALS:
        lines += ["", f"{len(rows) - SHOWN_TRIALS} more in `search/{TRIALS}`."]
    if BEST in files:
        lines += ["", f"`search/{BEST}` trains the best: `benchmark run --config {BEST}`."]
    pictures = [name for name in files if name.endswith(".png")]
    lines += ["", *(f"![{name}]({ARTIFACTS}search/{name})" for name in pictures)]
    return "\n".join(lines)
