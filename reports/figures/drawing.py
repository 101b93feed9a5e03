"""Write figures to files, several at once: each by a process of its own, one for each core.

Making a figure is quick, saving it as PNG and PDF is most of a report's time. A child of ``fork``
has the finished figure in its memory, so nothing is sent to it and nothing comes back but files.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import matplotlib.backends.backend_pdf  # noqa: F401  # once, not in every child
from matplotlib.figure import Figure

from reports.figures.style import DPI
from reports.web.page import Picture


@dataclass(frozen=True)
class Pending:
    """A figure that is being written.

    Attributes:
        picture: its place in the report.
        figure: what is drawn.
        folder: where its files go.
        child: the process that writes it; None where it is done.
    """

    picture: Picture
    figure: Figure
    folder: Path
    child: BaseProcess | None

    def wait(self) -> Picture:
        """Until it is written. Raises OSError where it cannot be: by trying once more here."""
        if self.child is not None:
            self.child.join()
            if self.child.exitcode:
                write_figure(self.picture, self.figure, self.folder)
        return self.picture


def start_writing(
    drawn: Iterable[tuple[Picture, Figure]], folder: Path, processes: int | None = None
) -> list[Pending]:
    """Begin to write figures as they are made; the last few may still be under way on return.

    Args:
        drawn: the figures, each made when it is asked for.
        folder: where the files go.
        processes: at a time; by default one for each core that this process may use, and none but
            this one where the system has no ``fork``.

    Raises:
        OSError: where a file cannot be written.
    """
    count = _cores() if processes is None else processes
    found: list[Pending] = []
    running: deque[Pending] = deque()
    for picture, figure in drawn:
        if count < 2:
            write_figure(picture, figure, folder)
            found.append(Pending(picture, figure, folder, None))
            continue
        while len(running) >= count:
            running.popleft().wait()
        child = multiprocessing.get_context("fork").Process(
            target=_write_in_child, args=(picture, figure, folder)
        )
        child.start()
        running.append(Pending(picture, figure, folder, child))
        found.append(running[-1])
    return found


def write_figure(picture: Picture, figure: Figure, folder: Path) -> None:
    """Save a figure in each of its forms. Raises OSError where it cannot."""
    for place, suffix in enumerate(picture.suffixes):
        if place:  # everything has its place: laying it out again would double the time
            figure.set_layout_engine("none")
        # Without a date the same records give the same file.
        options: dict[str, Any] = (
            {"metadata": {"CreationDate": None}}
            if suffix == ".pdf"
            else {"dpi": DPI, "pil_kwargs": {"compress_level": 3}}  # half the time, a little larger
        )
        figure.savefig(folder / f"{picture.name}{suffix}", **options)


def _write_in_child(picture: Picture, figure: Figure, folder: Path) -> None:
    try:
        write_figure(picture, figure, folder)
    except OSError:
        sys.exit(1)  # the parent tries again, and its error is the one that is told


def _cores() -> int:
    """The cores that this process may use; 1 where it cannot fork."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
