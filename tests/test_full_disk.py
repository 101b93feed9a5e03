"""Some of the disks of ``python -m tests.full_disk``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.every_operation import COMMANDS
from tests.full_disk import INSIDE, UNSHARE

QUICKER = ("import",)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICKER else pytest.mark.long) for n in COMMANDS]
)
def test_there_is_one_line_and_nothing_is_left_of_a_full_disk(name: str, tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "none", str(tmp_path)]
    try:
        allowed = subprocess.run([*UNSHARE, *mount], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if allowed.returncode:
        pytest.skip("a mount is refused here, in a namespace of one's own too")
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.full_disk", INSIDE, "--sizes", "3", name],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "3 sizes" in done.stdout
    assert "0 not made good" in done.stdout
