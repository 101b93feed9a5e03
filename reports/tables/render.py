"""Tables as Markdown, LaTeX (booktabs), HTML and CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Iterable, Mapping

from benchmark.hygiene import csv_cells, escape_markdown
from reports.tables.table import Line, Table, Text, section_starts


def markdown(table: Table, level: int = 3) -> str:
    """GitHub-flavoured Markdown: heading, table, caption, notes."""
    printed = table.lines
    heads = [_flat_heading(c.group, c.title) for c in table.columns]
    width = len(heads) + 1 + table.has_seeds
    rule = ["---"] + ["--:"] * (width - 1)
    rows = [[table.corner, *(["Seeds"] if table.has_seeds else []), *heads], rule]
    for line, starts in zip(printed, section_starts(printed), strict=True):
        if starts:
            rows.append([f"**{escape_markdown(line.section)}**", *[""] * (width - 1)])
        texts = [_text_md(text, line.kind == "measured") for text in line.texts]
        rows.append(_cells(table, line, _label_md(line), texts))
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    notes = "".join(f"\n\n{escape_markdown(note)}" for note in table.notes)
    caption = escape_markdown(" ".join(table.caption))
    return f"{'#' * level} {escape_markdown(table.title)}\n\n{body}\n\n{caption}{notes}\n"


def _flat_heading(group: str, title: str) -> str:
    return escape_markdown(f"{group}: {title}" if group else title)


def _label_md(line: Line) -> str:
    label = escape_markdown(line.label)
    return label if line.kind == "measured" else f"*{label}*"


def _text_md(text: Text, upright: bool) -> str:
    if not text.text:
        return ""
    if text.mark == "best":
        return f"**{text.text}**"
    if text.mark == "second":
        return f"<ins>{text.text}</ins>"
    return text.text if upright else f"*{text.text}*"


_LATEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "∈": r"$\in$",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "↳": r"$\hookrightarrow$",
    "λ": r"$\lambda$",
    "η": r"$\eta$",
    "σ": r"$\sigma$",
    "ρ": r"$\rho$",
    "·": r"$\cdot$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "†": r"\textsuperscript{$\dagger$}",
    "“": "``",
    "”": "''",
    "\N{NO-BREAK SPACE}": "~",
}


def escape_latex(text: str) -> str:
    """Text for LaTeX: its special characters, and the signs that our tables use.

    Any other character outside ASCII is written by its code point, so that a title in any script
    compiles with every engine.
    """
    return "".join(map(_latex_character, text))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    accented_latin = "À" <= character <= "ž"  # which LaTeX reads as UTF-8 since 2018
    if character.isascii() or accented_latin:
        return character
    return f"[U+{ord(character):04X}]"


def latex(table: Table) -> str:
    """A ``table`` environment; it needs the packages booktabs and graphicx.

    Standard deviations are subscripts, and a table that is still too wide is scaled to the line.
    """
    printed = table.lines
    stub = 1 + table.has_seeds
    width = stub + len(table.columns)
    heads = [escape_latex(c.title) for c in table.columns]
    out = [
        r"\begin{table}[htbp]",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}\setlength{\belowcaptionskip}{4pt}",
        rf"\caption{{{escape_latex(' '.join([_unnumbered(table.title) + '.', *table.caption]))}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        *_latex_groups(table, stub),
        _latex_row([escape_latex(table.corner), *(["Seeds"] if stub > 1 else []), *heads]),
        r"\midrule",
    ]
    for place, (line, starts) in enumerate(zip(printed, section_starts(printed), strict=True)):
        if starts:
            out += [r"\addlinespace"] if place else []
            out.append(
                rf"\multicolumn{{{width}}}{{l}}{{\textbf{{{escape_latex(line.section)}}}}} \\"
            )
        out.append(
            _latex_row(_cells(table, line, _label_latex(line), map(_text_latex, line.texts)))
        )
    out += [r"\bottomrule", r"\end{tabular}}"]
    out += [rf"\par\smallskip {escape_latex(note)}" for note in table.notes]
    return "\n".join([*out, r"\end{table}"]) + "\n"


def _unnumbered(title: str) -> str:
    """LaTeX numbers tables itself: "Table 2: which" -> "Which (Table 2 of the QA-MoE paper)"."""
    found = re.fullmatch(r"(Table \d+): (.*)", title)
    if found is None:
        return title
    return f"{found[2][0].upper()}{found[2][1:]} ({found[1]} of the QA-MoE paper)"


def _latex_groups(table: Table, stub: int) -> list[str]:
    if not any(group for group, _ in table.groups):
        return []
    cells, rules, first = [""] * stub, [], stub + 1
    for group, count in table.groups:
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{escape_latex(group)}}}")
        if group:
            rules.append(rf"\cmidrule(lr){{{first}-{first + count - 1}}}")
        first += count
    return [_latex_row(cells), "".join(rules)]


def _label_latex(line: Line) -> str:
    label = escape_latex(line.label)
    return label if line.kind == "measured" else rf"\textit{{{label}}}"


def _text_latex(text: Text) -> str:
    command = {"best": r"\textbf{%s}", "second": r"\underline{%s}"}.get(text.mark, "%s")
    value, plus_minus, spread = text.text.partition(" ± ")
    shown = escape_latex(value)
    if plus_minus:
        number = re.match(r"[\d.]*", spread)
        assert number is not None
        shown += rf"$_{{\pm {number[0]}}}$" + escape_latex(spread[number.end() :])
    return command % shown


def _latex_row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def html_table(
    table: Table,
    anchors: Mapping[str, str] | None = None,
    level: int = 3,
    caption: str | None = None,
) -> str:
    """A ``<section>`` with heading, table, caption and notes; styled by :data:`STYLE`.

    What there is to say of a number beyond what is printed is in its cell's ``data-more``. Where
    the rows are ordered the headings say by what, and in ``data-best`` which direction is good.

    Args:
        table: the table.
        anchors: a system's key -> the id of the element that tells where its numbers come from.
        level: the level of the heading.
        caption: HTML in place of the table's own caption and notes.
    """
    printed = table.lines
    width = 1 + table.has_seeds + len(table.columns)
    name, title = html.escape(table.name), html.escape(table.title)
    out = [f'<section id="{name}"><h{level}>{title}</h{level}>']
    out.append(f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table>')
    out.append(f"<thead>{_heads_html(table)}</thead><tbody>")
    for line, starts in zip(printed, section_starts(printed), strict=True):
        if starts:
            section = html.escape(line.section)
            out.append(f'<tr class="section"><th colspan="{width}">{section}</th></tr>')
        label = html.escape(line.label)
        anchor = (anchors or {}).get(line.about, "")
        if anchor:
            label = f'<a href="#{html.escape(anchor)}">{label}</a>'
        label, *rest = _cells(table, line, label, map(_cell_html, line.texts))
        cells = "".join(c if c.startswith("<td") else f"<td>{c}</td>" for c in rest)
        out.append(f'<tr class="{line.kind}"><th scope="row">{label}</th>{cells}</tr>')
    out.append("</tbody></table></div>")
    if caption is None:
        said = (" ".join(table.caption), *table.notes)
        caption = "\n".join(f'<p class="caption">{html.escape(text)}</p>' for text in said)
    return "\n".join([*out, caption, "</section>"]) + "\n"


def _heads_html(table: Table) -> str:
    stub = 1 + table.has_seeds
    rows = ""
    if any(group for group, _ in table.groups):
        rows = f'<tr><td colspan="{stub}"></td>' + "".join(
            f'<th scope="colgroup" class="group" colspan="{count}">{html.escape(group)}</th>'
            if group
            else f'<td colspan="{count}"></td>'
            for group, count in table.groups
        )
        rows += "</tr>"
    heads = [table.corner, *(["Seeds"] if stub > 1 else []), *(c.title for c in table.columns)]
    by, higher = table.ordered or (-1, False)
    direction = "descending" if higher else "ascending"
    rows += "<tr>"
    for place, head in enumerate(heads, start=-stub):
        best = f' data-best="{direction}"' if table.ordered and place >= 0 else ""
        best += f' aria-sort="{direction}"' if table.ordered and place == by else ""
        rows += f'<th scope="col"{best}>{html.escape(head)}</th>'
    return rows + "</tr>"


def _cell_html(text: Text) -> str:
    more = f' data-more="{html.escape(text.more)}"' if text.more else ""
    return f"<td{more}>{_text_html(text)}</td>"


def _text_html(text: Text) -> str:
    tag = {"best": "strong", "second": "u"}.get(text.mark)
    value, plus_minus, spread = map(html.escape, text.text.partition(" ± "))
    escaped = f"{value}<small>{plus_minus}{spread}</small>" if plus_minus else value
    return f"<{tag}>{escaped}</{tag}>" if tag else escaped


STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;margin:2rem auto;
max-width:90rem;padding:0 1rem}
h1{margin:2rem 0 .6rem;font-size:1.1rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;border-top:2px solid #222;border-bottom:2px solid #222;
font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.28rem .6rem;text-align:right;white-space:nowrap;font-weight:400}
thead th{font-weight:600}thead tr:last-child th{border-bottom:1px solid #222}
th.group{text-align:center;border-bottom:1px solid #999}
tr>:first-child{text-align:left}
tr.section th{font-weight:600;padding-top:.7rem}
tr.floor,tr.published,tr.beside{color:#595959;font-style:italic}
tr.beside th:first-child{padding-left:1.6rem}
strong{font-weight:700}
small{font-size:.85em}
.caption{color:#444;font-size:.85rem;max-width:60rem}
"""


def html_page(title: str, body: str) -> str:
    """A whole page around one or more sections; it loads nothing."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>\n{body}</body></html>\n"
    )


def csv_text(table: Table) -> str:
    """Long form for programs: a line for each cell, numbers unrounded, missing ones empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = ("value", "std", "n", "published", "difference", "low", "high", "mark", "text")
    writer.writerow(["section", "row", "kind", "group", "column", *names])
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            ends = cell.interval or (None, None)
            known = [cell.value, cell.std, cell.n or None, cell.published, cell.difference, *ends]
            plain = ["" if v is None else repr(v) for v in known]
            place = [row.section, row.label, row.kind, column.group, column.title]
            writer.writerow(csv_cells([*place, *plain, cell.mark, cell.text]))
    return out.getvalue()


def _cells(table: Table, line: Line, label: str, texts: Iterable[str]) -> list[str]:
    return [label, *([line.seeds] if table.has_seeds else []), *texts]


RENDERERS: Mapping[str, Callable[[Table], str]] = {
    ".md": markdown,
    ".tex": latex,
    ".csv": csv_text,
    ".html": lambda table: html_page(table.title, html_table(table, level=1)),
}
"""File suffix -> what writes it."""
