"""A table as data: cells with a mean, a spread, a count, a published value and a mark.

:mod:`reports.tables.render` prints it; the numbers stay numbers until then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Kind = Literal["measured", "floor", "published"]

DASH = "–"
UNDEFINED = "†"
UNDEFINED_NOTE = (
    f"{UNDEFINED} Undefined: a constant has no correlation, no samples have no mean, and a loss "
    "relative to 0 is none."
)


@dataclass(frozen=True)
class Cell:
    """One number, in the unit in which it is printed. All fields empty: a missing cell.

    A value of NaN is undefined, which is another thing than missing: it is printed as a dash with
    a note. An interval with such an end is none.

    Attributes:
        value: the mean over seeds; None where it is missing or undefined.
        std: the standard deviation over seeds; None with fewer than two.
        n: the number of seeds behind ``value``; 0 where it is about no runs, or about several
            systems' runs.
        published: the printed value for the same condition and metric, where there is one.
        decimals: digits after the point.
        mark: "best", "second" or "".
        flag: a sign that refers to one of the table's notes.
        interval: the 95 % interval.
        spread: which of the two is printed; the other is told where the number is pointed at.
        text: words in place of a number.
    """

    value: float | None = None
    std: float | None = None
    n: int = 0
    published: float | None = None
    decimals: int = 1
    mark: str = ""
    flag: str = ""
    interval: tuple[float, float] | None = None
    spread: Literal["interval", "std"] = "interval"
    text: str = ""

    def __post_init__(self) -> None:
        if self.value is not None and math.isnan(self.value):
            blank = {"value": None, "std": None, "interval": None, "text": DASH, "flag": UNDEFINED}
            for name, empty in blank.items():
                object.__setattr__(self, name, empty)
        if self.interval is not None and any(map(math.isnan, self.interval)):
            object.__setattr__(self, "interval", None)

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.value is None or self.published is None:
            return None
        return self.value - self.published


@dataclass(frozen=True)
class Column:
    """A column's heading, and the heading that it shares with its neighbours."""

    title: str
    group: str = ""


@dataclass(frozen=True)
class Row:
    """A row: a system, a floor, or a system that is only published.

    Attributes:
        label: its name.
        cells: one for each column.
        kind: what it is.
        section: the heading that it stands under, with its neighbours.
        seeds: the number of seeds; 0 for what has none.
        about: the key of the system that it is about; "" for none.
    """

    label: str
    cells: tuple[Cell, ...]
    kind: Kind = "measured"
    section: str = ""
    seeds: int = 0
    about: str = ""


@dataclass(frozen=True)
class Table:
    """A table. Raises ValueError where a row has not one cell for each column.

    Attributes:
        name: its file name.
        title: its heading.
        caption: sentences that say what the numbers are.
        columns: the columns after the row label.
        rows: the rows.
        corner: the heading of the row labels.
        notes: what is to be known of its cells; what undefined ones are is added.
        ordered: the place of the column that the rows are ordered by, and whether higher is better
            in every column of numbers; None where the order says nothing.
    """

    name: str
    title: str
    caption: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    corner: str = "Model · training"
    notes: tuple[str, ...] = ()
    ordered: tuple[int, bool] | None = None

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(
                    f"table {self.name}: row '{row.label}' has {len(row.cells)} cells for "
                    f"{len(self.columns)} columns"
                )
        flags = {cell.flag for row in self.rows for cell in row.cells}
        if UNDEFINED in flags and UNDEFINED_NOTE not in self.notes:
            object.__setattr__(self, "notes", (UNDEFINED_NOTE, *self.notes))

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Neighbouring columns of one group: (group, number of columns)."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if found and found[-1][0] == column.group:
                found[-1] = (column.group, found[-1][1] + 1)
            else:
                found.append((column.group, 1))
        return found

    @cached_property
    def lines(self) -> list[Line]:
        """What is printed, line by line, in any form."""
        return _lines(self)

    @property
    def has_seeds(self) -> bool:
        """Whether there is a column for the number of seeds."""
        return any(row.seeds for row in self.rows)


MISSING = "missing"
MINUS = "−"


@dataclass(frozen=True)
class Text:
    """What a cell prints: its text and its mark; and what there is to say of it beyond that."""

    text: str
    mark: str = ""
    more: str = ""


@dataclass(frozen=True)
class Line:
    """A printed line: a row's measured values, or the published values or differences under it."""

    label: str
    seeds: str
    texts: tuple[Text, ...]
    kind: Literal["measured", "floor", "published", "beside"]
    section: str
    about: str = ""


def _lines(table: Table) -> list[Line]:
    """The printed lines of a table: below a row, its published values and the differences."""
    found = []
    for row in table.rows:
        seeds = str(row.seeds) if row.seeds else ""
        if row.kind == "published":
            texts = tuple(Text(_number(c.published, c.decimals)) for c in row.cells)
            found.append(Line(row.label, "", texts, "published", row.section))
            continue
        texts = tuple(Text(_measured(c, row.seeds), c.mark, _more(c)) for c in row.cells)
        found.append(Line(row.label, seeds, texts, row.kind, row.section, row.about))
        if any(c.published is not None for c in row.cells):
            found += _beside(row)
    return found


def _beside(row: Row) -> list[Line]:
    published = [_number(c.published, c.decimals, "") for c in row.cells]
    differences = [_number(c.difference, c.decimals, "", signed=True) for c in row.cells]
    return [
        Line(f"↳ {name}", "", tuple(Text(t) for t in texts), "beside", row.section)
        for name, texts in (("published", published), ("difference", differences))
    ]


def _measured(cell: Cell, seeds: int) -> str:
    if cell.text:
        return cell.text + cell.flag
    if cell.value is None:
        return MISSING
    text = _number(cell.value, cell.decimals)
    if cell.interval is not None and cell.spread == "interval":
        low, high = (_number(end, cell.decimals) for end in cell.interval)
        text += f" [{low}, {high}]"
    elif cell.std is not None:
        text += f" ± {cell.std:.{cell.decimals}f}"
    if seeds and cell.n and cell.n != seeds:
        text += f" (n={cell.n})"
    return text + cell.flag


def _more(cell: Cell) -> str:
    """Everything that is known of a number, with more digits than are printed."""
    if cell.value is None:
        return ""
    digits = cell.decimals + 2
    parts = [_number(cell.value, digits)]
    if cell.std is not None:
        parts[0] += f" ± {cell.std:.{digits}f}"
    if cell.interval is not None:
        low, high = (_number(end, digits) for end in cell.interval)
        parts.append(f"95 % interval {low} to {high}")
    if cell.n:
        parts.append(f"{cell.n} seed{'' if cell.n == 1 else 's'}")
    if cell.published is not None:
        shown = _number(cell.published, cell.decimals)
        beside = _number(cell.difference, cell.decimals, signed=True)
        parts.append(f"published {shown}, difference {beside}")
    return "; ".join(parts)


def _number(value: float | None, decimals: int, missing: str = DASH, signed: bool = False) -> str:
    if value is None:
        return missing
    text = f"{value:+.{decimals}f}" if signed else f"{value:z.{decimals}f}"  # z: no sign at 0.0
    return text.replace("-", MINUS)


def section_starts(printed: Sequence[Line]) -> list[bool]:
    """For each line, whether a section heading stands before it."""
    before = [""] + [line.section for line in printed[:-1]]
    return [
        bool(line.section) and line.section != last
        for line, last in zip(printed, before, strict=True)
    ]
