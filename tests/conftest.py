"""Shared fixtures."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from benchmark.records import RunStore
from tests.tiny import tiny_data_dir

# A test run in the background inherits that SIGINT is ignored, and what it starts would as well.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """As runs do: results then do not depend on the machine's number of cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with ``tiny`` (sentiment) and ``tiny-cls`` (three classes)."""
    return tiny_data_dir(tmp_path_factory.mktemp("package"))


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """An empty store of runs."""
    made = RunStore(tmp_path / "runs")
    made.prepare()
    return made
