"""Draw figures and write them to files, in processes beside the one that makes the tables.

A process begun with ``fork`` has the results in its memory already, so nothing is sent to it; what
comes back are names. They give way to the tables, which the rest of a report waits for.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.backends.backend_pdf  # noqa: F401  # once, not in every child
from fontTools import subset
from matplotlib.figure import Figure
from PIL import Image

from benchmark.forks import cores, forked, result
from reports.figures.look import PAGE, Look
from reports.figures.style import DPI, PRINT_DPI
from reports.web.page import Picture

Drawn = tuple[Picture, Figure]
Job = Callable[[], Iterable[Drawn]]
"""Draws figures, one after the other."""

_GIVE_WAY = 5
"""What is added to the niceness of a drawing process."""


@contextmanager
def drawn(
    jobs: Sequence[Job], folder: Path, processes: int | None = None, look: Look = PAGE
) -> Iterator[Callable[[], list[Picture]]]:
    """Begin to draw; other work may be done meanwhile.

    Args:
        jobs: what is drawn.
        folder: where the files go.
        processes: at a time; by default one for each core that this process may use, and none but
            this one where the system has no ``fork``.
        look: the formats of the files, and whether they are for a screen or for print.

    Yields:
        What waits for the figures and says their places in the report, in the jobs' order. It
        raises OSError where a file cannot be written.
    """
    count = min(cores() if processes is None else processes, len(jobs))

    def draw(place: int) -> list[Picture]:
        return _draw(jobs[place], folder, look)

    if count < 2:
        yield lambda: [picture for place in range(len(jobs)) for picture in draw(place)]
        return
    with forked(draw, count, _GIVE_WAY) as ask:
        pending = [ask(place) for place in range(len(jobs))]
        yield lambda: [p for place, one in enumerate(pending) for p in result(one, draw, place)]


def _draw(job: Job, folder: Path, look: Look) -> list[Picture]:
    """Draw and write a job's figures. Raises OSError where that cannot be."""
    pictures = []
    for picture, figure in job():
        with _fonts_without_layout():
            for suffix in look.suffixes:
                figure.savefig(folder / f"{picture.name}{suffix}", **_options(suffix, look))
        pictures.append(replace(picture, image=_small(folder / f"{picture.name}.png")))
    return pictures


@contextmanager
def _fonts_without_layout() -> Iterator[None]:
    """Put fonts into a PDF without the tables that lay text out: in a PDF every letter has its
    place already, and to cut these tables down would take two thirds of a font's time."""
    every: list[str] = getattr(subset.Options, _DROPPED, [])
    setattr(subset.Options, _DROPPED, [*every, "GDEF", "GPOS", "GSUB"])
    try:
        yield
    finally:
        setattr(subset.Options, _DROPPED, every)


_DROPPED = "_drop_tables_default"


def _small(path: Path) -> bytes:
    """A PNG in 256 colours, for the page: a third of the file, or less."""
    small = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").quantize(
            256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        ).save(small, "png")
    return small.getvalue()


def _options(suffix: str, look: Look) -> dict[str, Any]:
    """How a file is written. Without a date the same records give the same file."""
    if suffix == ".pdf":
        return {"metadata": {"CreationDate": None}}
    if suffix == ".svg":
        return {"metadata": {"Date": None}}
    dpi = DPI if look.width is None else PRINT_DPI
    return {"dpi": dpi, "pil_kwargs": {"compress_level": 3}}  # which takes half the time
