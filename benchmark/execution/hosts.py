"""The hosts of a Ray cluster: the only module that imports ray."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.execution.executor import Cluster
from benchmark.hygiene import one_line

LOOK_SECONDS = 2.0
"""Between two looks at what the cluster has."""
HEAD_SECONDS = 30.0
"""How long a head node may leave us without an answer. Ray ends a process after 60, in its way."""
LEAVE_SECONDS = 10.0
"""How long leaving a cluster whose head is lost may take: 5 s where it is gone."""
EMPTY_SECONDS = 60.0
"""How long a cluster may be without any host for a run."""
TOKEN_MODE = "RAY_AUTH_MODE"
"""What says to Ray whether a cluster asks for a token; unset, Ray has rules of its own."""


def need_ray() -> Any:
    """Ray, which tells nobody that it is used, and us of errors only.

    Raises:
        BenchmarkError: where it is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read at the import
    try:
        import ray
    except ImportError:
        raise BenchmarkError(
            "--executor ray needs Ray: pip install 'robust-msa-benchmark[scale]'"
        ) from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    return ray


class Hosts:
    """What a cluster has: a host that joins it is used, and one that leaves is done without."""

    def __init__(self, cluster: Cluster) -> None:
        """Connect.

        Raises:
            BenchmarkError: where there is no such cluster, it has another version of anything that
                counts, or none of its hosts has room for a run.
        """
        self.ray, self.cluster = need_ray(), cluster
        self.token_mode = os.environ.get(TOKEN_MODE)
        self.nodes: list[Mapping[str, Any]] = []
        self.greeted: set[str] = set()
        self.asked: dict[Any, str] = {}
        self.lost = False
        self.left = threading.Event()
        with contextlib.ExitStack() as on_error:
            on_error.callback(self._set_token_mode, self.token_mode)
            self._join()
            on_error.callback(self.close)
            self.head = self.ray.get_runtime_context().gcs_address
            self._look()
            self.filled = time.monotonic()
            threading.Thread(target=self._watch, name="hosts", daemon=True).start()
            self._greet()
            while self.asked:
                self._require_head()
                self._hear_greetings(timeout=1.0)
            if not self.room():
                wanted = f"{cluster.cpus:g} CPUs and {cluster.gpus:g} GPUs"
                raise BenchmarkError(
                    f"no host of the cluster has room for a run of {wanted}: {self}"
                )
            on_error.pop_all()

    def _join(self) -> None:
        address = self.cluster.address
        if address is not None and address != "auto":
            self._require_answer(address)
            self._require_entrance(address)
        try:
            self.ray.init(
                address=address or "local",  # without one it joins whatever runs here
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
            )
        except (ConnectionError, RuntimeError, ValueError, self.ray.exceptions.RayError) as error:
            raise BenchmarkError(
                f"no Ray cluster at {address or 'this machine'}: {one_line(error, 400)}"
            ) from None

    def __str__(self) -> str:
        """What there is."""
        cpus, gpus = (sum(_amount(node, kind) for node in self.nodes) for kind in ("CPU", "GPU"))
        count = len(self.nodes)
        return f"{count} host{'s' * (count != 1)}, {cpus:g} CPUs, {gpus:g} GPUs"

    def room(self) -> int:
        """How many runs the cluster has room for, those under way included.

        Raises:
            BenchmarkError: where the head node has left us without an answer, no host is left, or a
                new one has other versions.
        """
        self._require_head()
        self._greet()
        self._hear_greetings(timeout=0.0)
        now = time.monotonic()
        room = sum(self._fitting(node) for node in self.nodes)
        self.filled = now if room else self.filled
        if now - self.filled > EMPTY_SECONDS:
            raise BenchmarkError(
                f"the Ray cluster {self.head} has had no host with room for a run for "
                f"{EMPTY_SECONDS:.0f} s. The same command goes on from the last epochs."
            )
        return room

    def _fitting(self, node: Mapping[str, Any]) -> int:
        cpus, gpus = self.cluster.cpus, self.cluster.gpus
        by_cpu = _amount(node, "CPU") / cpus if cpus else math.inf
        by_gpu = math.inf
        if gpus:  # a share is of one GPU
            per_gpu = math.floor(1 / gpus + 1e-9) if gpus <= 1 else 1 / gpus
            by_gpu = _amount(node, "GPU") * per_gpu
        fitting = min(by_cpu, by_gpu)
        return math.floor(fitting + 1e-9) if math.isfinite(fitting) else 1

    def _require_head(self) -> None:
        if time.monotonic() - self.answered > HEAD_SECONDS:
            self.lost = True
            raise BenchmarkError(
                f"the head node of the Ray cluster, {self.head}, does not answer any more. "
                "What is finished is kept; start the cluster again, and the same command goes "
                "on from the last epochs."
            )

    def _watch(self) -> None:
        """In a thread, as a head node that hangs does not answer at all, nor in any certain time.

        Whatever Ray raises is no answer: :meth:`room` says so once that has lasted.
        """
        while not self.left.wait(LOOK_SECONDS):
            if _answers(self.head):
                with contextlib.suppress(Exception):
                    self._look()

    def _look(self) -> None:
        self.nodes = [node for node in self.ray.nodes() if node["Alive"]]
        self.answered = time.monotonic()

    def _greet(self) -> None:
        """Ask new hosts for what counts for numbers."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for node_id in {node["NodeID"] for node in self.nodes} - self.greeted:
            there = NodeAffinitySchedulingStrategy(node_id, soft=False)
            task = self.ray.remote(num_cpus=0, scheduling_strategy=there)(_by_value())
            self.asked[task.remote()] = node_id
            self.greeted.add(node_id)

    def _hear_greetings(self, timeout: float) -> None:
        """Compare what new hosts say with what is here."""
        if not self.asked:
            return
        ours = _facts()
        ready, _ = self.ray.wait(list(self.asked), timeout=timeout)
        for reference in ready:
            del self.asked[reference]
            try:
                theirs = self.ray.get(reference)
            except self.ray.exceptions.RayError:  # it has left before it could answer
                continue
            for name, version in ours.items():
                if theirs[name] != version:
                    raise BenchmarkError(
                        f"host {theirs['host']} of the Ray cluster has {name} "
                        f"{theirs[name] or '(none)'}, and this one has {version}: install the same"
                        " on all, or the same plan gives other numbers"
                    )

    def is_gone(self, error: Exception) -> bool:
        """Whether an actor was lost with its host, and not by what it did."""
        died = isinstance(error, self.ray.exceptions.ActorDiedError)
        return not died or "node has died" in str(error)

    def close(self) -> None:
        """Leave the cluster, and take our actors along."""
        self.left.set()
        if not self.lost:
            self.ray.shutdown()
            self._set_token_mode(self.token_mode)  # Ray leaves its own behind
            return
        leaving = threading.Thread(target=self.ray.shutdown, daemon=True)
        leaving.start()
        leaving.join(LEAVE_SECONDS)
        if leaving.is_alive():  # of a head that hangs Ray waits, and brings the process down then
            atexit.unregister(self.ray.shutdown)
            atexit.register(_end_at_once)

    def _require_answer(self, address: str) -> None:
        if "://" in address or not address.rpartition(":")[2].isdigit():
            raise BenchmarkError(
                f"--address {address}: give auto or HOST:PORT, as `ray start` says"
            )
        if not _answers(address):
            raise BenchmarkError(f"--address {address}: no Ray cluster answers there")

    def _require_entrance(self, address: str) -> None:
        """Give the token that is here to a cluster that asks for one."""
        if self.token_mode is None and _has_token() and self._is_refused(address):
            self._set_token_mode("token")
        empty = self.token_mode == "token" and not _has_token()  # to ask would end this process
        if empty or self._is_refused(address):
            raise BenchmarkError(
                f"--address {address}: this Ray cluster asks for a token, and another than is here."
                " Copy ~/.ray/auth_token from its head node, or set RAY_AUTH_TOKEN."
            )

    def _is_refused(self, address: str) -> bool:
        """Whether a cluster wants a token that it is not given.

        Ray gives none at an address that it is told, but begins every cluster of somebody who has a
        token as one that wants it; and who has used Ray on one machine has a token.
        """
        refusal = getattr(self.ray.exceptions, "AuthenticationError", ())  # Ray 2.52 and later
        try:
            self.ray._raylet.GcsClient(address=address)
        except refusal:
            return True
        except self.ray.exceptions.RayError as error:
            raise BenchmarkError(
                f"--address {address}: what answers there is no Ray cluster, or hangs: "
                f"{one_line(error, 400)}"
            ) from None
        return False

    def _set_token_mode(self, mode: str | None) -> None:
        """For this process and those that it starts."""
        if os.environ.get(TOKEN_MODE) != mode:
            os.environ.pop(TOKEN_MODE, None)
            os.environ.update({TOKEN_MODE: mode} if mode else {})
            raylet = self.ray._raylet
            raylet.Config.initialize("")
            raylet.AuthenticationTokenLoader.instance().reset_cache()


def _end_at_once() -> None:
    """With the exit code of an error that was told."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2)


def _amount(node: Mapping[str, Any], kind: str) -> float:
    return float(node["Resources"].get(kind, 0.0))


def _answers(address: str) -> bool:
    """Whether somebody listens there; Ray's own question would end this process."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=3):
        return True
    return False


def _has_token() -> bool:
    """Whether Ray has a token where it looks for one."""
    named = [os.environ.get(f"RAY_AUTH_TOKEN{what}") for what in ("", "_PATH")]
    return any(named) or (Path.home() / ".ray" / "auth_token").is_file()


def _facts() -> dict[str, str]:
    found: dict[str, str] = _by_value()()
    del found["host"]
    return found


def _by_value() -> Any:
    """A function that travels as code, to hosts that may have nothing of this package."""

    def facts() -> dict[str, str]:
        import hashlib
        import platform
        import socket
        from importlib import metadata, util
        from pathlib import Path

        found = {"host": socket.gethostname()}
        found["Python"] = ".".join(platform.python_version_tuple()[:2])
        for name in ("robust-msa-benchmark", "torch"):
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                found[name] = ""
        digest = hashlib.sha256()
        models = metadata.entry_points(group="benchmark.models")
        for name in sorted({"protocols", "benchmark", *(m.module.split(".")[0] for m in models)}):
            spec = util.find_spec(name)
            for folder in (spec and spec.submodule_search_locations) or ():
                for path in sorted(Path(folder).rglob("*.py")):
                    digest.update(path.read_bytes())
        found["the code of harness and models in the state"] = digest.hexdigest()[:12]
        return found

    return facts
