"""What a terminal shows: one style of table, which a narrow window folds and never cuts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from benchmark.hygiene import command_line

GAP = 2
"""Spaces between columns."""
LINES = 5
"""Into about so many lines the text of a cell folds at most."""
SPREAD = " ± "
"""Where a number with its spread goes on in a second line, should it have to."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: its head.
        number: whether it holds numbers: they stand at the right and never fold within themselves.
        spare: 0 for a column that is always shown; of others the largest is left out first.
    """

    title: str
    number: bool = False
    spare: int = 0


class Rows:
    """A table that fits the window it is printed in.

    What does not fit as it is folds its texts, then puts spreads on a second line, then leaves out
    spare columns and says which; what still does not fit is a list of its cells, row after row.
    """

    def __init__(self, *columns: Column | str, title: str = "", apart: bool = False) -> None:
        """An empty table.

        Args:
            columns: a string is a column of texts that is always shown.
            title: a line above it.
            apart: whether an empty line stands between rows.
        """
        self.columns = [c if isinstance(c, Column) else Column(c) for c in columns]
        self.title, self.apart = title, apart
        self.rows: list[tuple[list[Text], str]] = []

    def add(self, *cells: str | Text, style: str = "") -> None:
        """One more row; it may have fewer cells than there are columns."""
        texts = [cell if isinstance(cell, Text) else Text(cell) for cell in cells]
        texts += [Text()] * (len(self.columns) - len(texts))
        self.rows.append((texts, style))

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        if self.title:
            yield Text(self.title, style="bold")
        for places in self._choices():
            for spread in (False, True):
                widths = self._widths(places, spread, options.max_width)
                if widths:
                    yield from self._lines(console, places, widths) or [
                        self._table(places, widths, spread)
                    ]
                    if left_out := [c.title for k, c in enumerate(self.columns) if k not in places]:
                        yield Text(f"no room here for: {', '.join(left_out)}", style="dim")
                    return
        yield from self._list()

    def _choices(self) -> Iterator[list[int]]:
        """The columns to show: all, then ever fewer of the spare ones."""
        places = list(range(len(self.columns)))
        yield places
        for place in sorted(places, key=lambda k: -self.columns[k].spare):
            if self.columns[place].spare:
                places = [k for k in places if k != place]
                yield places

    def _widths(self, places: Sequence[int], spread: bool, room: int) -> list[int] | None:
        """A width for each column; None where there is no room even with texts folded."""
        cells = [
            [self.columns[k].title, *(self._shown(k, row, spread) for row, _ in self.rows)]
            for k in places
        ]
        widths = [max(_longest(cell.splitlines()) for cell in column) for column in cells]
        least = [
            width
            if self.columns[k].number
            else max(width // LINES, *(_longest(cell.split()) for cell in column))
            for k, width, column in zip(places, widths, cells, strict=True)
        ]
        while _across(widths) > room:
            slack = [width - low for width, low in zip(widths, least, strict=True)]
            if not any(slack):
                return None
            widest = max((k for k in range(len(widths)) if slack[k]), key=lambda k: widths[k])
            widths[widest] -= 1
        return widths

    def _shown(self, place: int, row: Sequence[Text], spread: bool) -> str:
        text = row[place].plain
        return text.replace(SPREAD, f"\n{SPREAD[1:]}") if spread else text

    def _lines(
        self, console: Console, places: Sequence[int], widths: Sequence[int]
    ) -> list[RenderableType]:
        """:meth:`_table` where nothing folds, in a tenth of its time; else nothing."""
        head = [Text(column.title) for column in self.columns]
        found = [
            self._line(console, head, "bold", places, widths),
            [Segment("─" * _across(widths))],
        ]
        found += [self._line(console, row, style, places, widths) for row, style in self.rows]
        if self.apart or not all(found):
            return []
        return [Segments([*line, Segment.line()]) for line in found]

    def _line(
        self,
        console: Console,
        row: Sequence[Text],
        style: str,
        places: Sequence[int],
        widths: Sequence[int],
    ) -> list[Segment]:
        """A row's cells and the gaps between them; none where a cell does not fit."""
        found = []
        for place, width in zip(places, widths, strict=True):
            cell, number = row[place], self.columns[place].number
            room = width - cell_len(cell.plain)
            if room < 0 or "\n" in cell.plain:
                return []
            shown = " " * room + cell.plain if number else cell.plain + " " * room
            look = console.get_style(style) + console.get_style(cell.style)
            found += [Segment(shown, look), Segment(" " * GAP, look)]
        return found[:-1]

    def _table(self, places: Sequence[int], widths: Sequence[int], spread: bool) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            padding=(0, GAP - 1, 0, 0),
            leading=int(self.apart),
        )
        for place, width in zip(places, widths, strict=True):
            column = self.columns[place]
            justify = "right" if column.number else "left"
            table.add_column(Text(column.title), width=width, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for row, style in self.rows:
            cells = [Text(self._shown(k, row, spread), row[k].style) for k in places]
            table.add_row(*cells, style=style or None)
        return table

    def _list(self) -> Iterator[RenderableType]:
        """Each row as its first cell, and the others below it with their heads."""
        heads = max((cell_len(column.title) for column in self.columns[1:]), default=0)
        for count, (row, style) in enumerate(self.rows):
            if count:
                yield Text()
            yield Text(row[0].plain, style=f"bold {style}".strip())
            for column, cell in zip(self.columns[1:], row[1:], strict=True):
                if cell.plain:
                    line = Table.grid(padding=(0, GAP, 0, 0))
                    line.add_column(width=heads)
                    line.add_column(overflow="fold")
                    line.add_row(Text(column.title, style="dim"), cell)
                    yield Padding(line, (0, 0, 0, GAP))


def _across(widths: Sequence[int]) -> int:
    """How wide columns are with the gaps between them."""
    return sum(widths) + GAP * (len(widths) - 1)


def _longest(parts: Sequence[str]) -> int:
    return max(map(cell_len, parts), default=0)


def say_next(console: Console, *steps: tuple[Sequence[object], str]) -> None:
    """The commands worth typing next, as they can be pasted, each with what it is for."""
    console.print("next:")
    for words, what in steps:
        command = f"  {command_line(*words)}"
        note = f"  # {what}"
        fits = cell_len(command) + cell_len(note) <= console.width
        for line in [command + note] if fits else [note, command]:
            console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


def of_runs(runs_dir: Path) -> list[object]:
    """The option that names a runs folder, where it is not the one that is taken anyway."""
    usual = Path(os.environ.get("BENCHMARK_RUNS_DIR") or "runs")
    return [] if runs_dir == usual else ["--runs-dir", runs_dir]
