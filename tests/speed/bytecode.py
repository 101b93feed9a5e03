"""What a user's second command finds: bytecode on disk."""

from __future__ import annotations

import compileall
from pathlib import Path

PACKAGES = ("benchmark", "protocols", "reports", "qamoe", "baselines")


HERE = Path(__file__).resolve().parents[2]


def compiled(checkout: Path = HERE) -> None:
    """Compile a checkout's packages. Where Python may write no bytecode, and in a fresh checkout,
    each command would do that anew, half a second long."""
    for name in PACKAGES:
        compileall.compile_dir(checkout / name, quiet=1)
