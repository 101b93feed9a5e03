"""Draw figures and write them to files, in processes beside the one that makes the tables.

A process begun with ``fork`` has the results in its memory already, so nothing is sent to it; what
comes back are names. They give way to the tables, which the rest of a report waits for.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib.backends.backend_pdf  # noqa: F401  # once, not in every child
from fontTools import subset
from matplotlib.backends import _backend_pdf_ps
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from pypdfium2 import PdfDocument

from benchmark.forks import cores, forked, result
from reports.figures.layout import new_figure
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


def load_fonts(look: Look) -> None:
    """Have what is the same for all figures in memory, before there are processes that draw."""
    figure = new_figure(1, 1)
    for weight in ("normal", "bold"):
        figure.text(0, 0, "λ = 0.1", fontweight=weight)
    _files(figure, look)


def _draw(job: Job, folder: Path, look: Look) -> list[Picture]:
    """Draw and write a job's figures. Raises OSError where that cannot be."""
    pictures = []
    for picture, figure in job():
        files = _files(figure, look)
        for suffix, content in files.items():
            (folder / f"{picture.name}{suffix}").write_bytes(content)
        pictures.append(replace(picture, image=files[".png"]))
    return pictures


def _files(figure: Figure, look: Look) -> dict[str, bytes]:
    """A figure's files. matplotlib draws once, a PDF: its dots are PDFium's, in a tenth of the
    time that matplotlib's own would take."""
    pdf = _saved(figure, ".pdf")
    made = {".pdf": pdf, ".png": _png(pdf, DPI if look.width is None else PRINT_DPI)}
    return {suffix: made.get(suffix) or _saved(figure, suffix) for suffix in look.suffixes}


def _saved(figure: Figure, suffix: str) -> bytes:
    """A PDF or an SVG. Without a date the same records give the same file."""
    content = io.BytesIO()
    undated = {"CreationDate" if suffix == ".pdf" else "Date": None}
    with _few_cuts():
        figure.savefig(content, format=suffix[1:], metadata=undated)
    return content.getvalue()


def _png(pdf: bytes, dpi: int) -> bytes:
    """A PDF's only page as a PNG, in its own colours: fewer would make neighbouring levels one."""
    content = io.BytesIO()
    with closing(PdfDocument(pdf)) as document:
        dots = document[0].render(scale=dpi / 72).to_pil()
    dots.save(content, "png", dpi=(dpi, dpi), compress_level=1)
    return content.getvalue()


@contextmanager
def _few_cuts() -> Iterator[None]:
    """Cut fonts down once for many PDFs, and without the tables that lay text out.

    matplotlib cuts a font down to the letters of each figure, which takes as long as to draw it; in
    a PDF every letter has its place already.
    """
    every: list[str] = getattr(subset.Options, _DROPPED, [])
    setattr(subset.Options, _DROPPED, [*every, "GDEF", "GPOS", "GSUB"])
    _fonts.get_glyphs_subset = _shared_cut
    try:
        yield
    finally:
        _fonts.get_glyphs_subset = _cut_down
        setattr(subset.Options, _DROPPED, every)


_DROPPED = "_drop_tables_default"
_fonts: Any = _backend_pdf_ps
_cut_down = _fonts.get_glyphs_subset
_USUAL = "".join(map(chr, range(0x20, 0x7F))) + "±²·×", "ηλμρσΔ–−…←↑→↓≤≥ₐₘₜᵥﬀﬁﬂﬃﬄ"
"""What reports write; matplotlib asks for the first 256 characters by themselves. A figure with
another letter gets a cut of its own."""


@contextmanager
def _shared_cut(path: Any, glyphs: Iterable[int]) -> Iterator[Any]:
    """matplotlib's ``get_glyphs_subset``, with more letters than it asks for."""
    wanted = frozenset(glyphs)
    yield _kept_cut(path, next((u for u in _usual_glyphs(path) if wanted <= u), wanted))


@lru_cache(maxsize=8)
def _kept_cut(path: Any, glyphs: frozenset[int]) -> Any:
    with _cut_down(path, set(glyphs)) as cut:
        return cut._replace(font=_Written(_fonts.font_as_file(cut.font).getvalue()))


@dataclass(frozen=True)
class _Written:
    """A font that is bytes already, where matplotlib would write one anew for each PDF."""

    content: bytes

    def save(self, file: BinaryIO, **_: Any) -> None:
        file.write(self.content)


@lru_cache(maxsize=8)
def _usual_glyphs(path: Any) -> list[frozenset[int]]:
    font = FT2Font(path)
    return [frozenset(font.get_char_index(ord(letter)) for letter in some) for some in _USUAL]
