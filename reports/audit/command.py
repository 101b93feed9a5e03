"""``benchmark audit``: recompute what a paper's tables claim."""

from __future__ import annotations

from typing import Annotated

import typer


def audit(
    paper: Annotated[
        str, typer.Argument(help="A paper's name, or a YAML file of the same form.")
    ] = "qa_moe",
    every: Annotated[
        bool, typer.Option("--all", help="Every claim, with what is recomputed and the verdict.")
    ] = False,
) -> None:
    """Recompute a paper's averages, margins and cross-table claims; say how many stand.

    Example: benchmark audit --all
    """
    from benchmark.hygiene import terminal
    from benchmark.screen import Rows
    from reports.audit import checks
    from reports.audit.values import read

    read_paper = read(paper)
    findings = checks.audit(read_paper)
    console = terminal(highlight=False, markup=False)
    title = str(read_paper.meta.get("short", paper))
    if every:
        table = Rows("where", "claim", "recomputed", "verdict", title=title)
        for found in findings:
            style = "" if found.is_ok else "yellow"
            table.add(found.where, found.claim, found.recomputed, found.verdict, style=style)
        console.print(table)
    standing = sum(found.is_ok for found in findings)
    others = len(findings) - standing
    hint = "" if every else "; --all lists them"
    counts = f"{len(findings)} claims recomputed: {standing} stand, {others} do not"
    console.print(f"{title}: {counts}{hint}")
