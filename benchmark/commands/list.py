"""``benchmark list models|datasets|protocols|degradations|plans|runs``: what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from benchmark.errors import BenchmarkError
from benchmark.hygiene import message, one_line, terminal
from benchmark.options import DATA_DIR, RUNS_DIR

if TYPE_CHECKING:
    from benchmark.screen import Rows
    from benchmark.spec import RunSpec

app = typer.Typer(
    help="What there is: models, data sets, protocols, degradations, plans, runs.",
    no_args_is_help=True,
)


@app.command()
def models() -> None:
    """Registered models, in-tree and from other packages."""
    from benchmark.plugins import BrokenError
    from benchmark.registry import model_class, model_names
    from benchmark.screen import Column, Rows

    table = Rows(
        *("name", "title", "default", Column("source", spare=1)),
        *(Column("presets", spare=2), Column("where", spare=3)),
    )
    for name in model_names():
        try:
            kind = model_class(name)
        except BrokenError as error:
            table.add(name, f"broken: {error.why}")
            continue
        table.add(
            name,
            kind.card.title,
            "yes" if kind.usual else "",
            kind.card.source,
            ", ".join({"paper": None, **dict.fromkeys(kind.presets)}),
            kind.__module__,
        )
    _print(table)
    _print("default: what `benchmark run` without --models runs; --models all runs every one.")


@app.command()
def datasets(data_dir: DATA_DIR = None) -> None:
    """Built-in and imported data sets."""
    from benchmark.data.commands import list_

    list_(data_dir)


@app.command()
def protocols() -> None:
    """Protocols, their versions, and the rules for noise and for what is missing."""
    from benchmark.screen import Column, Rows
    from protocols.conditions import PROTOCOL_TITLES, PROTOCOL_VERSIONS
    from protocols.rules import MISSING_RULES, NOISE_RULES

    table = Rows("name", Column("version", number=True), "what")
    for name, title in PROTOCOL_TITLES.items():
        table.add(name, str(PROTOCOL_VERSIONS[name]), title)
    _print(table)
    _print(f"noise rules: {', '.join(NOISE_RULES)}")
    _print(f"missing rules: {', '.join(MISSING_RULES)}")


@app.command()
def degradations() -> None:
    """Families of noise, what λ means in each, where it is from and what it does not model.

    Name them with --set evaluation.noise_rules=[frames,gain] or regime.noise_rules=[...].
    """
    from benchmark.screen import Column, Rows
    from protocols.rules import FAMILIES, RULE_VERSIONS

    version = Column("version", number=True, spare=1)
    table = Rows("name", version, "at severity λ", "from", "does not model", apart=True)
    for name, family in FAMILIES.items():
        number = family.version or RULE_VERSIONS["degradation"]
        table.add(name, str(number), family.severity, family.source, family.omits)
    _print(table)


@app.command()
def plans() -> None:
    """Named plans, for `benchmark run --plan NAME`."""
    from benchmark.planfile import named_plan, plan_names
    from benchmark.plugins import broken_rows
    from benchmark.screen import Rows

    table = Rows("name", "what")
    for name in plan_names():
        try:
            table.add(name, str(named_plan(name).get("title", "")))
        except BenchmarkError as error:
            table.add(name, f"broken: {error}")
    for name, why in broken_rows("plan"):
        table.add(name, why)
    _print(table)


@app.command()
def runs(runs_dir: RUNS_DIR = Path("runs")) -> None:
    """Runs: finished, trials of a search, running, interrupted, failed, broken."""
    from benchmark.metrics import PRIMARY
    from benchmark.records import RunStore
    from benchmark.records.glance import glances
    from benchmark.records.underway import under_way
    from benchmark.screen import Column, Rows
    from benchmark.systems import systems
    from benchmark.tracking.parents import kept_plans

    store = RunStore(runs_dir)
    table = Rows(
        *("run", Column("data set", spare=3), "model", Column("training", spare=1)),
        *(Column("seed", number=True), Column("clean", number=True, spare=2), "state"),
    )
    found, problems = glances(store)
    begun = under_way(store)
    specs = [*(glance.spec for glance in found), *(run.spec for run in begun.values() if run.spec)]
    names = {
        spec.run_id: name
        for data in {spec.data_sha256 for spec in specs}
        for name, runs in systems([s for s in specs if s.data_sha256 == data]).items()
        for spec in runs
    }

    def add(spec: RunSpec, clean: str, *states: str) -> None:
        name = names[spec.run_id]
        what = spec.run_id, spec.dataset, name.model, name.training, str(spec.seed)
        table.add(*what, clean, one_line("; ".join(states)))

    for glance in found:
        spec, value = glance.spec, glance.clean
        clean = "–" if value is None else f"{PRIMARY[spec.task]} {value:.3f}"
        state = "finished" if glance.headlines else "search trial, not evaluated on test"
        again = begun.pop(spec.run_id, None)
        add(spec, clean, state, *([again.state] if again else []))
    for run_id, run in begun.items():
        if run.spec:
            add(run.spec, "–", run.state)
        else:
            table.add(run_id, *[""] * 5, one_line(run.state))
    for run_id, error in problems.items():
        table.add(run_id, *[""] * 5, one_line(f"broken: {error.brief}"))
    _print(table)
    for problem in kept_plans(store)[1]:
        print(message(problem))


def _print(shown: Rows | str) -> None:
    terminal(highlight=False, markup=False).print(shown)
