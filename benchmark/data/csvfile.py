"""Reading a CSV file so that whatever is wrong with it names its row.

Rows are counted as a spreadsheet counts them: the header is row 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError, unknown
from benchmark.files import check_regular

DELIMITERS = (",", ";", "\t", "|")
HINTS = {
    "text": "Name it with --text-column.",
    "label": "Name it with --label-column.",
    "split": "Name it with --split-column; where there is none, --group-column names the speaker,"
    " video or session to split by.",
}

Asked = Sequence[tuple[str, str]]
"""(what it is, its name) of each column that must be there."""


@dataclass(frozen=True)
class Row:
    """One row: its number in the file, and its cells by column."""

    number: int
    cells: dict[str, str]


def at(path: Path, row: Row) -> str:
    """The start of a message about a row."""
    return f"{path}: row {row.number}"


def read_rows(path: Path, asked: Asked) -> list[Row]:
    """The rows of a UTF-8 file, cells stripped.

    Raises:
        BenchmarkError: it cannot be read or parsed, or lacks a column; names the row.
    """
    check_regular(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        raise BenchmarkError(
            f"{path}: row {row} is not UTF-8 (byte 0x{error.object[error.start]:02x}). Save the"
            " file as UTF-8; spreadsheets call it 'CSV UTF-8'."
        ) from None
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    cells = _cells(
        path, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    )
    header = next(cells, (0, [""]))[1]
    if not any(header):
        raise BenchmarkError(f"{path}: is empty; the first row must name the columns.")
    _check_header(path, header, asked)
    rows = [
        Row(number, dict(zip(header, row, strict=True)))
        for number, row in cells
        if _sound(path, number, row, len(header))
    ]
    if not rows:
        raise BenchmarkError(f"{path}: has a header and no rows.")
    return rows


def _cells(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """(row number, stripped cells) of each row; what csv cannot parse names its row."""
    number = 0
    while True:
        number += 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BenchmarkError(
                f"{path}: row {number} (line {reader.line_num}): {error}. Is a quote left open, or"
                " one inside a quoted cell not doubled?"
            ) from None
        yield number, [cell.replace("\0", "").strip() for cell in row]


def _check_header(path: Path, header: Sequence[str], asked: Asked) -> None:
    for what, name in asked:
        if name not in header:
            raise unknown(f"{what} column in {path.name}", name, header, HINTS.get(what, ""))
        if header.count(name) > 1:
            raise BenchmarkError(f"{path}: row 1: column '{name}' is there twice.")


def _sound(path: Path, number: int, row: Sequence[str], width: int) -> bool:
    """False for a blank row; an error for one with too many or too few cells."""
    if not any(row):
        return False
    if len(row) != width:
        raise BenchmarkError(
            f"{path}: row {number} has {len(row)} cells, the header has {width}. A text that"
            " contains the delimiter must stand in double quotes."
        )
    return True
