"""``benchmark audit``: recompute what a paper's tables claim."""

from __future__ import annotations

from typing import Annotated

import typer


def audit(
    paper: Annotated[
        str, typer.Argument(help="A paper's name, or a YAML file of the same form.")
    ] = "qa_moe",
    every: Annotated[
        bool, typer.Option("--all", help="Also the claims that stand, one by one.")
    ] = False,
) -> None:
    """Recompute a paper's averages, margins and cross-table claims; print claim and verdict.

    Example: benchmark audit --all
    """
    from rich.table import Table

    from benchmark.hygiene import terminal
    from reports.audit import checks
    from reports.audit.values import read

    read_paper = read(paper)
    findings = checks.audit(read_paper)
    table = Table(title=str(read_paper.meta.get("short", paper)), title_justify="left")
    for column in ("where", "claim", "recomputed", "verdict"):
        table.add_column(column, overflow="fold")
    for found in findings:
        if every or not found.is_ok:
            style = None if found.is_ok else "yellow"
            cells = (found.where, found.claim, found.recomputed, found.verdict)
            table.add_row(*cells, style=style)
    console = terminal(highlight=False, markup=False)
    console.print(table)
    standing = sum(found.is_ok for found in findings)
    hint = "" if every else "; --all lists them too"
    console.print(f"{len(findings)} claims recomputed: {standing} stand{hint}")
