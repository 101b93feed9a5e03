"""How a fork of the test's process ends: never in its parent's work."""

from __future__ import annotations

import multiprocessing.forkserver
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn


def be(work: Callable[[], object]) -> NoReturn:
    """In a fork: do ``work`` and end, with the code that an interpreter would end with."""
    code = 1
    try:
        server = multiprocessing.forkserver._forkserver  # type: ignore[attr-defined]
        server.__init__()  # one that the parent may have is no child of the fork
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 — a fork must not go on with its parent's work
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
