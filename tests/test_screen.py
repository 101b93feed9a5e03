"""Tables in windows of any width: nothing is cut, and what is left out is named."""

from __future__ import annotations

import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from benchmark.screen import Column, Rows, say_next

WORD = 14
"""Cells that a word may take, of which some letters take two: more has no room beside a head."""
word = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=WORD).map(
    lambda text: text if cell_len(text) <= WORD else text[: WORD // 2]
)
text = st.lists(word, min_size=1, max_size=12).map(" ".join)


def printed(table: Rows, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue().splitlines()


def summary() -> Rows:
    columns = (Column(title, number=True) for title in ("Clean test", "Protocol III", "Grid mean"))
    table = Rows("model", "training", Column("n", number=True, spare=1), *columns)
    for model in ("QA-MoE", "SAM-LML (reconstruction)"):
        table.add(model, "spectrum", "3", "0.949 ± 0.050", "1.159 ± 0.026", "1.154 ± 0.022")
    return table


@settings(deadline=None, max_examples=60)
@example([("0", "0" * 5 + "々" * 4, "0.000")], 30)
@given(
    st.lists(st.tuples(text, text, st.decimals(0, 9, places=3).map(str)), min_size=1, max_size=4),
    st.integers(30, 120),
)
def test_no_line_is_too_long_and_every_word_is_there(rows, width) -> None:
    table = Rows("first", "second", Column("number", number=True))
    for row in rows:
        table.add(*row)
    lines = printed(table, width)
    assert max(map(cell_len, lines)) <= width
    said = " ".join(lines).split()
    for word in " ".join(" ".join(row) for row in rows).split():
        assert said.count(word) >= 1
    assert "…" not in "".join(lines)


def test_a_summary_at_sixty_columns_has_every_number() -> None:
    wide, narrow = printed(summary(), 100), printed(summary(), 60)
    assert any("0.949 ± 0.050" in line for line in wide)
    for part in ("0.949", "± 0.050", "1.159", "± 0.026", "1.154", "± 0.022"):
        assert sum(line.count(part) for line in narrow) == 2
    assert max(map(len, narrow)) <= 60
    assert len(narrow) > len(wide)


def test_spare_columns_go_first_and_are_named() -> None:
    table = Rows("run", Column("data set", spare=2), Column("where", spare=1), "state")
    table.add("0123456789ab", "synthetic-tiny", "benchmark.models.of.somebody", "finished")
    lines = printed(table, 50)
    assert "synthetic-tiny" not in "".join(lines)
    assert "benchmark.models.of.somebody" not in "".join(printed(table, 40))
    assert lines[-1] == "no room here for: data set, where"
    assert len(printed(table, 100)) == 3


def test_what_fits_no_table_is_a_list() -> None:
    table = Rows("claim", "verdict")
    table.add("a" * 25, "b" * 25)
    lines = printed(table, 40)
    assert lines[0] == "a" * 25
    assert lines[1].split() == ["verdict", "b" * 25]


@pytest.mark.parametrize("width", [30, 100])
def test_a_next_step_can_be_pasted_whatever_the_width(width) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width)
    say_next(console, (["benchmark", "report", "--runs-dir", "my runs"], "tables and a page"))
    (command,) = [line for line in stream.getvalue().splitlines() if "benchmark" in line]
    assert command.partition("  #")[0].strip() == "benchmark report --runs-dir 'my runs'"
    assert "# tables and a page" in stream.getvalue()
