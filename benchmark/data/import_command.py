"""``benchmark data import``: a feature package to a data set. Heavy imports happen inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.data.registry import need_data_dir
from benchmark.hygiene import command_line
from benchmark.options import CARD, DATA_DIR, Task


def import_(
    path: Annotated[Path, typer.Argument(help="Feature package: pickle, .npz, .safetensors.")],
    name: Annotated[str, typer.Option(help="Name for the data set.")],
    task: Annotated[Task, typer.Option(help="Labels to take; auto: sentiment if any.")] = Task.auto,
    rename: Annotated[
        list[str] | None, typer.Option(help="OLD=NEW: read a key as another: video=vision.")
    ] = None,
    split_names: Annotated[
        list[str] | None, typer.Option(help="OLD=NEW: read a split as another: dev=valid.")
    ] = None,
    label_column: Annotated[
        int | None, typer.Option(min=0, help="Of several numbers per sample the label, from 0.")
    ] = None,
    label_map: Annotated[
        str, typer.Option(help='Formula in x to [-3, 3]: "(x - 4) / 1.5".', show_default=False)
    ] = "",
    label_scale: Annotated[
        float | None, typer.Option(help="Multiply the labels, after --label-center: 3.")
    ] = None,
    label_center: Annotated[
        float | None, typer.Option(help="Subtract from the labels: 3 for ratings of 1 to 5.")
    ] = None,
    clip_labels: Annotated[
        bool, typer.Option("--clip-labels", help="Set labels beyond [-3, 3] to its ends.")
    ] = False,
    pad_to: Annotated[
        list[str] | None,
        typer.Option(help="Steps to pad or cut sequences to: 50, or text=50,audio=375."),
    ] = None,
    drop_unlabelled: Annotated[
        bool, typer.Option("--drop-unlabelled", help="Leave out samples without a label.")
    ] = False,
    card: CARD = None,
    replace: Annotated[bool, typer.Option(help="Overwrite other data of that name.")] = False,
    data_dir: DATA_DIR = None,
) -> None:
    """Import a feature package (MMSA schema). Nothing in the file is executed."""
    from benchmark.hygiene import terminal

    folder = need_data_dir(data_dir)
    console = terminal()
    with console.status(f"importing {path.name}"):
        from benchmark.data.adjust import Adjustments, label_formula, parse_pairs, parse_steps
        from benchmark.data.cards import read_card
        from benchmark.data.checkview import summary
        from benchmark.data.importer import import_package

        asked = Adjustments(
            rename=parse_pairs(rename or [], "--rename"),
            split_names=parse_pairs(split_names or [], "--split-names"),
            label_column=label_column,
            label_map=label_formula(label_map, label_scale, label_center),
            clip_labels=clip_labels,
            pad_to=parse_steps(pad_to or []),
            drop_unlabelled=drop_unlabelled,
        )
        own = read_card(card) if card is not None else None
        said: list[str] = []
        manifest = import_package(path, name, folder, task.value, replace, said.append, asked, own)
    for line in said:
        console.print(line, markup=False, soft_wrap=True)
    console.print(summary(manifest))
    following = command_line("benchmark", "data", "check", name, "--data-dir", folder)
    console.print(f"Next: {following}", markup=False, emoji=False, soft_wrap=True)
