"""Transcripts all the way: a text-only classification set through run, protocols and report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.data.encode import encode_transcripts
from benchmark.data.transcripts import Columns
from benchmark.records import RunRecord, RunStore
from protocols.availability import mask_of
from tests.test_encode import Counting, write
from tests.tiny import benchmark

CLASSES = {"angry": "bad bad no", "happy": "wonderful indeed", "sad": "a pity"}
SESSIONS = 5


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A runs folder with one model trained on five sessions, and what the command said."""
    folder = tmp_path_factory.mktemp("text")
    rows = [
        f"u{i},{CLASSES[name]} {'x' * (i % 3)},{name},{i % SESSIONS + 1}"
        for i, name in enumerate(sorted(CLASSES) * 40)
    ]
    path = write(folder / "t.csv", "id,text,emotion,session", *rows)
    columns = Columns(label="emotion", split=None, group="session")
    encode_transcripts(path, columns, Counting, "speech", folder / "data")
    done = benchmark(
        *("run", "--dataset", "speech", "--models", "lmf", "--epochs", "12", "--regime", "clean"),
        *("--set", "evaluation.draws=1", "--set", "training.learning_rate=0.01"),
        *("--data-dir", folder / "data", "--runs-dir", folder / "runs", "--tracking-uri", "none"),
    )
    assert done.returncode == 0, done.stderr
    return folder / "runs", done.stdout


def record(runs: tuple[Path, str]) -> RunRecord:
    (found,) = RunStore(runs[0]).records()
    return found


def test_the_run_says_that_there_are_fewer_subsets(runs: tuple[Path, str]) -> None:
    said = " ".join(runs[1].split())
    assert "speech has text only: 2 availability subsets instead of 8" in said


def test_the_table_has_a_row_per_level_and_one_for_nothing(runs: tuple[Path, str]) -> None:
    table = record(runs).table
    assert table.present == ("text",)
    assert {c.mask for c in table.conditions} == {0, mask_of(("text",))}
    assert len(table.conditions) == 8 + 1 + 1  # the levels, Protocol III's, nothing available
    assert table.prediction.shape[1:] == (len(table.label), len(CLASSES))


def test_every_protocol_is_read_off(runs: tuple[Path, str]) -> None:
    found = record(runs)
    metrics = found.metrics.set_index("protocol")
    assert set(metrics.index) == {"clean", "I", "II", "III", "grid"}
    assert metrics.loc["clean", "acc"] == 1.0  # each class has words of its own
    best = found.history["valid_acc"].idxmax()
    assert found.history["best"].to_numpy().nonzero()[0][-1] == best
    counts = np.bincount(found.table.label.astype(int))
    nothing = found.table.prediction[[c.mask for c in found.table.conditions].index(0)]
    assert len(np.unique(nothing.argmax(1))) == 1
    grid = metrics.loc["grid"]
    expected = 0.3 + 0.7 * counts[nothing[0].argmax()] / counts.sum()
    row = grid[(grid["intensity"] == 0) & (grid["rate"] == 0.7)].iloc[0]
    assert row["acc"] == pytest.approx(expected)


def test_the_report_shows_accuracy_and_the_majority_class(
    runs: tuple[Path, str], tmp_path: Path
) -> None:
    done = benchmark("report", "--runs-dir", runs[0], "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "speech" / "index.html").read_text()
    assert "text only. 2 availability subsets instead of 8." in text
    assert "majority class" in text
    assert list((tmp_path / "speech" / "figures").glob("*landscapes*.png"))
    for title in ("Protocol I", "Protocol II", "Protocol III", "λ×η grid"):
        assert title in text
