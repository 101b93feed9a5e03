"""``benchmark data``: its subcommands. Heavy imports are inside."""

from __future__ import annotations

from typing import Annotated

import typer

from benchmark import completion
from benchmark.data.align_command import align
from benchmark.data.encode_command import encode
from benchmark.data.import_command import import_
from benchmark.data.registry import imported_names, need_data_dir, registered
from benchmark.data.rewrite_command import rewrite
from benchmark.errors import BenchmarkError
from benchmark.options import DATA_DIR

app = typer.Typer(no_args_is_help=True, help="Import features, encode transcripts, look at data.")
app.command("import")(import_)
app.command()(encode)
app.command()(align)
app.command()(rewrite)


@app.command("check")
def check_(
    name: Annotated[
        str, typer.Argument(help="A data set's name.", autocompletion=completion.dataset)
    ],
    data_dir: DATA_DIR = None,
) -> None:
    """Show what a data set holds, what is odd about it, and whether its files are intact."""
    from benchmark.data.check import check
    from benchmark.data.checkview import render
    from benchmark.hygiene import terminal

    terminal().print(render(check(data_dir, name)))


@app.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A known data set, or an imported one.", autocompletion=completion.card
        ),
    ],
    data_dir: DATA_DIR = None,
) -> None:
    """Show a data card: splits, packages and their SHA-256, licence, where to apply, blemishes."""
    from benchmark.data.cards import Card, known_card, recognise
    from benchmark.data.checkview import card_page
    from benchmark.data.manifest import read_manifest
    from benchmark.hygiene import terminal

    card: Card | None = None
    if name in imported_names(data_dir):
        manifest = read_manifest(need_data_dir(data_dir) / name)
        known = recognise(manifest.counts, manifest.classes, manifest.source.sha256)
        card = manifest.card or (known.card if known else None)
    terminal().print(card_page(card or known_card(name)))


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
