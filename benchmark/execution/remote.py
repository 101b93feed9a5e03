"""A worker that may be on any host: it does runs in a thread and is asked what they say.

Where it sees the driver's runs folder, and locks in that folder hold between the two, it writes
records there as a process of the driver's machine does. Else each run comes with its files and its
record goes back as bytes: only the driver needs the folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset
from benchmark.data.manifest import MANIFEST, read_manifest
from benchmark.data.registry import load_dataset, need_data_dir, registered
from benchmark.environment import compute_with
from benchmark.errors import BenchmarkError
from benchmark.execution.attempt import attempt
from benchmark.execution.estimate import timed
from benchmark.execution.events import Event
from benchmark.execution.execute import Stopped
from benchmark.execution.executor import Execution, Job, Message
from benchmark.execution.timeleft import Cost
from benchmark.files import replace_file, scratch
from benchmark.hygiene import one_line
from benchmark.plan import Planned
from benchmark.records import RunStore
from benchmark.records.parcel import Parcel, digests, news, pack, unpack

STATE_SECONDS = 10.0
"""How old the driver's copy of a resume state may get, where it is not written there itself."""
HEAR_SECONDS = 2.0
"""How long a worker that has nothing to say is listened to."""

Said = Message | Parcel
Files = Mapping[str, NDArray[np.uint8]]
"""File name -> content."""


@dataclass(frozen=True)
class Ready:
    """What a worker finds where it is.

    Attributes:
        host: its host's name.
        shared: whether it writes to the driver's runs folder.
        problem: why it has no data set; "" where it has it.
    """

    host: str
    shared: bool
    problem: str


class RemoteWorker:
    """Does one run at a time. No method takes long, so that none has to be called beside another.

    A data set stays with its worker between runs.
    """

    def __init__(self, how: Execution, data_sha256: str, probe: Path) -> None:
        """Nothing is loaded yet.

        Args:
            how: of the driver; its paths may lead nowhere here.
            data_sha256: of the driver's data set.
            probe: a file in the driver's runs folder whose lock the driver holds.
        """
        self.how, self.data_sha256 = how, data_sha256
        self.shared = is_shared(probe)
        self.kept = ExitStack()  # for as long as this worker
        self.store = RunStore(how.runs_dir if self.shared else self.kept.enter_context(scratch()))
        self.said: SimpleQueue[Said] = SimpleQueue()
        self.answers: SimpleQueue[bool] = SimpleQueue()
        self.known: dict[str, str] = {}
        self.shipped = 0.0

    def prepare(self, files: Files | None = None) -> Ready:
        """Load the data set, from its files where they are given."""
        problem = ""
        compute_with(self.how.threads)
        try:
            dataset = arrived(self.how, self.data_sha256, files)
            dataset = dataset if self.how.test else dataset.without_test()
            self.dataset = dataset.to(self.how.device)
        except (BenchmarkError, OSError, RuntimeError) as error:  # RuntimeError: torch's
            problem = one_line(error)
        return Ready(socket.gethostname(), self.shared, problem)

    def begin(self, job: Job, files: Parcel) -> list[Said]:
        """Begin a run; returns what :meth:`hear` does.

        Args:
            job: the run.
            files: what the driver has of it, where no folder is shared.
        """
        unpack(self.store, job.run_id, files)
        self.known = digests(files)
        self.shipped = time.monotonic()
        threading.Thread(target=self._work, args=(job,), daemon=True).start()
        return self.hear()

    def hear(self, stop: bool | None = None) -> list[Said]:
        """What the run has said since; waits a little for it.

        Args:
            stop: the answer to the epoch that was told last: whether the run is to stop.
        """
        if stop is not None:
            self.answers.put(stop)
        heard: list[Said] = []
        try:
            heard.append(self.said.get(timeout=HEAR_SECONDS))
            while True:
                heard.append(self.said.get_nowait())
        except Empty:
            return heard

    def costs(self, todo: Sequence[Planned]) -> list[Cost | None]:
        """How long runs take here."""
        return list(timed(todo, self.dataset, self.how))

    def _work(self, job: Job) -> None:
        compute_with(self.how.threads)  # OpenMP counts for each thread

        def tell(event: Event) -> None:
            if not self.shared:
                ends = event.kind in ("finished", "failed")  # what is told then is there already
                if ends or time.monotonic() - self.shipped > STATE_SECONDS:
                    self._ship(job.run_id)
            self.said.put(event)
            if event.kind == "epoch" and self.answers.get():
                raise Stopped

        outcome = attempt(job.planned, lambda: self.dataset, self.store, tell, job.wait_for_others)
        if not self.shared:
            self._ship(job.run_id)
            for folder in (self.store.path(job.run_id), self.store.partial(job.run_id)):
                shutil.rmtree(folder, ignore_errors=True)
        self.said.put(outcome)

    def _ship(self, run_id: str) -> None:
        parcel = pack(self.store, run_id)
        if changed := news(parcel, self.known):
            self.said.put(changed)
        self.known, self.shipped = digests(parcel), time.monotonic()


def is_shared(probe: Path) -> bool:
    """Whether a file is seen here whose lock another process holds, and the lock holds here too.

    It does not on some network file systems (NFS without a lock daemon, Lustre mounted without
    ``flock``): two drivers on one such folder would do each other's runs again.
    """
    if not probe.exists():
        return False
    try:
        with FileLock(probe, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def arrived(how: Execution, sha256: str, files: Files | None) -> Dataset:
    """The driver's data set on this host: as it lies here, or of its files, written once a host.

    Raises:
        BenchmarkError: where it cannot be had, or is another one than the driver's.
    """
    data_dir = how.data_dir
    if files is not None:
        data_dir = Path(tempfile.gettempdir()) / f"robust-msa-data-{os.getuid()}"
        data_dir /= hashlib.sha256(files[MANIFEST].data).hexdigest()
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with FileLock(data_dir / ".lock"):
            folder = data_dir / how.dataset
            if not (folder / MANIFEST).is_file():
                folder.mkdir(exist_ok=True)
                for name, content in files.items():
                    replace_file(folder / name, content.data)
    try:
        dataset = load_dataset(how.dataset, data_dir)  # compares the files with their hashes
    except BenchmarkError:
        if files is not None and data_dir is not None:  # they are sent again the next time
            shutil.rmtree(data_dir / how.dataset, ignore_errors=True)
        raise
    if dataset.sha256 != sha256:
        raise BenchmarkError(
            f"its {how.dataset} is not the driver's: {dataset.sha256[:12]} is the"
            f" hash of its content, not {sha256[:12]}"
        )
    return dataset


def data_files(how: Execution) -> Files | None:
    """The files of an imported data set; None where every host makes the data set itself.

    In the order to write them in: the manifest says that the others are there.
    """
    if how.dataset in registered():
        return None
    folder = need_data_dir(how.data_dir) / how.dataset
    names = (*read_manifest(folder).stored(), MANIFEST)
    return {name: np.fromfile(folder / name, dtype=np.uint8) for name in names}
