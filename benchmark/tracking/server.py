"""Serve the MLflow UI on a tracking store, in a process that ends with this one."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

from benchmark.errors import BenchmarkError
from benchmark.metrics import LOWER_IS_BETTER, PRIMARY
from benchmark.tracking.background import Watch
from benchmark.tracking.connection import Say
from benchmark.tracking.mlflow_store import Client
from benchmark.tracking.place import sqlite_path

START_SECONDS = 120.0


def serve_ui(uri: str, host: str = "127.0.0.1", port: int = 5000, say: Say = print) -> None:
    """Serve the UI until Ctrl-C; no process is left behind, however this one ends.

    Args:
        uri: the tracking store. Of a server, only the address is told: it has a UI already.
        host: the address to serve on.
        port: the port to serve on.
        say: told the URL when the UI answers.

    Raises:
        BenchmarkError: where there is no store yet or it cannot be opened, the address or port
            cannot be had, or the server ends by itself.
    """
    if uri.startswith(("http://", "https://")):
        say(f"the tracking server has its own UI: {uri}")
        return
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        raise BenchmarkError(
            f"there is no tracking database {path}: `benchmark run` makes it, and "
            "`benchmark sync` rebuilds it from records. Name another folder with --runs-dir."
        )
    _check_free(host, port)
    if path is None:  # of a store that it cannot open, MLflow's server would try for ever
        Client(uri, Watch()).search_experiments(max_results=1)
    with tempfile.TemporaryFile() as output:
        server = _start(uri, path, host, port, output)
        try:
            _wait_until_up(server, _url(host, port), output)
            say(f"MLflow UI: {_overview(_url(host, port))}   (Ctrl-C stops it)")
            server.wait()
            raise BenchmarkError(f"the MLflow server ended: {_last_line(output)}")
        except KeyboardInterrupt:
            say("stopped")
        finally:
            _stop(server)


def _url(host: str, port: int) -> str:
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"


def _overview(base: str) -> str:
    """The charts of the experiment used last, best run first; else the list of experiments.

    Sorted by a metric, since the UI folds runs under their parent when sorted by time.
    """
    listing = f"{base}/#/experiments?workflowType=machine_learning"
    newest = {"max_results": 1, "order_by": ["attributes.start_time DESC"]}
    try:
        experiments = _ask(base, "experiments", {"max_results": 1000})["experiments"]
        ids = [experiment["experiment_id"] for experiment in experiments]
        wanted = {"experiment_ids": ids, "filter": "tags.run_id != ''", **newest}
        run = _ask(base, "runs", wanted)["runs"][0]
    except (OSError, ValueError, LookupError):  # an empty store, or an older server
        return listing
    tasks = [tag["value"] for tag in run["data"]["tags"] if tag["key"] == "task"]
    metric = PRIMARY["classification" if tasks == ["classification"] else "regression"]
    query = {
        "workflowType": "machine_learning",
        "compareRunsMode": "CHART",
        "orderByKey": f"metrics.`test/protocol_III_{metric}`",
        "orderByAsc": str(metric in LOWER_IS_BETTER).lower(),
    }
    experiment_id = run["info"]["experiment_id"]
    return f"{base}/#/experiments/{experiment_id}/runs?{urlencode(query)}"


def _ask(base: str, what: str, query: Mapping[str, object]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{base}/api/2.0/mlflow/{what}/search",
        json.dumps(query).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _check_free(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise BenchmarkError(
            f"cannot serve on {host}:{port}: {error.strerror or error}. "
            f"Choose another with --port (--port {port % 65535 + 1}, say) or --host."
        ) from None


def _start(
    uri: str, path: Path | None, host: str, port: int, output: IO[bytes]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmark.tracking.supervise"]
    command += [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    if path is not None:  # where an experiment made in the UI would put its artifacts
        command += ["--artifacts-destination", (path.parent / "mlartifacts").as_uri()]
    environment = {
        **os.environ,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # no background services for a viewer
    }
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # ends with this process
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # a terminal that closes takes the pipe's end, not the supervisor
    )


def _wait_until_up(server: subprocess.Popen[bytes], url: str, output: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise BenchmarkError(f"the MLflow server did not start: {_last_line(output)}")
        if _answers(url):
            return
        time.sleep(0.2)
    raise BenchmarkError(f"the MLflow server did not answer within {START_SECONDS:.0f} s")


def _answers(url: str) -> bool:
    with contextlib.suppress(urllib.error.URLError, OSError):
        urllib.request.urlopen(f"{url}/health", timeout=2).close()
        return True
    return False


def _stop(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait()


def _last_line(output: IO[bytes]) -> str:
    output.seek(0)
    lines = [line.strip() for line in output.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "it said nothing")
