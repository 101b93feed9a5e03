"""Run a command that must not outlive the process that asked for it, however that one ends.

``python -m benchmark.tracking.supervise COMMAND ...`` in a session of its own, with a pipe as its
standard input: the pipe ends when the process at its other end does, be it killed or its terminal
closed. Then the command and all that it started are ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

STOP_SECONDS = 5.0
"""From asking the command to end to ending it."""


def main(command: list[str]) -> None:
    """Run the command until it ends or the standard input does."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # it is in the group that it stops
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def stop_with_caller() -> None:
        os.read(0, 1)
        os.killpg(0, signal.SIGTERM)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(0, signal.SIGKILL)

    threading.Thread(target=stop_with_caller, daemon=True).start()
    server.wait()
    os.killpg(0, signal.SIGKILL)  # workers that the command left, and this process


if __name__ == "__main__":
    main(sys.argv[1:])
