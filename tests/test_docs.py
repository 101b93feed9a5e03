"""The documentation's code blocks run as they stand, in their order."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.records import PREDICTIONS, RunStore
from tests.records import make_record

DOCS = Path(__file__).resolve().parent.parent / "docs"


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """(language, content) of each fenced block that has a language."""
    text = (DOCS / page).read_text()
    return ((kind, body) for kind, body in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL))


def run_command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = re.sub(r"\$\(cat (\w+)\)", lambda found: Path(found[1]).read_text().strip(), line)
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    assert not code, line


def test_the_tutorial(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BENCHMARK_TRACKING_URI", "none")
    monkeypatch.setenv("COLUMNS", "200")
    names: dict[str, object] = {}
    for kind, body in blocks("own-model.md"):
        if kind == "python" and (file := re.match(r"# (\w+\.py)\n", body)):
            (tmp_path / file[1]).write_text(body)
        elif kind == "python":
            exec(compile(body, "own-model.md", "exec"), names)
        elif kind == "bash":
            for line in body.splitlines():
                run_command(line, monkeypatch)
    said = capsys.readouterr().out
    assert (tmp_path / "landscape.pdf").stat().st_size > 1000
    assert len(RunStore(tmp_path / "runs").records()) == 2
    assert "My GRU" in (tmp_path / "report" / "synthetic-tiny" / "index.html").read_text()
    assert "My GRU" in (tmp_path / "leaderboard.html").read_text()
    assert "predictions checked" in said
    for name in ("my_model", "my_module"):
        sys.modules.pop(name, None)


def test_predictions_are_read_without_the_package(store, tmp_path) -> None:
    record = make_record(store)
    (tmp_path / PREDICTIONS).write_bytes((record.path / PREDICTIONS).read_bytes())
    code = "".join(body for kind, body in blocks("predictions.md") if kind == "python")
    guard = "\nimport sys\nassert not {'benchmark', 'protocols', 'torch'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code + guard],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    clean = record.metrics[record.metrics["protocol"] == "clean"]["mae"].item()
    assert float(done.stdout.split()[-1]) == pytest.approx(clean)


def test_every_array_is_documented(store) -> None:
    text = (DOCS / "predictions.md").read_text()
    named = set(re.findall(r"^\| `([\w/<>]+)`", text, re.MULTILINE))
    with np.load(make_record(store).path / PREDICTIONS) as table:
        found = {re.sub(r"levels/.*", "levels/<joint>/<draw>", name) for name in table.files}
    assert found <= named
    assert named - found == {"routing"}  # of models with experts only
