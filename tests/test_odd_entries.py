"""A few of the entries of ``python -m tests.odd_entries``, which tries all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_no_odd_entry_of_a_runs_folder_breaks_or_holds_a_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.odd_entries", "--sample", "4"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "TMPDIR": str(tmp_path), "BROWSER": "true"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
