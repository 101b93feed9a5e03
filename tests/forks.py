"""How a fork of the test's process ends: never in its parent's work."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from typing import NoReturn


def be(work: Callable[[], object], share_server: bool = False) -> NoReturn:
    """In a fork: do ``work`` and end, with the code that an interpreter would end with.

    Args:
        work: to do.
        share_server: processes that it starts come from the server that the parent has prepared,
            which has imported torch already, and outlive a killed fork for a moment.
    """
    code = 1
    try:
        server = forkserver._forkserver  # type: ignore[attr-defined]
        if share_server:  # it runs, and is no child of the fork, to look after
            server.ensure_running = forkserver.ensure_running = lambda: None
        else:
            server.__init__()
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


def speak_to(out: int, err: int) -> None:
    """From now on this process writes to these files."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = (os.fdopen(fd, "w", closefd=False) for fd in (1, 2))
