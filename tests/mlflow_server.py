"""``mlflow server`` on a local port, in a fork of the test's process.

It is what the command starts: its app, on its options, by uvicorn. But the command and the server
that it starts are one process here, which has most of MLflow already: each would import it for six
seconds of a core.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from benchmark.tracking.server import START_SECONDS, _answers
from tests.forks import be, speak_to
from tests.tiny import free_port


class MlflowServer:
    """Begin and ``kill`` it at will; nothing of it is in the process that it is a fork of.

    Args:
        store: the URI of what it tracks in.
        folder: for its artifacts and its log.
    """

    def __init__(self, store: str, folder: Path) -> None:
        self.port = free_port()
        self.store, self.folder, self.pid = store, folder, 0
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns when it answers."""
        options = ["--port", str(self.port), "--backend-store-uri", self.store, "--workers", "1"]
        options += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "log").open("wb") as log:
            self.pid = os.fork()
            if not self.pid:
                be(lambda: _serve(options, log.fileno()))
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.uri):
            ended, _ = os.waitpid(self.pid, os.WNOHANG)
            assert not ended, (self.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def kill(self) -> None:
        """As a host dies: it says nothing and finishes nothing."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0


def _serve(options: Sequence[str], log: int) -> None:
    os.setsid()
    speak_to(log, log)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    import mlflow.cli
    import mlflow.server
    import uvicorn

    def become(command: Sequence[str], extra_env: Mapping[str, str], **_: object) -> NoReturn:
        os.environ.update(extra_env)
        assert command[1:3] == ["-m", "uvicorn"]
        raise SystemExit(uvicorn.main(list(command[3:])))

    mlflow.server._exec_cmd = become
    mlflow.cli.server.main(list(options))
