"""The whole paper, small: every plan trained, every table and figure made, LaTeX compiled."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tiny import benchmark

pytestmark = pytest.mark.long

TABLES = {
    "table7-clean",  # the synthetic data are unaligned: in place of Table 1
    *("table2-protocol-i-fixed", "table5-protocol-iii-seed-a1", "table6-ablations-seed-a1"),
    *("table3-protocol-i-random", "table3-protocol-i-random-at-least-one"),
    *(f"table4-protocol-ii-{rule}" for rule in ("seed-a1", "gaussian-all", "gaussian-av")),
    *("figure4-active-experts-seed-a1", "table9-efficiency"),
    *(
        f"table8-grid-seed-a1-{metric}-{model}-{regime}"
        for metric in ("acc7", "mae")
        for model in ("qamoe", "lmf")
        for regime in ("clean", "spectrum")
    ),
}
FIGURES = {
    *(
        f"figures3-6-{kind}-seed-a1-{metric}"
        for kind in ("landscapes", "difference")
        for metric in ("acc7", "mae")
    ),
    "figure4-active-experts-seed-a1-qamoe-spectrum",
    *(f"figure5-routing-seed-a1-qamoe-{regime}" for regime in ("clean", "spectrum")),
    "degradation-seed-a1",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A report on every plan of the paper, one seed and one epoch of two models."""
    root = tmp_path_factory.mktemp("paper")
    data = ("--dataset", "synthetic-tiny", "--runs-dir", root / "runs")
    models = ("--models", "qamoe,lmf")
    plan = ("run", "--plan", "paper", *data, *models, "--epochs", "1", "--seeds", "1")
    plan += ("--set", "evaluation.draws=1", "--tracking-uri", "none")
    done = benchmark(*plan)
    assert done.returncode == 0, done.stderr
    again = benchmark(*plan, "--dry-run")
    assert "0 of 32 runs are missing" in again.stdout, again.stderr
    cost = benchmark("efficiency", *data, *models, "--passes", "20", "--threads", "1")
    assert cost.returncode == 0, cost.stderr
    report = ("report", *data, "--out", root / "report", "--tracking-uri", "none")
    done = benchmark(*report)
    assert done.returncode == 0, done.stderr
    return root / "report" / "synthetic-tiny"


def test_every_table_and_figure_of_the_paper_is_made(folder: Path) -> None:
    for name in TABLES:
        for suffix in (".md", ".tex", ".csv", ".html"):
            assert (folder / "tables" / f"{name}{suffix}").stat().st_size > 100, name
    for name in FIGURES:
        for suffix in (".png", ".pdf"):
            assert (folder / "figures" / f"{name}{suffix}").stat().st_size > 1000, name


def test_specialists_fill_their_rows(folder: Path) -> None:
    for name, row in (
        ("table3-protocol-i-random-at-least-one", "QA-MoE · one model per rate"),
        ("table4-protocol-ii-gaussian-all", "QA-MoE · one model per intensity"),
    ):
        lines = (folder / "tables" / f"{name}.md").read_text().splitlines()
        found = [line for line in lines if line.startswith(f"| {row} ")]
        assert found, name
        assert not any("missing" in line for line in found), name


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_every_table_compiles(folder: Path, tmp_path: Path) -> None:
    inputs = "\n".join(path.read_text() for path in sorted((folder / "tables").glob("*.tex")))
    source = tmp_path / "all.tex"
    source.write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx,amssymb}"
        "\\usepackage[landscape,margin=1cm]{geometry}\\extrafloats{200}\n"
        f"\\begin{{document}}\n{inputs}\n\\end{{document}}\n"
    )
    made = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", source.name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
    )
    assert made.returncode == 0, made.stdout[-2000:]
