"""Temporary folders: none outlives its process for long, whatever ended it."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

import benchmark.files
from benchmark.errors import BenchmarkError
from benchmark.files import scratch
from tests.forks import be


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(benchmark.files, "ABANDONED_SECONDS", 0.0)
    return tmp_path


def holding() -> int:
    """A process that has written to a folder of its own and waits for its end."""
    ready, say = os.pipe()
    if (pid := os.fork()) == 0:

        def hold() -> None:
            with scratch() as folder:
                (folder / "runs").mkdir()
                (folder / "runs" / "record").write_bytes(b"4 GiB")
                os.write(say, b"x")
                signal.pause()

        be(hold)
    os.read(ready, 1)
    return pid


def test_what_a_killed_process_left_goes_with_the_next_folder(place: Path) -> None:
    killed, alive = holding(), holding()
    (place / "robust-msa-somebody").mkdir()
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    assert len(list(place.iterdir())) == 3
    try:
        with scratch() as folder:
            assert folder.is_dir()
            assert len(list(place.iterdir())) == 3  # that of the living, ours, somebody else's
    finally:
        os.kill(alive, signal.SIGKILL)
        os.waitpid(alive, 0)
    assert not folder.exists()
    with scratch():
        pass
    assert [p.name for p in place.iterdir()] == ["robust-msa-somebody"]


def test_the_young_are_left_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark.files, "ABANDONED_SECONDS", 60.0)
    newborn = place / f"robust-msa-{os.getuid()}-x"  # made, and not yet locked
    newborn.mkdir()
    with scratch():
        assert newborn.is_dir()


def test_no_place_for_it_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / "none"))
    with pytest.raises(BenchmarkError, match="TMPDIR"), scratch():
        pass
