"""``benchmark leaderboard``: a page over submissions."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from benchmark.errors import BenchmarkError
from benchmark.options import DATA_DIR


def leaderboard(
    places: Annotated[
        list[str],
        typer.Argument(
            help="Packs, folders of packs, or their addresses.", metavar="FOLDER_OR_URL..."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("leaderboard.html"),
    share: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of the samples that checkpoints are asked anew."),
    ] = 0.0,
    data_dir: DATA_DIR = None,
) -> None:
    """One page over submissions, verified here; it needs no network to be read.

    Example: benchmark leaderboard zoo https://example.org/their.zip --data-dir data
    """
    from benchmark.files import replace_file
    from benchmark.hygiene import printable
    from benchmark.packs.opening import sources
    from reports.zoo.entries import listed, read_entries
    from reports.zoo.page import zoo_page

    found = list(dict.fromkeys(one for place in places for one in sources(place)))
    with ExitStack() as keep:
        entries, problems = read_entries(found, data_dir, share, keep)
        lists = listed(entries)
        content = printable(zoo_page(lists, problems)).encode()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, content)
    except OSError as error:
        raise BenchmarkError(f"cannot write {out}: {error.strerror or error}") from None
    for one in lists:
        typer.echo(f"{one.dataset}: {len(one.ranked)} ranked, {len(one.claimed)} claimed only")
        for entry, why in one.refused.items():
            typer.echo(f"  not in the list: {entry.label}: {why}")
    for place, why in problems.items():
        typer.echo(f"not opened: {place}: {why}")
    typer.echo(f"page     {out}")
