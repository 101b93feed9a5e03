"""``benchmark data import``: a feature package to a data set. Heavy imports happen inside."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.data.registry import need_data_dir
from benchmark.options import CARD, DATA_DIR, REPLACE, Task

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.data.manifest import Manifest


def adjustments(
    *,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Read a key as another: video=vision."),
    ] = None,
    split_names: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Read a split as another: dev=valid."),
    ] = None,
    label_column: Annotated[
        int | None,
        typer.Option(metavar="K", min=0, help="Of several numbers per sample the label, from 0."),
    ] = None,
    label_map: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help='Formula in x to [-3, 3]: "(x - 4) / 1.5".', show_default=False
        ),
    ] = "",
    label_scale: Annotated[
        float | None,
        typer.Option(metavar="X", help="Multiply the labels, after --label-center: 3."),
    ] = None,
    label_center: Annotated[
        float | None,
        typer.Option(metavar="X", help="Subtract from the labels: 3 for ratings of 1 to 5."),
    ] = None,
    clip_labels: Annotated[
        bool, typer.Option("--clip-labels", help="Set labels beyond [-3, 3] to its ends.")
    ] = False,
    pad_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEPS",
            help="Steps to pad or cut sequences to: 50, or audio=375 (several with commas).",
        ),
    ] = None,
    labelled_only: Annotated[
        bool, typer.Option("--labelled-only", help="Leave out samples without a label.")
    ] = False,
) -> Any:
    """What the options ask for, an Adjustments; the options of :func:`adjusting` are these.

    Raises:
        BenchmarkError: one is in no form that is read.
    """
    from benchmark.data.adjust import Adjustments, label_formula, parse_pairs, parse_steps

    return Adjustments(
        rename=parse_pairs(rename or [], "--rename"),
        split_names=parse_pairs(split_names or [], "--split-names"),
        label_column=label_column,
        label_map=label_formula(label_map, label_scale, label_center),
        clip_labels=clip_labels,
        pad_to=parse_steps(pad_to or []),
        labelled_only=labelled_only,
    )


SCALE = ("label_map", "label_scale", "label_center", "clip_labels")
LABELS = ("label_column", *SCALE)
Command = Callable[..., None]


def adjusting(*names: str) -> Callable[[Command], Command]:
    """Give a command these options of :func:`adjustments`, in the place of its ``asked``."""
    shared = inspect.signature(adjustments, eval_str=True).parameters

    def decorate(command: Command) -> Command:
        @wraps(command)
        def adjusted(**values: Any) -> None:
            asked = adjustments(**{name: values.pop(name) for name in names})
            command(**values, asked=asked)

        found: list[inspect.Parameter] = []
        for name, own in inspect.signature(command, eval_str=True).parameters.items():
            found += [shared[name] for name in names] if name == "asked" else [own]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in found]
        del adjusted.__wrapped__
        adjusted.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        adjusted.__annotations__ = {p.name: p.annotation for p in parameters}
        return adjusted

    return decorate


@adjusting("rename", "split_names", *LABELS, "pad_to", "labelled_only")
def import_(
    path: Annotated[Path, typer.Argument(help="Feature package: pickle, .npz, .safetensors.")],
    name: Annotated[str, typer.Option(help="Name for the data set.")],
    task: Annotated[
        Task,
        typer.Option(
            metavar="KIND",
            help="Labels to take: regression, classification, or auto: sentiment if any.",
        ),
    ] = Task.auto,
    asked: Any = None,
    card: CARD = None,
    replace: REPLACE = False,
    data_dir: DATA_DIR = None,
) -> None:
    """Import a feature package (MMSA schema). Nothing in the file is executed."""
    from benchmark.hygiene import terminal

    folder = need_data_dir(data_dir)
    console = terminal()
    with console.status(f"importing {path.name}"):
        from benchmark.data.cards import read_card
        from benchmark.data.importer import import_package

        own = read_card(card) if card is not None else None
        said: list[str] = []
        manifest = import_package(path, name, folder, task.value, replace, said.append, asked, own)
    conclude(console, said, manifest, folder)


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
