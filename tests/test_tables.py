"""Printed tables against text written by hand."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchmark.hygiene import escape_markdown
from reports.tables.render import (
    RENDERERS,
    csv_text,
    escape_latex,
    html_page,
    html_table,
    latex,
    markdown,
)
from reports.tables.table import Cell, Column, Row, Table


def example() -> Table:
    """One of everything: marks, published values, a floor, a missing cell, a section, a note."""
    return Table(
        "example",
        "A_title & more",
        ("Data: 50 % of <all>.", "λ at 0.1."),
        (Column("ACC7 ↑", "Clean"), Column("MAE ↓", "Clean"), Column("MAE ↓", "Noise")),
        (
            Row(
                "QA-MoE · clean",
                (
                    Cell(41.23, 0.5, 2, 53.6, 1, "best"),
                    Cell(0.5794, 0.0123, 2, 0.579, 3),
                    Cell(1.0, None, 1, None, 3, "second"),
                ),
                seeds=2,
                section="Part",
            ),
            Row("x_y|z", (Cell(40.0, 0.0, 2), Cell(), Cell(decimals=3)), seeds=2, section="Part"),
            Row(
                "floor",
                (Cell(20.0), Cell(1.5, decimals=3), Cell(-0.25, flag="†", decimals=3)),
                "floor",
                section="Part",
            ),
            Row(
                "MMA",
                (Cell(published=46.9), Cell(published=0.693, decimals=3), Cell(decimals=3)),
                "published",
                section="Part",
            ),
        ),
        notes=("† a note",),
    )


def test_markdown_is_as_written_by_hand() -> None:
    body = [line for line in markdown(example()).splitlines() if line.startswith("|")]
    assert body == [
        "| Model · training | Seeds | Clean: ACC7 ↑ | Clean: MAE ↓ | Noise: MAE ↓ |",
        "| --- | --: | --: | --: | --: |",
        "| **Part** |  |  |  |  |",
        "| QA-MoE · clean | 2 | **41.2 ± 0.5** | 0.579 ± 0.012 | <ins>1.000 (n=1)</ins> |",
        "| *↳ published* |  | *53.6* | *0.579* |  |",
        "| *↳ difference* |  | *−12.4* | *+0.000* |  |",
        r"| x\_y\|z | 2 | 40.0 ± 0.0 | missing | missing |",
        "| *floor* |  | *20.0* | *1.500* | *−0.250†* |",
        "| *MMA* |  | *46.9* | *0.693* | *–* |",
    ]


def test_markdown_says_caption_and_notes() -> None:
    text = markdown(example())
    assert text.startswith("### A\\_title & more\n")
    assert "Data: 50 % of \\<all\\>. λ at 0.1." in text
    assert text.endswith("† a note\n")


def test_csv_has_unrounded_numbers_and_empty_missing_cells() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(example()))))
    assert len(rows) == 4 * 3
    first = rows[0]
    assert (first["row"], first["group"], first["column"]) == ("QA-MoE · clean", "Clean", "ACC7 ↑")
    assert float(first["value"]) == 41.23
    assert float(first["difference"]) == pytest.approx(41.23 - 53.6)
    assert (first["n"], first["mark"], first["kind"]) == ("2", "best", "measured")
    missing = rows[4]
    assert [missing[k] for k in ("value", "std", "n", "published", "difference")] == [""] * 5
    only_published = rows[9]
    assert (only_published["value"], only_published["published"]) == ("", "46.9")


class Checker(HTMLParser):
    """Every tag that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.widths: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.widths.append(0)
        if tag in ("td", "th"):
            self.widths[-1] += int(dict(attrs).get("colspan") or 1)
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def test_intervals_and_words_have_their_form_everywhere() -> None:
    cells = (
        Cell(-1.25, 0.5, 3, decimals=2, interval=(-2.0, 0.125)),
        Cell(text="worse & worse"),
        Cell(0.03, decimals=4),
    )
    columns = (Column("difference"), Column("verdict"), Column("p"))
    table = Table("t", "T", (), columns, (Row("a", cells, seeds=3),))
    assert "| a | 3 | −1.25 [−2.00, 0.12] | worse & worse | 0.0300 |" in markdown(table)
    assert r"$-$1.25 [$-$2.00, 0.12] & worse \& worse & 0.0300 \\" in latex(table)
    assert "<td>worse &amp; worse</td>" in html_table(table)
    first, second, _ = csv.DictReader(io.StringIO(csv_text(table)))
    assert [first[k] for k in ("value", "std", "low", "high", "text")] == [
        "-1.25",
        "0.5",
        "-2.0",
        "0.125",
        "",
    ]
    assert (second["value"], second["text"]) == ("", "worse & worse")


def test_html_is_well_formed_and_escaped() -> None:
    page = html_page("<title>", html_table(example()))
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert set(checker.widths) == {5}
    assert "<strong>41.2<small> ± 0.5</small></strong>" in page
    assert "<u>1.000 (n=1)</u>" in page
    assert "<title>&lt;title&gt;</title>" in page
    assert "&lt;all&gt;" in page
    assert [text.strip() for text in checker.cells].count("missing") == 2
    assert "http" not in page  # it loads nothing


def test_latex_escapes_what_latex_reads() -> None:
    assert escape_latex("a_b & 5 % of #1 ~ {x} $ ^ \\") == (
        r"a\_b \& 5 \% of \#1 \textasciitilde{} \{x\} \$ \textasciicircum{} \textbackslash{}"
    )
    assert escape_latex("λ×η −1 ± 2 … Müller") == (
        r"$\lambda$$\times$$\eta$ $-$1 $\pm$ 2 \ldots{} Müller"
    )
    assert escape_latex("情") == "[U+60C5]"


def test_latex_has_a_cell_for_each_column_and_balanced_braces() -> None:
    text = latex(example())
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    for row in rows:
        spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", row)]
        cells = len(re.split(r"(?<!\\)&", row))
        assert cells + sum(spans) - len(spans) == 5, row
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert r"\cmidrule(lr){3-4}\cmidrule(lr){5-5}" in text
    assert r"\textbf{41.2$_{\pm 0.5}$}" in text
    assert r"\underline{1.000 (n=1)}" in text
    assert r"$-$12.4" in text


def test_latex_numbers_tables_itself() -> None:
    text = latex(replace(example(), title="Table 6: ablations"))
    assert r"\caption{Ablations (Table 6 of the QA-MoE paper). " in text
    assert r"\caption{Robustness summary. " in latex(replace(example(), title="Robustness summary"))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_latex_compiles(tmp_path: Path) -> None:
    document = (
        r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
        + latex(example())
        + r"\end{document}"
    )
    (tmp_path / "t.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000


def test_markdown_escapes_what_would_break_a_table() -> None:
    assert escape_markdown("a|b*c_d<e>\\") == r"a\|b\*c\_d\<e\>\\"


def test_a_row_must_fit_its_table() -> None:
    with pytest.raises(ValueError, match="row 'short' has 1 cells for 2 columns"):
        Table("t", "T", (), (Column("a"), Column("b")), (Row("short", (Cell(),)),))


def test_without_seeds_or_groups_there_is_no_column_or_line_for_them() -> None:
    table = Table("t", "T", (), (Column("a"),), (Row("floor", (Cell(1.0),), "floor"),))
    assert "Seeds" not in markdown(table)
    assert "cmidrule" not in latex(table)
    assert "group" not in html_table(table)


def test_every_form_is_written() -> None:
    assert list(RENDERERS) == [".md", ".tex", ".csv", ".html"]
    assert all(render(example()).endswith("\n") for render in RENDERERS.values())


def test_nought_has_no_sign_and_a_difference_keeps_its_own() -> None:
    cells = (Cell(-0.01, interval=(-0.04, 0.0)), Cell(0.5794, published=0.5796, decimals=3))
    table = Table("t", "T", (), (Column("a"), Column("b")), (Row("r", cells),))
    text = markdown(table)
    assert "| 0.0 [0.0, 0.0] | 0.579 |" in text
    assert "*−0.000*" in text
