"""What the documentation shows of a run's summary looks as it would be printed today."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from benchmark.execution.session import summary_table
from benchmark.questions import overview
from benchmark.records import RunStore
from tests.records import make_record
from tests.test_docs import PAGES, blocks


def shown(text: str) -> Iterator[list[str]]:
    """The lines after each ``benchmark run``, up to the next command; a table without commands."""
    lines: list[str] | None = [] if text.startswith("model ") else None
    for line in [*text.splitlines(), "$ end"]:
        if line.startswith("$ "):
            if lines:
                yield lines
            lines = [] if re.match(r"\$ ([A-Z_]+=\S+ )*benchmark run ", line) else None
        elif lines is not None:
            lines.append(line)


def printed(heads: list[str], rows: list[list[str]]) -> list[str]:
    table = summary_table("", heads)
    for row in rows:
        table.add(*row)
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


OUTPUTS = [
    pytest.param(lines, id=f"{page.stem}-{count}")
    for page in PAGES
    for count, lines in enumerate(
        lines for kind, text in blocks(page) if not kind for lines in shown(text)
    )
]


@pytest.mark.parametrize("lines", OUTPUTS)
def test_a_summary_is_as_a_run_prints_it(lines: list[str], store: RunStore) -> None:
    if re.fullmatch(r"Test (MAE|ACC) on [\w-]+( data)?, mean ± std over n seeds", lines[0]):
        lines = lines[1:]
    heads, *rows = [re.split(" {2,}", line.strip()) for line in lines if not line.startswith("─")]
    assert heads[:3] == ["model", "training", "n"]
    known = {headline.title for headline in overview(make_record(store).answers("mae"))}
    assert set(heads[3:]) <= known
    assert printed(heads[3:], rows) == [line.rstrip() for line in lines]


def test_there_are_outputs_to_look_at() -> None:
    assert len(OUTPUTS) > 10
