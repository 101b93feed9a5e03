"""A few of the faults of ``python -m tests.every_operation``, which tries all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.every_operation import COMMANDS

QUICKER = ("run", "import")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICKER else pytest.mark.long) for n in COMMANDS]
)
def test_the_same_command_again_makes_good_what_a_fault_left(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.every_operation", "--sample", "1", name],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert f"{name}: 2 tried, 0 not made good" in done.stdout
