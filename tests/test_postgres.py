"""Studies and tracking on a real PostgreSQL server: several drivers, one of which is killed."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from filelock import Timeout

from benchmark.errors import BenchmarkError
from benchmark.records import RunStore
from benchmark.search.locks import DatabaseLock
from benchmark.search.space import Choices
from benchmark.search.study import Study, Trial
from benchmark.tracking.sync import sync
from tests.mlflow_server import MlflowServer
from tests.postgres import postgres
from tests.records import make_record

RATES, TOPKS = (1e-3, 5e-4, 1e-4), (1, 2)
SPACE = {"training.learning_rate": list(RATES), "model.topk": list(TOPKS)}


@pytest.fixture(scope="module")
def database() -> Iterator[Callable[[str], str]]:
    with tempfile.TemporaryDirectory(prefix="pg") as short, postgres(Path(short)) as made:
        yield made  # a socket's path may have 107 characters


def driver(data_dir: Path, folder: Path, storage: str, runs: Path) -> subprocess.Popen[str]:
    space = folder / "space.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    command = [
        *(sys.executable, "-m", "benchmark", "search", "--model", "qamoe", "--workers", "1"),
        *("--dataset", "tiny", "--data-dir", str(data_dir), "--space", str(space)),
        *("--set", "model.width=16", "--set", "model.encoder_heads=2", "--epochs", "8"),
        *("--tracking-uri", "none", "--storage", storage, "--runs-dir", str(runs)),
    ]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def trials_in(runs: Path, storage: str) -> list[Trial]:
    (folder,) = (runs / "searches").iterdir()
    space = {name: Choices(tuple(values)) for name, values in SPACE.items()}
    study = Study(folder.name, space, True, storage, runs)
    study.close()
    return study.trials()


@pytest.mark.long
def test_three_drivers_that_share_no_folder_share_a_study(database, data_dir, tmp_path) -> None:
    """As on three hosts. The one that is killed has its trial done by another."""
    storage = database("studies")
    folders = [tmp_path / name for name in ("one", "two", "three")]
    drivers = [driver(data_dir, tmp_path, storage, folder) for folder in folders]
    deadline = time.monotonic() + 120
    while not list(folders[2].glob(".partial/*/resume.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(drivers[2].pid, signal.SIGKILL)
    outputs = [process.communicate(timeout=200)[0] for process in drivers]
    assert [process.returncode for process in drivers[:2]] == [0, 0], outputs
    trials = trials_in(folders[0], storage)
    done = Counter(tuple(t.settings.values()) for t in trials if t.state == "done")
    assert done == Counter(itertools.product(RATES, TOPKS))
    assert all(t.replaced for t in trials if t.state != "done")
    assert [t.reason for t in trials if t.state != "done"] == ["its process was killed"]
    trained = [RunStore(folder).trained_records() for folder in folders]
    assert sum(map(len, trained)) == len(trials) - 1


def test_a_lock_of_the_server_is_one_process_s_until_that_dies(database) -> None:
    url = database("locks")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from benchmark.search.locks import DatabaseLock\n"
            "DatabaseLock(sys.argv[1], 'x').acquire(); print('held', flush=True); time.sleep(100)",
            url,
        ],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(Timeout):
        DatabaseLock(url, "x").acquire(timeout=0)
    DatabaseLock(url, "y").acquire(timeout=0).release()
    holder.kill()
    holder.communicate()
    with DatabaseLock(url, "x"):
        pass


def test_a_storage_that_cannot_be_reached_is_one_line_without_the_password(tmp_path) -> None:
    url = "postgresql+psycopg://somebody:hunter2@127.0.0.1:1/studies"
    with pytest.raises(BenchmarkError, match="cannot be opened") as told:
        Study("s", {"model.topk": Choices((1, 2))}, True, url, tmp_path)
    assert "hunter2" not in str(told.value)
    assert "\n" not in str(told.value)


def test_an_mlflow_server_on_postgres_is_made_equal_to_the_records(
    database, store, tmp_path
) -> None:
    """Its artifacts are in a store of their own."""
    for seed in (1, 2):
        make_record(store, seed=seed)
    server = MlflowServer(database("mlflow"), tmp_path)
    server.start()
    try:
        first = sync(store, server.uri)
        assert (first.made, first.problems) == (2, [])
        second = sync(store, server.uri)
        assert (second.made, second.updated, second.present) == (0, 0, 2)
    finally:
        server.kill()
    kept = {path.name for path in (tmp_path / "artifacts").rglob("*.npz")}
    assert kept == {"predictions.npz"}
