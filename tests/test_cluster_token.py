"""Ray clusters that ask for a token, as all do that somebody begins who has one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark.execution.hosts import TOKEN_MODE, _answers
from tests.tiny import free_port

ray = pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[scale]'")
pytestmark = pytest.mark.long

TOKEN = "0123456789abcdef0123456789abcdef"
JOIN = """
import sys
from benchmark.errors import BenchmarkError
from benchmark.execution.executor import Cluster
from benchmark.execution.hosts import Hosts
try:
    hosts = Hosts(Cluster(sys.argv[1]))
    print(hosts)
    hosts.close()
except BenchmarkError as error:
    print("error:", error)
"""


def environment(home: Path, **given: str) -> dict[str, str]:
    """This process's, of somebody who has nothing of Ray's but what is given."""
    plain = {name: x for name, x in os.environ.items() if not name.startswith("RAY_AUTH")}
    return {**plain, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", **given}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster that wants the token."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"]
    command += ["--port", str(port), "--num-cpus", "2"]
    command += ["--include-dashboard", "false", "--object-store-memory", str(80 * 2**20)]
    head = subprocess.Popen(
        command,
        env=environment(
            tmp_path_factory.mktemp("home"), RAY_AUTH_TOKEN=TOKEN, **{TOKEN_MODE: "token"}
        ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not _answers(address):
        assert head.poll() is None
        time.sleep(0.2)
    time.sleep(5)  # its first host joins after it answers
    yield address
    os.killpg(head.pid, signal.SIGTERM)
    head.wait()


@pytest.mark.parametrize(
    ("given", "joins"),
    [
        ({"RAY_AUTH_TOKEN": TOKEN}, True),
        ({}, False),
        ({"RAY_AUTH_TOKEN": TOKEN[::-1]}, False),
        ({TOKEN_MODE: "token"}, False),
        ({TOKEN_MODE: "disabled", "RAY_AUTH_TOKEN": TOKEN}, False),
    ],
)
def test_a_cluster_is_joined_with_ones_token_or_says_that_it_wants_one(
    guarded: str, tmp_path: Path, given: dict[str, str], joins: bool
) -> None:
    command = [sys.executable, "-c", JOIN, guarded]
    done = subprocess.run(
        command, env=environment(tmp_path, **given), capture_output=True, text=True, timeout=100
    )
    if joins:
        assert done.stdout == "1 host, 2 CPUs, 0 GPUs\n", done.stderr
    else:
        assert done.stdout.startswith(f"error: --address {guarded}: this Ray cluster asks for a")
        assert "RAY_AUTH_TOKEN" in done.stdout


def test_what_is_no_cluster_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", JOIN, f"127.0.0.1:{listener.getsockname()[1]}"]
        done = subprocess.run(
            command, env=environment(tmp_path), capture_output=True, text=True, timeout=100
        )
    assert "what answers there is no Ray cluster, or hangs" in done.stdout, done.stderr
