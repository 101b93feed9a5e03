"""``check`` says what is in a data set and what is odd; the commands print it."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from benchmark.data.cards import known_cards, named, recognise
from benchmark.data.check import Check, check
from benchmark.data.checkview import render
from benchmark.data.commands import app
from benchmark.data.importer import import_package
from benchmark.errors import BenchmarkError
from tests.packages import SHAPES, SIZES, make_package, write_package


def checked(tmp_path: Path, data: Any, name: str = "mine") -> tuple[Check, str]:
    path = write_package(tmp_path / "package.pkl", data)
    import_package(path, name, tmp_path / "data", replace=True)
    found = check(tmp_path / "data", name)
    console = Console(file=io.StringIO(), width=200)
    console.print(render(found))
    output = console.file
    assert isinstance(output, io.StringIO)
    return found, output.getvalue()


def test_facts(tmp_path: Path) -> None:
    data = make_package()
    data["train"]["audio"][4] = 0
    data["train"]["audio_lengths"][4] = 0
    data["test"]["vision"][0, 0, 0] = np.nan
    data["test"]["regression_labels"][:2] = 0
    found, shown = checked(tmp_path, data)
    assert [s.count for s in found.splits] == list(SIZES.values())
    labels = data["test"]["regression_labels"]
    assert found.splits[2].label == pytest.approx(
        (labels.min(), labels.mean(), labels.std(), labels.max()), rel=1e-5, abs=1e-6
    )
    assert found.splits[2].zeros == (labels == 0).sum()
    assert found.splits[0].videos == {f"train{i}" for i in range(7)}
    assert [(f.modality, f.length, f.width) for f in found.modalities] == [
        (m, steps, width) for m, (steps, width) in SHAPES.items()
    ]
    audio, vision = found.modalities[1:]
    assert audio.missing == {"train": 1, "valid": 0, "test": 0}
    assert vision.nonfinite == {"train": 0, "valid": 0, "test": 1}
    lengths = [n for s in SIZES for n in data[s]["text_lengths"]]
    assert found.modalities[0].steps == (
        min(lengths),
        pytest.approx(np.mean(lengths), rel=1e-6),
        max(lengths),
    )
    for word in ("missing by nature in 1 of 36", "1 values were NaN or infinite", "package.pkl"):
        assert word in shown


def oddities(tmp_path: Path, data: Any, name: str = "mine") -> str:
    return "\n".join(checked(tmp_path, data, name)[0].oddities)


MOSI = {"train": 1284, "valid": 229, "test": 686}


def of_size(counts: dict[str, int], widths: tuple[int, int, int]) -> dict[str, dict[str, Any]]:
    """A package of one random step per sample, with these split sizes."""
    draw = np.random.default_rng(0)
    package = {}
    for split, n in counts.items():
        parts = zip(SHAPES, widths, strict=True)
        features = {m: draw.normal(size=(n, 1, d)).astype(np.float32) for m, d in parts}
        ids = [f"{split}{k // 9}$_${k % 9}" for k in range(n)]
        package[split] = {"id": ids, "regression_labels": draw.uniform(-3, 3, n), **features}
    return package


def test_widths_of_the_other_package(tmp_path: Path) -> None:
    """A set is known by its split sizes, whatever it is called."""
    found, shown = checked(tmp_path, of_size(MOSI, (768, 5, 20)), "whatever")
    said = "\n".join(found.oddities)
    assert "768/5/20: this is the MMSA package; the paper states 768/74/35" in said
    assert "known as CMU-MOSI by its split sizes" in shown
    assert "widths" not in oddities(tmp_path, of_size(MOSI, (768, 74, 35)), "whatever")
    assert "of no known package" in oddities(tmp_path, of_size(MOSI, (7, 5, 20)), "whatever")
    nearly = {**MOSI, "train": 1280}
    assert "train 1280 (standard 1284)" in oddities(tmp_path, of_size(nearly, (7, 5, 20)))


def test_a_name_alone_makes_no_known_set(tmp_path: Path) -> None:
    found, _ = checked(tmp_path, make_package(), "mosi-glove")
    assert found.known is None
    assert "its name says CMU-MOSI, its samples do not" in "\n".join(found.oddities)
    assert "name says" not in oddities(tmp_path, of_size(MOSI, (7, 5, 20)), "mosi-glove")
    assert named("mintrec2") != named("mintrec")
    assert named("my_mosi-v2") == ("mosi", known_cards()["mosi"])
    assert named("mosiac") is None


def test_odd_things(tmp_path: Path) -> None:
    data = make_package(shapes={"text": (1, 5), "audio": (8, 3)})
    for split in SIZES:
        data[split]["regression_labels"] = data[split]["regression_labels"] / 3
        data[split]["audio"][..., 2] = 0
    data["test"]["id"][0] = "train1$_$99"
    data["test"]["audio"][0, 0, 0] = 1e6
    said = oddities(tmp_path, data)
    assert "no vision" in said
    assert "text is one step per sample" in said
    assert "multiply by 3" in said
    assert "1 channels never change in train (2)" in said
    assert "1 videos are in train and in test ('train1', say)" in said
    assert "standard deviations out" in said


def test_what_the_import_noted_is_odd_enough(tmp_path: Path) -> None:
    data = make_package()
    _, plain = checked(tmp_path, data)
    assert "Nothing odd was found." in plain
    assert "label 0: how many are exactly 0" in plain
    assert "max |z|: the" in plain
    for split, count in SIZES.items():
        data[split]["regression_labels"] = np.full(count, 1.5)
    _, shown = checked(tmp_path, data, "constant")
    assert "every label is 1.5: a constant" in shown
    assert "Nothing odd" not in shown


def test_classes(tmp_path: Path) -> None:
    data = make_package(task="classification")
    data["test"]["classification_labels"][:] = 1
    found, shown = checked(tmp_path, data, "mintrec")
    assert found.splits[2].classes == (0, 9, 0)
    assert "test has no sample of class 0, 2" in shown
    assert "its name says MIntRec" in shown


@pytest.mark.parametrize("name", ["synthetic", "synthetic-intent"])
def test_synthetic(name: str) -> None:
    found = check(None, name)
    assert found.synthetic
    assert found.known is None
    assert found.oddities == ()


def test_cards() -> None:
    for key, card in known_cards().items():
        assert card.licence
        assert card.apply
        assert card.blemishes
        for package in card.packages:
            assert all(len(digest) == 64 for digest in package.sha256.values())
        for classes, total in card.totals.items():
            counts = card.splits or {"train": total - 2, "valid": 1, "test": 1}
            assert sum(counts.values()) == total
            found = recognise(counts, classes)
            assert found is not None
            assert found.key == key
            assert recognise(counts, classes + 100) is None
    assert recognise({"train": 1}, 1) is None
    published = known_cards()["sims"].packages[0].sha256["unaligned_39.pkl"]
    by_file = recognise({"train": 1}, 1, published)
    assert by_file is not None
    assert by_file.key == "sims"


def test_a_card_of_ones_own_travels_with_the_data(tmp_path: Path) -> None:
    path = write_package(tmp_path / "p.pkl", make_package())
    card = tmp_path / "card.yaml"
    card.write_text(
        "title: My Set\nlicence: with me\nblemishes: [one]\nsplits: {train: 21}\ntotals: {1: 9}"
    )
    runner = CliRunner(env={"BENCHMARK_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "160"})
    arguments = ["import", str(path), "--name", "mine"]
    assert runner.invoke(app, arguments).exit_code == 0
    later = runner.invoke(app, [*arguments, "--card", str(card)])
    assert later.exit_code == 0
    for command in ("check", "show"):
        shown = runner.invoke(app, [command, "mine"], catch_exceptions=False).output
        for word in ("My Set", "with me", "one"):
            assert word in shown
    assert "not My Set's standard split: train 20 (standard 21)" in "\n".join(
        check(tmp_path / "data", "mine").oddities
    )
    card.write_text("titel: My Set")
    wrong = runner.invoke(app, [*arguments, "--card", str(card)])
    assert "at title" in str(wrong.exception)


def test_the_card_of_a_known_set(tmp_path: Path) -> None:
    runner = CliRunner(env={"COLUMNS": "160"})
    shown = runner.invoke(app, ["show", "mosi"], catch_exceptions=False).output
    for word in ("1284/229/686", "78e0f8b5ef8f", "768/5/20", "Licence", "2WGyTLYerpo_44"):
        assert word in shown
    wrong = runner.invoke(app, ["show", "mosy"])
    assert "Did you mean mosi" in str(wrong.exception)


def test_the_list_shows_hashes_and_the_usual_counts(tmp_path: Path) -> None:
    path = write_package(tmp_path / "package.pkl", make_package(task="classification"))
    hashes = [
        import_package(path, name, tmp_path / "data").sha256[:8] for name in ("mintrec", "other")
    ]
    options = {"env": {"COLUMNS": "80"}, "catch_exceptions": False}
    shown = CliRunner().invoke(app, ["list", "--data-dir", str(tmp_path / "data")], **options)
    counts = "/".join(str(n) for n in SIZES.values())
    for word in (*hashes, counts, "1334/445/445", "5531 in all", "16326/1871/4659"):
        assert word in shown.output, shown.output


# --- the commands ---


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCHMARK_DATA_DIR", os.fspath(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "160")
    path = write_package(tmp_path / "package.pkl", make_package())
    runner = CliRunner()
    first = runner.invoke(app, ["import", str(path), "--name", "mine"])
    assert first.exit_code == 0, first.output
    for word in ("imported", "train 20, valid 7, test 9", "text 6 × 5", "data check mine"):
        assert word in first.output
    again = runner.invoke(app, ["import", str(path), "--name", "mine"])
    assert "nothing changed" in again.output
    other = runner.invoke(app, ["import", str(path), "--name", "mine", "--task", "classification"])
    assert isinstance(other.exception, BenchmarkError)
    looked = runner.invoke(app, ["check", "mine"])
    assert looked.exit_code == 0, looked.output
    assert "package.pkl" in looked.output
    listed = runner.invoke(app, ["list"])
    for word in ("synthetic-intent", "mine", "20/7/9", "5/3/2"):
        assert word in listed.output
    (tmp_path / "data/mine/manifest.json").write_text("{")
    assert "damaged" in runner.invoke(app, ["list"]).output


@pytest.mark.parametrize("folder", ["plain", "my data", "it's 100% [red]", "données :smile: $HOME"])
def test_the_next_command_can_be_pasted(tmp_path: Path, folder: str) -> None:
    path = write_package(tmp_path / "package.pkl", make_package())
    where = tmp_path / folder
    runner = CliRunner(env={"COLUMNS": "60"})
    arguments = ["import", str(path), "--name", "mine", "--data-dir", str(where)]
    shown = runner.invoke(app, arguments, catch_exceptions=False).output
    (line,) = [line for line in shown.splitlines() if "benchmark data check" in line]
    words = shlex.split(line, comments=True)
    assert words[:2] == ["benchmark", "data"]
    assert runner.invoke(app, words[2:]).exit_code == 0
    (where / "mine/manifest.json").write_text("{")
    said = str(runner.invoke(app, words[2:]).exception)
    again = shlex.split(said[said.index("benchmark data import") :])
    again[3] = str(path)
    assert runner.invoke(app, again[2:], catch_exceptions=False).exit_code == 0


def test_no_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCHMARK_DATA_DIR", raising=False)
    path = write_package(tmp_path / "package.pkl", make_package())
    done = CliRunner().invoke(app, ["import", str(path), "--name", "mine"])
    assert isinstance(done.exception, BenchmarkError)
    assert "--data-dir" in str(done.exception)


def test_help_is_quick() -> None:
    """Help must not pay for torch, numpy or pandas."""
    code = (
        "import sys, benchmark.data.commands\n"
        "heavy = {'torch', 'numpy', 'pandas', 'pydantic'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
