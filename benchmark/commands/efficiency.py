"""``benchmark efficiency``: parameters, operations, latency, throughput and memory of models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import completion
from benchmark.errors import BenchmarkError
from benchmark.options import DATA_DIR, DEVICE, RUNS_DIR, SET
from benchmark.strangers import strangers

if TYPE_CHECKING:
    from benchmark.efficiency.kept import Efficiency


def efficiency(
    dataset: Annotated[
        str,
        typer.Option(help="Whose shapes the inputs have.", autocompletion=completion.dataset),
    ] = "synthetic",
    models: Annotated[
        str | None,
        typer.Option(
            help="Names with commas, or all (default: the plan's, or those that "
            "benchmark list models marks).",
            autocompletion=completion.listed(completion.models),
        ),
    ] = None,
    plan: Annotated[str | None, typer.Option(help="A named plan: paper/table9.")] = None,
    preset: Annotated[str, typer.Option(help="paper, official, ...")] = "paper",
    settings: SET = None,
    data_dir: DATA_DIR = None,
    runs_dir: RUNS_DIR = Path("runs"),
    device: DEVICE = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads (default: all).")] = None,
    passes: Annotated[
        int, typer.Option(min=20, help="Timed passes at a batch of 16, at most.")
    ] = 100,
) -> None:
    """Measure what models cost on this device (Table 9); `benchmark report` shows it again.

    Example: benchmark efficiency --dataset mosi --data-dir data --models qamoe,mult
    """

    from benchmark.commands.request import find_plan, names, read_request
    from benchmark.data.registry import load_dataset
    from benchmark.efficiency.kept import save
    from benchmark.efficiency.measure import measure
    from benchmark.environment import choose_device, compute_with
    from benchmark.execution.execute import make_model
    from benchmark.execution.executor import available_cores
    from benchmark.hygiene import message, terminal
    from benchmark.plan import plan_runs
    from benchmark.records import RunStore

    chosen = choose_device(device)
    compute_with(threads or available_cores())
    given = {"models": names(models), "preset": preset, "regimes": ("clean",), "seeds": (1111,)}
    request = read_request(find_plan(plan, None), given, settings or [], None, "the request")
    data, store = load_dataset(dataset, data_dir), RunStore(runs_dir)
    store.prepare()
    console, found = terminal(highlight=False), []
    specs = [spec for product in request.products for spec in plan_runs(product, data)]
    for spec in specs:
        try:
            with strangers(BenchmarkError):
                measured = measure(make_model(spec, data), data, chosen, spec, passes)
        except BenchmarkError as error:
            typer.echo(f"not measured: {spec.model}: {message(error)}", err=True)
            continue
        save(store, measured)
        found.append(measured)
        console.print(f"measured {measured.name}", style="dim")
    if found:
        show(found, console)
    if len(found) < len(specs):
        raise typer.Exit(1)


def show(found: list[Efficiency], console: object) -> None:
    """The measurements as a table."""
    from rich.console import Console

    from benchmark.screen import Column, Rows

    assert isinstance(console, Console)
    first = found[0]
    heads = ("M params (active)", "MFLOPs (top-k)", "ms (p95)", "samples/s", "best (batch)", "MB")
    table = Rows(
        "model",
        *(Column(head, number=True) for head in heads),
        title=f"{first.device}, {first.threads} CPU thread(s); batch 16, {first.dataset}",
    )
    for one in found:
        memory = "–" if one.peak_memory_mb is None else f"{one.peak_memory_mb:.0f}"
        table.add(
            one.name,
            f"{one.parameters / 1e6:.2f} ({one.active / 1e6:.2f})",
            f"{one.flops / 1e6:.1f} ({one.sparse_flops / 1e6:.1f})",
            f"{one.latency_ms:.1f} ({one.latency_p95_ms:.1f})",
            f"{one.throughput:.0f}",
            f"{one.saturated_throughput:.0f} ({one.saturating_batch})",
            memory,
        )
    console.print(table)
    console.print(
        "FLOPs per sample, two per multiply-add, as computed; active and top-k are analytic: what "
        "the chosen experts alone would need. Text encoder excluded."
    )
