"""A tiny feature package on disk, imported: for tests of whole runs and of the command line."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from benchmark.cli import main
from benchmark.data.importer import import_package
from benchmark.execution.processes import prepare
from tests.batches import make_batch, make_spec
from tests.forks import be, speak_to

SIZES = {"train": 96, "valid": 24, "test": 40}
LIMIT_SECONDS = 240
QUICK = [
    *("--dataset", "tiny", "--models", "qamoe", "--set", "evaluation.draws=1"),
    *("--set", "model.width=16", "--set", "model.encoder_heads=2"),
]


def free_port() -> int:
    """A local port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tiny_package(path: Path, classification: bool = False) -> Path:
    """Write an MMSA-style pickle with three short modalities and a learnable label."""
    spec = make_spec("classification", 3) if classification else make_spec()
    package = {}
    for position, (split, size) in enumerate(SIZES.items()):
        batch = make_batch(size, spec, seed=position)
        arrays: dict[str, object] = {m: x.numpy() for m, x in batch.features.items()}
        arrays |= {f"{m}_lengths": x.sum(1).tolist() for m, x in batch.masks.items()}
        arrays["id"] = np.array([f"{split}{i}$_$0" for i in range(size)])
        arrays["raw_text"] = np.array(["some words"] * size, dtype=object)
        key = "classification_labels" if classification else "regression_labels"
        arrays[key] = batch.label.numpy()
        package[split] = arrays
    path.write_bytes(pickle.dumps(package))
    return path


def tiny_data_dir(folder: Path) -> Path:
    """A data folder with the package imported as ``tiny`` and its class form as ``tiny-cls``."""
    for name, classification in (("tiny", False), ("tiny-cls", True)):
        package = tiny_package(folder / f"{name}.pkl", classification)
        import_package(package, name, folder / "data")
    return folder / "data"


def benchmark(
    *arguments: object,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    first: Callable[[], object] = lambda: None,
    site: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in a process of its own.

    It is a fork of this one, which has imported what a command needs: half of a small command's
    time, and has this one's server of worker processes; it finds what is installed in ``site``
    too; there it does something ``first``. With ``env`` it is a new interpreter, since variables
    are read while it starts.
    """
    words = [str(word) for word in arguments]
    if env is not None:
        return subprocess.run(
            [sys.executable, "-m", "benchmark", *words],
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            cwd=cwd,
            env={**os.environ, "COLUMNS": "200", **env},
            check=False,
        )
    return Command(*arguments, cwd=cwd, first=first, site=site).wait()


class Command:
    """The command line under way, as :func:`benchmark` runs it.

    Its workers come from this process's server: a signal to it does not reach them.
    """

    def __init__(
        self,
        *arguments: object,
        cwd: Path | None = None,
        first: Callable[[], object] = lambda: None,
        site: Path | None = None,
    ) -> None:
        self.words = [str(word) for word in arguments]
        self.code: int | None = None
        self._files = TemporaryFile(), TemporaryFile()  # noqa: SIM115 — as long as this lives
        files = [file.fileno() for file in self._files]
        prepare()
        self.pid = os.fork()
        if self.pid == 0:
            be(lambda: (first(), _become(self.words, cwd, site, *files)), share_server=True)

    def poll(self) -> int | None:
        """Its exit code, once it has ended."""
        if self.code is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if found else None
        return self.code

    def until(self, happened: Callable[[], object]) -> None:
        """Wait until something has happened while it runs."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not happened():
            assert self.poll() is None, self._read(0) + self._read(1)
            self._end_at(deadline)
            time.sleep(0.02)

    def wait(self) -> subprocess.CompletedProcess[str]:
        """How it ended, and what it said."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while self.poll() is None:
            self._end_at(deadline)
            time.sleep(0.01)
        assert self.code is not None
        return subprocess.CompletedProcess(self.words, self.code, self._read(0), self._read(1))

    def said(self) -> str:
        """What it has written to its standard output."""
        return self._read(0)

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def _end_at(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            os.kill(self.pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(
                "benchmark", LIMIT_SECONDS, self._read(0) + self._read(1)
            )

    def _read(self, place: int) -> str:
        file = self._files[place].fileno()  # which the other end writes to, at the same offset
        return os.pread(file, os.fstat(file).st_size, 0).decode()


def _become(words: list[str], cwd: Path | None, site: Path | None, out: int, err: int) -> None:
    """In a fork: be the command."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = os.fdopen(0, closefd=False)
    speak_to(out, err)
    os.chdir(cwd or Path.cwd())
    os.environ["COLUMNS"] = "200"
    if site:
        sys.path.insert(0, str(site))
        os.environ["PYTHONPATH"] = str(site)  # of the interpreters that the command starts
    sys.argv = ["benchmark", *words]
    main()
