"""``benchmark pack`` and ``benchmark verify``: submissions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import completion
from benchmark.errors import BenchmarkError
from benchmark.hygiene import message, one_line
from benchmark.options import DATA_DIR, RUNS_DIR

if TYPE_CHECKING:
    from benchmark.packs.card import Facts
    from benchmark.packs.opening import Pack
    from benchmark.packs.verify import Verified
    from benchmark.records import RunRecord


def pack(
    run_ids: Annotated[
        list[str],
        typer.Argument(
            help="Runs (benchmark list runs), or how their ids begin; or 'all'.",
            metavar="RUN_ID...",
            autocompletion=completion.run_ids,
        ),
    ],
    out: Annotated[Path, typer.Option(help="mine.zip, or a folder.")],
    card: Annotated[
        Path | None,
        typer.Option(help="YAML: licence, paper, year, links, bibtex, selection, claims, ..."),
    ] = None,
    title: Annotated[str, typer.Option(help="Of the submission (default: the systems').")] = "",
    checkpoints: Annotated[
        str,
        typer.Option(help="'inside', or the address of a folder laid out as the runs folder."),
    ] = "",
    each: Annotated[
        bool, typer.Option("--each", help="A pack for each system, and their index, in --out.")
    ] = False,
    runs_dir: RUNS_DIR = Path("runs"),
) -> None:
    """Pack runs as a submission: card, claims, predictions, metrics, environment.

    Example: benchmark pack 0123456789ab --out mine.zip --card card.yaml
    """
    from benchmark.files import replace_file
    from benchmark.packs.making import files_of, write, zipped
    from benchmark.packs.opening import INDEX, index_of
    from benchmark.systems import slug, systems

    records, facts = _records(run_ids, runs_dir), _facts(card)
    by_id = {record.run_id: record for record in records}
    groups = {
        (name, data): [by_id[spec.run_id] for spec in members]
        for data in dict.fromkeys(record.spec.data_sha256 for record in records)
        for name, members in systems(
            [record.spec for record in records if record.spec.data_sha256 == data]
        ).items()
    }
    if not each:
        whole = title or "; ".join(dict.fromkeys(name.label for name, _ in groups))[:300]
        write(files_of(records, whole, facts, checkpoints), out)
        typer.echo(f"{len(records)} runs of {len(groups)} systems: {out}")
        return
    packs = {}
    for (name, _), members in groups.items():
        content = zipped(files_of(members, name.label, facts, checkpoints))
        packs[f"{slug(members[0].spec.dataset)}-{name.key}.zip"] = content
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, content in {**packs, INDEX: index_of(packs)}.items():
            replace_file(out / file, content)
    except OSError as error:
        raise BenchmarkError(f"cannot write to {out}: {error.strerror or error}") from None
    size = sum(map(len, packs.values())) / 2**20
    typer.echo(f"{len(packs)} packs, {size:.1f} MiB, with {INDEX}: {out}")


def _records(run_ids: list[str], runs_dir: Path) -> list[RunRecord]:
    from benchmark.records import RunStore

    store = RunStore(runs_dir)
    if run_ids == ["all"]:
        survey = store.survey()
        found = [record for record in survey.records if record.is_evaluated()]
        for problem in survey.problems.values():
            typer.echo(f"not packed: {message(problem)}", err=True)
        if not found:
            raise BenchmarkError(f"no finished runs in {runs_dir}")
        return found
    return [store.record(run_id) for run_id in dict.fromkeys(map(store.find, run_ids))]


def _facts(card: Path | None) -> Facts:
    from benchmark.config import build
    from benchmark.packs.card import Facts
    from benchmark.yamlfile import read_yaml

    return build(Facts, {} if card is None else read_yaml(card) or {}, str(card))


def verify(
    source: Annotated[
        str, typer.Argument(help="A pack (.zip or folder), its address, or a folder of packs.")
    ],
    share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the samples that checkpoints are asked anew."),
    ] = 0.1,
    data_dir: DATA_DIR = None,
) -> None:
    """Say what of a submission stands; exit code 1 where something does not.

    Three levels: numbers only; predictions checked (ids, labels, data, metrics and claims agree
    with the data set here); checkpoint re-evaluated (its answers here are the predictions).
    Example: benchmark verify mine.zip --share 1
    """
    from benchmark.packs.opening import opened, sources
    from benchmark.packs.verify import verify as verified

    failed = False
    for one in sources(source):
        with opened(one) as pack:
            found = verified(pack, data_dir, share)
            show(pack, found)
            failed |= bool(found.failures)
    if failed:
        raise typer.Exit(1)


def show(pack: Pack, found: Verified) -> None:
    """One page: what was looked at, and how it came out."""
    from benchmark.hygiene import terminal

    console = terminal(highlight=False, markup=False, soft_wrap=True)
    facts = pack.card.facts
    console.print(f"{one_line(pack.card.title)}\n  from {pack.source}\n  SHA-256 {pack.sha256}")
    stated = {"licence": facts.licence, "paper": facts.paper, "year": facts.year}
    console.print("  " + ", ".join(f"{key}: {x or 'not stated'}" for key, x in stated.items()))
    styles = {"stands": "green", "fails": "bold red", "not checked": "yellow"}
    for system in pack.card.systems:
        console.print(f"\n{system.name} on {system.dataset}: {found.levels[system.name]}")
        console.print(f"  selected: {system.selection}; trained on: {system.training_data}")
        for one in found.findings:
            if one.system == system.name:
                console.print(
                    f"  {one.verdict:<12}{one.what:<12}", style=styles[one.verdict], end=""
                )
                console.print(one.detail)
    failures = found.failures
    what = (
        f"{len(failures)} of {len(found.findings)} checks fail"
        if failures
        else "all that was looked at stands"
    )
    console.print(f"\n{what}", style="bold red" if failures else "green")
