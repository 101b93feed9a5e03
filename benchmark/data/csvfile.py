"""Reading a CSV file so that whatever is wrong with it names its row.

Rows are counted as a spreadsheet counts them: the header is row 1.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.data.recognise import HEAD_BYTES, what_it_is
from benchmark.errors import BenchmarkError, unknown
from benchmark.files import check_regular
from benchmark.hygiene import one_line

UTF8 = "utf-8-sig"
"""UTF-8, with or without a mark of byte order at its start."""
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


def read_rows(path: Path, asked: Asked, encoding: str = UTF8) -> list[Row]:
    """The rows of a file, cells stripped.

    Args:
        path: the file.
        asked: the columns that it must have.
        encoding: of its text, as Python names it ("gbk", "cp1252").

    Raises:
        BenchmarkError: it cannot be read or parsed, or lacks a column; names the row.
    """
    text = _text(path, encoding)
    header = re.sub(r'"[^"]*"', "", text.partition("\n")[0])  # a name in quotes may hold them
    delimiter = max(DELIMITERS, key=header.count)
    cells = _cells(
        path, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    )
    names = next(cells, (0, [""]))[1]
    if not any(names):
        raise BenchmarkError(f"{path}: is empty; the first row must name the columns.")
    _check_header(path, names, asked)
    rows = [
        Row(number, dict(zip(names, row, strict=True)))
        for number, row in cells
        if _sound(path, number, row, len(names))
    ]
    if not rows:
        raise BenchmarkError(f"{path}: has a header and no rows.")
    return rows


def _text(path: Path, encoding: str) -> str:
    """The whole file. Raises BenchmarkError, which says what a file is that is no text."""
    check_regular(path)
    try:
        content = path.read_bytes()
        known = what_it_is(path, content[:HEAD_BYTES])
        if known is None and content[:1] == b"\x80":
            known = "is a pickle. A feature package goes to 'benchmark data import'."
        if known is not None:
            raise BenchmarkError(f"{path}: is no CSV: it {known}")
        return content.decode(encoding)
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read: {error.strerror}.") from None
    except LookupError:
        raise BenchmarkError(
            f"--csv-encoding {one_line(encoding, 60)!r}: no encoding of that name; common ones are"
            " utf-8, utf-16, gbk, big5, cp1252, latin-1."
        ) from None
    except UnicodeError as error:
        row, what = 1, ""
        if isinstance(error, UnicodeDecodeError):
            row = error.object[: error.start].count(b"\n") + 1
            what = f" (byte 0x{error.object[error.start]:02x})"
        name = "UTF-8" if encoding == UTF8 else encoding
        marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        usual = "utf-16, as its first bytes say" if marked else "gbk or cp1252, for instance"
        raise BenchmarkError(
            f"{path}: row {row} is not {name}{what}. Say the encoding with --csv-encoding"
            f" ({usual}), or save the file as UTF-8; spreadsheets call it 'CSV UTF-8'."
        ) from None


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
