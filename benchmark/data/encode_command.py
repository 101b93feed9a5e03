"""``benchmark data encode``: transcripts to text features. Heavy imports happen inside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.data.import_command import SCALE, adjusting, conclude
from benchmark.data.registry import need_data_dir
from benchmark.errors import BenchmarkError
from benchmark.options import CARD, DATA_DIR, REPLACE, Task
from protocols.modalities import Modality


@adjusting(*SCALE)
def encode(
    path: Annotated[Path, typer.Argument(help="CSV with one transcript a row.")],
    encoder: Annotated[str, typer.Option(help="Hugging Face encoder: its name, or a folder.")],
    text_column: Annotated[str, typer.Option(help="Column of the transcripts.")] = "text",
    label_column: Annotated[str, typer.Option(help="Column of the labels.")] = "label",
    split_column: Annotated[
        str | None, typer.Option(help="Column of train, valid and test (default: split).")
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(help="Instead: speaker, video or session, to split here by whole groups."),
    ] = None,
    test_group: Annotated[
        str | None,
        typer.Option(help="The group to test on (default: the last; of many, a fifth)."),
    ] = None,
    id_columns: Annotated[
        str, typer.Option(help="Columns that make the id, with commas (default: id, or the row).")
    ] = "",
    name: Annotated[
        str | None, typer.Option(help="Name for the data set (default: the CSV's folder and name).")
    ] = None,
    task: Annotated[
        Task,
        typer.Option(
            metavar="KIND",
            help="regression, classification, or auto: names and whole numbers are classes.",
        ),
    ] = Task.auto,
    asked: Any = None,
    csv_encoding: Annotated[
        str, typer.Option(help="Of the file's text: gbk, cp1252, ...")
    ] = "utf-8-sig",
    audio_folder: Annotated[
        Path | None,
        typer.Option(
            help="Audio features: a folder of ID.npy, (T, d), or a pickle of a dict by id."
        ),
    ] = None,
    vision_folder: Annotated[Path | None, typer.Option(help="The same for vision.")] = None,
    pad_to: Annotated[
        list[str] | None,
        typer.Option(metavar="STEPS", help="Steps to cut those features to: audio=375."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=3, help="Longer texts are cut.")] = 50,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    card: CARD = None,
    replace: REPLACE = False,
    data_dir: DATA_DIR = None,
) -> None:
    """Turn transcripts into a data set of token-level text features. Resumes where it stopped."""
    if group_column and split_column:
        raise BenchmarkError("give --split-column or --group-column, not both.")
    if test_group and not group_column:
        raise BenchmarkError("--test-group is a value of the column that --group-column names.")
    folder = need_data_dir(data_dir)
    chosen = name or _name_of(path)
    from rich.progress import Progress

    from benchmark.data.adjust import parse_steps
    from benchmark.data.cards import read_card
    from benchmark.data.encode import encode_transcripts
    from benchmark.data.encoder import HuggingFaceEncoder
    from benchmark.data.transcripts import Columns
    from benchmark.environment import choose_device
    from benchmark.hygiene import terminal

    columns = Columns(
        text=text_column,
        label=label_column,
        split=None if group_column else split_column or "split",
        group=group_column,
        test_group=test_group,
        encoding=csv_encoding,
        scale=asked,
        ids=tuple(part.strip() for part in id_columns.split(",") if part.strip()),
    )
    folders: dict[Modality, Path | None] = {"audio": audio_folder, "vision": vision_folder}
    steps = parse_steps(pad_to or [])
    own = read_card(card) if card is not None else None
    place = choose_device(device)
    console = terminal()
    said: list[str] = []
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"encoding {path.name} on {place}", total=None)
        manifest = encode_transcripts(
            path,
            columns,
            lambda: HuggingFaceEncoder(encoder, place),
            chosen,
            folder,
            task.value,
            max_tokens,
            replace,
            lambda done, total: progress.update(bar, completed=done, total=total),
            said.append,
            {m: where for m, where in folders.items() if where is not None},
            steps,
            own,
        )
    conclude(console, said, manifest, folder)


def _name_of(path: Path) -> str:
    """``mosei-transcripts`` for ``.../mosei/transcripts.csv``."""
    joined = f"{path.resolve().parent.name}-{path.stem}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", joined).strip("-._")[:64]
