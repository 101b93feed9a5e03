"""Shared fixtures."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy
import torch

from benchmark.data.dataset import Dataset
from benchmark.data.registry import load_dataset
from benchmark.records import RunStore
from tests.tiny import tiny_data_dir

# A test run in the background inherits that SIGINT is ignored, one under nohup that SIGHUP is, and
# what it starts would as well.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The suite starts some hundred interpreters: each would compile the project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Ray's workers give way to all else. Beside other tests that kept one waiting for five minutes.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 — Ray's own name

# Nothing here has to survive a power cut: this process and its forks do not wait for the disk.
os.fsync = lambda file: None


@sqlalchemy.event.listens_for(sqlalchemy.Engine, "connect")
def _do_not_wait_for_the_disk(connection: object, record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


# How long an example takes says more of the machine than of the code, and how many of them did not
# fit more of the draw. The suite tries the same examples everywhere: whether a change is sound does
# not depend on a draw. `pytest --hypothesis-profile explore` tries others each time.
_CHECK = hypothesis.HealthCheck
hypothesis.settings.register_profile(
    "explore",
    deadline=None,
    suppress_health_check=[_CHECK.too_slow, _CHECK.filter_too_much, _CHECK.data_too_large],
)
hypothesis.settings.register_profile(
    "suite", hypothesis.settings.get_profile("explore"), derandomize=True
)
hypothesis.settings.load_profile("suite")

QUICK = (
    *("command_line", "degradation", "glance", "house", "missing", "ranks"),
    *("readouts", "run_ids", "sample_ids", "screen", "search_space", "segments"),
    *("stamp", "tables", "time_left"),
)
"""The inner loop, ``pytest -m quick``: files that say in seconds whether something basic broke."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the quick files.

    Where all tests are one process's, Ray's come last: what it leaves behind there has made a later
    fork crash.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        items.sort(key=lambda item: "cluster" in item.path.stem)
    quick = {f"test_{name}" for name in QUICK}
    for item in items:
        if item.path.stem in quick:
            item.add_marker(pytest.mark.quick)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """As runs do: results then do not depend on the machine's number of cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with ``tiny`` (sentiment) and ``tiny-cls`` (three classes)."""
    return tiny_data_dir(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def tiny(data_dir: Path) -> Dataset:
    """The data set ``tiny``."""
    return load_dataset("tiny", data_dir)


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """An empty store of runs."""
    made = RunStore(tmp_path / "runs")
    made.prepare()
    return made
