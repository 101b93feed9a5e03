"""``benchmark show RUN``: what a run is and scores, what made it, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.hygiene import one_line, terminal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from benchmark.questions import Headline
    from benchmark.records import RunRecord, RunStore
    from benchmark.screen import Rows
    from benchmark.spec import RunSpec


def show_run(given: str, store: RunStore, every: bool) -> None:
    """A run by its id, or by how that begins; with all of its settings where these are wanted.

    Raises:
        BenchmarkError: where there is no such run, or its record cannot be believed.
    """
    from benchmark.records.underway import under_way
    from benchmark.screen import of_runs, say_next

    run_id = store.find(given)
    begun = under_way(store).get(run_id)
    console = terminal(highlight=False, markup=False)
    if begun and not store.is_trained(run_id):
        _head(console, run_id, begun.spec, begun.state, str(store.partial(run_id)))
        if every and begun.spec:
            console.print("", _settings(begun.spec))
        if not begun.state.startswith("running"):
            console.print("the same `benchmark run` goes on with it")
        return
    record = store.trained(run_id)
    state = "finished" if record.is_evaluated() else "search trial, not evaluated on test"
    state += f" {record.environment['finished']}" + (f"; {begun.state}" if begun else "")
    _head(console, run_id, record.spec, state, str(record.path))
    if record.trained_here:
        console.print(_training(record))
    if every:
        console.print("", _settings(record.spec))
    if record.is_evaluated():
        console.print("", _scores(record))
    console.print("", _making(record), "")
    runs, steps = of_runs(store.root), []
    if record.is_evaluated():
        beside = ["benchmark", "report", "--dataset", record.spec.dataset, *runs]
        steps.append((beside, "beside the others"))
        pack = ["benchmark", "pack", run_id, "--out", "mine.zip", *runs]
        steps.append((pack, "a submission"))
    if record.has_checkpoint:
        predict = ["benchmark", "predict", run_id, "new.npz", *runs]
        steps.append((predict, "its predictions for new samples"))
    say_next(console, *steps)


def _head(console: Console, run_id: str, spec: RunSpec | None, state: str, where: str) -> None:
    from benchmark.systems import run_title

    console.print(f"{run_title(spec)}  ({run_id})" if spec else run_id, style="bold")
    console.print(f"state: {one_line(state)}")
    console.print(f"where: {where}", soft_wrap=True)
    if spec:
        console.print(f"data set: {spec.dataset} (SHA-256 {spec.data_sha256[:12]}…)")
        console.print(f"settings: {_departures(spec)}")


def _departures(spec: RunSpec) -> str:
    """The settings that are not the version's defaults, as ``--set`` takes them."""
    from benchmark.cards import shown

    if spec.training is None:
        return f"not known, it was trained elsewhere (version {spec.version})"
    found = [
        f"{section}.{key}={shown(value)}"
        for section in spec.sections
        for key, value in spec.identity[section].items()
        if key not in ("name", "version", "kind")
    ]
    changed = ", ".join(found) or "nothing but the defaults"
    return f"preset {spec.preset} of version {spec.version}: {changed} (--all lists every one)"


def _settings(spec: RunSpec) -> Rows:
    from benchmark.cards import shown
    from benchmark.screen import Rows

    table = Rows("setting", "value")
    for section, values in spec.settings().items():
        for key, value in values.items():
            table.add(f"{section}.{key}", shown(value))
    return table


def _training(record: RunRecord) -> str:
    """How long it took, and which epoch is kept."""
    made, history = record.environment, record.history
    kept = history.loc[history["best"] == 1, "epoch"].iloc[-1]
    return (
        f"training: epoch {int(kept)} of {record.spec.trainer.epochs} is kept;"
        f" {made['seconds_training']:.0f} s, and {made['seconds_table']:.0f} s for the table;"
        f" {made['parameters']:,} parameters"
    )


def _scores(record: RunRecord) -> Rows:
    """The overview's numbers, each with what it is a mean over."""
    from benchmark.questions import overview
    from benchmark.readouts import headline_value, questions_in, spread
    from benchmark.screen import Column, Rows
    from benchmark.tracking.summary import HEADLINES

    metrics = HEADLINES[record.spec.task]
    answers = {metric: record.answers(metric) for metric in metrics}
    draws = max(record.table.index.draws.values())
    table = Rows(
        "test",
        *(Column(metric, number=True, spare=place) for place, metric in enumerate(metrics)),
        "mean over",
        title=f"Test scores, {len(record.table.label)} samples, draws of noise: {draws}",
    )
    for headline in overview(questions_in(record.metrics)):
        values = (headline_value(answers[metric], headline) for metric in metrics)
        table.add(headline.title, *(spread([value]) for value in values), _conditions(headline))
    return table


def _conditions(headline: Headline) -> str:
    """How many questions a number is the mean of, and by which rules they are asked."""
    rules = dict.fromkeys(
        rule for q in headline.questions for rule in (q.noise_rule, q.missing_rule, q.joint) if rule
    )
    count = len(headline.questions)
    return ", ".join([f"{count} condition{'s' * (count > 1)}", *rules])


def _making(record: RunRecord) -> Rows:
    """Where, when and by what it was trained, and the rows of its table were made."""
    from benchmark.screen import Column, Rows

    table = Rows("made", "on", Column("device", spare=1), "commit and versions")

    def add(what: str, day: str, made: Mapping[str, Any]) -> None:
        commit = str(made.get("commit") or "no commit")[:12]
        said = [commit + " with changes" * bool(made.get("dirty"))]
        said += [f"{name} {x}" for name, x in (made.get("versions") or {}).items() if x]
        table.add(what, day, made.get("device", ""), ", ".join(said))

    if record.trained_here:
        add("training", record.environment["finished"][:10], record.environment)
    if record.is_evaluated():
        places: Sequence[int] = record.table.block
        for place, block in enumerate(record.table.blocks):
            add(f"{places.count(place)} rows of the table", block.get("date", ""), block)
    return table
