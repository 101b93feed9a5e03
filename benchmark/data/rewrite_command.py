"""``benchmark data rewrite``: words lost before the encoder. Heavy imports are inside."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from benchmark import completion
from benchmark.data.registry import need_data_dir
from benchmark.options import DATA_DIR


def rewrite(
    name: Annotated[
        str,
        typer.Argument(
            help="An imported data set with transcripts.", autocompletion=completion.dataset
        ),
    ],
    encoder: Annotated[
        str, typer.Option(help="The Hugging Face encoder of its text: its name, or a folder.")
    ],
    draws: Annotated[int, typer.Option(min=1, max=1000, help="Corruption draws.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    data_dir: DATA_DIR = None,
) -> None:
    """Make the text for the families unk, words and characters: lost before the encoder reads it.

    Of validation and test; the features, and all runs there are, stay as they are.
    """
    folder = need_data_dir(data_dir)
    from rich.progress import Progress

    from benchmark.data.encoder import HuggingFaceEncoder
    from benchmark.data.rewrite import rewrite_transcripts
    from benchmark.environment import choose_device
    from benchmark.hygiene import terminal
    from protocols.rules import REWRITING

    place = choose_device(device)
    console = terminal()
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task(f"rewriting {name} on {place}", total=None)
        manifest = rewrite_transcripts(
            name,
            folder,
            lambda: HuggingFaceEncoder(encoder, place),
            draws,
            lambda done, total: progress.update(bar, completed=done, total=total),
        )
    assert manifest.rewriting is not None
    size = (folder / name / manifest.rewriting.file).stat().st_size
    rules = ",".join(REWRITING)
    console.print(
        f"{folder / name}: transcripts of validation and test rewritten in {draws} "
        f"draw{'s' * (draws > 1)} for {', '.join(REWRITING)} ({size / 2**20:.0f} MiB)."
    )
    where = f"--dataset {shlex.quote(name)} --data-dir {shlex.quote(str(folder))}"
    how = f"--set evaluation.draws={draws} --set 'evaluation.noise_rules=[seed_a1,{rules}]'"
    console.print(f"Evaluate on them: benchmark run {where} {how}", soft_wrap=True, markup=False)
