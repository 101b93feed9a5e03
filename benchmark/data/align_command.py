"""``benchmark data align``: computational sequences to a data set. Heavy imports are inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.data.import_command import LABELS, adjusting, conclude
from benchmark.data.registry import need_data_dir
from benchmark.options import CARD, DATA_DIR, REPLACE, Task
from protocols.modalities import Modality


@adjusting(*LABELS, "pad_to", "labelled_only")
def align(
    text: Annotated[Path, typer.Option(help="Word features (.csd): the words to align to.")],
    labels: Annotated[Path, typer.Option(help="Labels (.csd): their intervals are the samples.")],
    name: Annotated[str, typer.Option(help="Name for the data set.")],
    audio: Annotated[Path | None, typer.Option(help="Audio features (.csd).")] = None,
    vision: Annotated[Path | None, typer.Option(help="Vision features (.csd).")] = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            help="CSV of video and split (default: the standard folds of MOSI, MOSEI and POM; of"
            " other sets a fifth of the videos is test)."
        ),
    ] = None,
    task: Annotated[
        Task,
        typer.Option(
            metavar="KIND",
            help="regression, classification, or auto: sentiment, but whole numbers are classes.",
        ),
    ] = Task.auto,
    asked: Any = None,
    card: CARD = None,
    replace: REPLACE = False,
    data_dir: DATA_DIR = None,
) -> None:
    """Align computational sequences (.csd) of the CMU SDK to words, and import their segments."""
    from dataclasses import replace as replaced

    from benchmark.hygiene import terminal

    folder = need_data_dir(data_dir)
    console = terminal()
    with console.status(f"aligning to {text.name}"):
        from benchmark.data.cards import read_card
        from benchmark.data.csd import align as aligned
        from benchmark.data.importer import check_folder, check_name, store_package
        from benchmark.data.package import parse_package

        check_name(name)
        check_folder(folder)
        own = read_card(card) if card is not None else None
        given: dict[Modality, Path | None] = {"text": text, "audio": audio, "vision": vision}
        found = aligned({m: path for m, path in given.items() if path}, labels, splits)
        package = parse_package(found.columns, found.source.name, task.value, asked)
        package = replaced(package, card=own, notes=(*found.notes, *package.notes))
        said: list[str] = []
        manifest = store_package(package, found.source, name, folder, replace, said.append)
    conclude(console, said, manifest, folder)
