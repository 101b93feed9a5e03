"""``benchmark data``: import, encode, check, list. Heavy imports happen inside the functions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.data.encode_command import encode
from benchmark.data.registry import imported_names, need_data_dir, registered
from benchmark.errors import BenchmarkError
from benchmark.options import DATA_DIR, Task

app = typer.Typer(no_args_is_help=True, help="Import features, encode transcripts, look at data.")
app.command()(encode)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="Feature package: pickle, .npz, .safetensors.")],
    name: Annotated[str, typer.Option(help="Name for the data set.")],
    task: Annotated[Task, typer.Option(help="Labels to take; auto: sentiment if any.")] = Task.auto,
    replace: Annotated[bool, typer.Option(help="Overwrite other data of that name.")] = False,
    data_dir: DATA_DIR = None,
) -> None:
    """Import a feature package (MMSA schema). Nothing in the file is executed."""
    from benchmark.hygiene import terminal

    folder = need_data_dir(data_dir)
    console = terminal()
    with console.status(f"importing {path.name}"):
        from benchmark.data.checkview import summary
        from benchmark.data.importer import import_package

        said: list[str] = []
        manifest = import_package(path, name, folder, task.value, replace, said.append)
    for line in said:
        console.print(line, markup=False, soft_wrap=True)
    console.print(summary(manifest))
    console.print(f"Next: benchmark data check {name} --data-dir {folder}", soft_wrap=True)


@app.command("check")
def check_(
    name: Annotated[str, typer.Argument(help="A data set's name.")],
    data_dir: DATA_DIR = None,
) -> None:
    """Show what a data set holds, what is odd about it, and whether its files are intact."""
    from benchmark.data.check import check
    from benchmark.data.checkview import render
    from benchmark.hygiene import terminal

    terminal().print(render(check(data_dir, name)))


@app.command("list")
def list_(data_dir: DATA_DIR = None) -> None:
    """List the built-in, the imported and the known data sets."""
    from benchmark.data.checkview import known, listing
    from benchmark.data.manifest import Manifest, read_manifest
    from benchmark.hygiene import terminal
    from benchmark.plugins import broken_rows

    found: dict[str, Manifest | str] = {}
    for name in imported_names(data_dir):
        try:
            found[name] = read_manifest(need_data_dir(data_dir) / name)
        except BenchmarkError as error:
            found[name] = str(error)
    console = terminal()
    builtin = dict.fromkeys(registered(), "built in") | dict(broken_rows("dataset"))
    console.print(listing(builtin, found))
    console.print()
    console.print(known())
    if not found:
        console.print(
            "Import one with: benchmark data import PATH --name NAME --data-dir DIR", soft_wrap=True
        )
