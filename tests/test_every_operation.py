"""A few of the faults of ``python -m tests.every_operation``, which tries all of them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.every_operation import COMMANDS, main
from tests.faults import in_a_fork

QUICKER = ("run", "import")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICKER else pytest.mark.long) for n in COMMANDS]
)
def test_the_same_command_again_makes_good_what_a_fault_left(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    log = tmp_path / "log"
    code = in_a_fork(lambda: main(["--sample", "1", name]), log)
    assert code == 0, log.read_text()[-3000:]
    assert f"{name}: 2 tried, 0 not made good" in log.read_text()
