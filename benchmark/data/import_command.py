"""``benchmark data import``: a feature package to a data set. Heavy imports happen inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.data.registry import need_data_dir
from benchmark.options import CARD, DATA_DIR, Task

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.data.adjust import Adjustments
    from benchmark.data.manifest import Manifest


LABEL_COLUMN = Annotated[
    int | None, typer.Option(min=0, help="Of several numbers per sample the label, from 0.")
]
LABEL_MAP = Annotated[
    str, typer.Option(help='Formula in x to [-3, 3]: "(x - 4) / 1.5".', show_default=False)
]
LABEL_SCALE = Annotated[
    float | None, typer.Option(help="Multiply the labels, after --label-center: 3.")
]
LABEL_CENTER = Annotated[
    float | None, typer.Option(help="Subtract from the labels: 3 for ratings of 1 to 5.")
]
CLIP_LABELS = Annotated[
    bool, typer.Option("--clip-labels", help="Set labels beyond [-3, 3] to its ends.")
]
PAD_TO = Annotated[
    list[str] | None,
    typer.Option(help="Steps to pad or cut sequences to: 50, or text=50,audio=375."),
]
DROP_UNLABELLED = Annotated[
    bool, typer.Option("--drop-unlabelled", help="Leave out samples without a label.")
]


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
    label_column: LABEL_COLUMN = None,
    label_map: LABEL_MAP = "",
    label_scale: LABEL_SCALE = None,
    label_center: LABEL_CENTER = None,
    clip_labels: CLIP_LABELS = False,
    pad_to: PAD_TO = None,
    drop_unlabelled: DROP_UNLABELLED = False,
    card: CARD = None,
    replace: Annotated[bool, typer.Option(help="Overwrite other data of that name.")] = False,
    data_dir: DATA_DIR = None,
) -> None:
    """Import a feature package (MMSA schema). Nothing in the file is executed."""
    from benchmark.hygiene import terminal

    folder = need_data_dir(data_dir)
    console = terminal()
    with console.status(f"importing {path.name}"):
        from benchmark.data.cards import read_card
        from benchmark.data.importer import import_package

        asked = adjustments(
            label_column=label_column,
            label_map=label_map,
            label_scale=label_scale,
            label_center=label_center,
            clip_labels=clip_labels,
            pad_to=pad_to,
            drop_unlabelled=drop_unlabelled,
            rename=rename,
            split_names=split_names,
        )
        own = read_card(card) if card is not None else None
        said: list[str] = []
        manifest = import_package(path, name, folder, task.value, replace, said.append, asked, own)
    conclude(console, said, manifest, folder)


def adjustments(
    *,
    label_column: int | None,
    label_map: str,
    label_scale: float | None,
    label_center: float | None,
    clip_labels: bool,
    pad_to: list[str] | None,
    drop_unlabelled: bool,
    rename: list[str] | None = None,
    split_names: list[str] | None = None,
) -> Adjustments:
    """What the options ask for. Raises BenchmarkError where one is in no form that is read."""
    from benchmark.data.adjust import Adjustments, label_formula, parse_pairs, parse_steps

    return Adjustments(
        rename=parse_pairs(rename or [], "--rename"),
        split_names=parse_pairs(split_names or [], "--split-names"),
        label_column=label_column,
        label_map=label_formula(label_map, label_scale, label_center),
        clip_labels=clip_labels,
        pad_to=parse_steps(pad_to or []),
        drop_unlabelled=drop_unlabelled,
    )


def conclude(console: Console, said: Sequence[str], manifest: Manifest, folder: Path) -> None:
    """Print what an import has done, and the commands that come next."""
    from benchmark.data.checkview import summary
    from benchmark.screen import say_next

    for line in said:
        console.print(line, markup=False, emoji=False, soft_wrap=True)
    console.print(summary(manifest))
    name, place = manifest.name, ["--data-dir", folder]
    say_next(
        console,
        (["benchmark", "data", "check", name, *place], "what is odd about it"),
        (["benchmark", "run", "--dataset", name, *place, "--dry-run"], "how long runs take"),
        (["benchmark", "run", "--dataset", name, *place], "the usual models on it"),
    )
