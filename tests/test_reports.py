"""Reading records, what cannot be used, and the report on disk."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.errors import BenchmarkError
from benchmark.records import METRICS, PREDICTIONS, RunStore
from benchmark.seal import sealed, unsealed
from protocols.conditions import Condition
from protocols.regimes import Regime
from protocols.settings import AnySettings
from reports.build import build
from reports.figures.drawing import Drawn, drawn
from reports.figures.look import PAGE
from reports.figures.style import drawing, line_styles
from reports.pictures import with_intervals, without_intervals
from reports.results import load
from reports.tables.robustness import main_table
from tests.report_records import (
    JOINT,
    LABEL,
    add,
    cell,
    make_spec,
    make_table,
    off_by,
    one,
    sources,
)


def test_two_settings_of_a_model_never_share_a_cell(store: RunStore) -> None:
    specs = [
        make_spec("qamoe", config={"topk": 3}),
        make_spec("qamoe", config={"topk": 4}),
        make_spec("qamoe", config={"topk": 3}, training={"epochs": 9}),
        make_spec("qamoe", config={"topk": 3}, seed=2),
        make_spec("qamoe", Regime(kind="missing", rate=0.3), config={"topk": 3}),
        make_spec("qamoe", Regime(kind="spectrum", scope="sample"), config={"topk": 3}),
    ]
    for spec in specs:
        add(store, spec, make_table(LABEL, off_by(0.5)))
    systems = {system.label: system.seeds for system in one(store).systems}
    assert systems == {
        "QA-MoE · clean (epochs=3)": (1, 2),
        "QA-MoE · clean (epochs=9)": (1,),
        "QA-MoE · clean (topk=4)": (1,),
        "QA-MoE · spectrum (scope=sample)": (1,),
        "QA-MoE · missing-0.3": (1,),
    }
    assert len({system.key for system in one(store).systems}) == len(systems)


def test_data_of_one_name_and_different_content_are_refused(store: RunStore) -> None:
    runs = [add(store, make_spec(sha=c * 64), make_table(LABEL, off_by(0.5))) for c in "ab"]
    with pytest.raises(BenchmarkError, match="2 different contents") as caught:
        load(store, "toy")
    assert all(run.run_id in str(caught.value) for run in runs)


def test_changed_test_samples_are_refused(store: RunStore) -> None:
    add(store, make_spec(seed=1), make_table(LABEL, off_by(0.5)))
    add(store, make_spec(seed=2), make_table(LABEL[::-1], off_by(0.5)))
    with pytest.raises(BenchmarkError, match="different test samples"):
        load(store, None)


def test_what_cannot_be_used_is_told(store: RunStore, tmp_path: Path) -> None:
    table = make_table(LABEL, off_by(0.5))
    runs = {name: add(store, make_spec(name), table) for name in ("alpha", "half", "bad", "json")}
    (runs["half"].path / METRICS).unlink()
    (runs["bad"].path / PREDICTIONS).write_bytes(b"not a table")
    (runs["json"].path / METRICS).write_text("{")
    failed = store.partial("f" * 12)
    failed.mkdir(parents=True)
    (failed / "error.txt").write_text("Traceback\nValueError: boom\n")
    store.partial("e" * 12).mkdir()
    results = one(store)
    assert [system.label for system in results.systems] == ["Alpha · clean"]
    assert results.problems[runs["half"].run_id] == "metrics.json: it is missing"
    assert results.problems[runs["bad"].run_id].startswith("predictions.npz: ")
    assert results.problems[runs["json"].run_id].startswith("metrics.json: ")
    assert results.problems["f" * 12] == "failed: ValueError: boom"
    assert results.problems["e" * 12] == "interrupted"
    (built,) = build(store, None, tmp_path / "out")
    page = built.index.read_text()
    assert "Runs that are not in this report" in page
    assert all(run_id in page for run_id in results.problems)


def test_stale_metrics_are_made_again_from_the_table(store: RunStore) -> None:
    run = add(store, make_spec(), make_table(LABEL, off_by(0.5)))
    content = unsealed(json.loads((run.path / METRICS).read_text()))
    content["versions"]["metric"] = -1
    content["rows"][0]["mae"] = 99.0
    (run.path / METRICS).write_text(json.dumps(sealed(content)))
    table = main_table(sources(one(store)), ("seed_a1", "bernoulli", JOINT))
    assert cell(table, "Alpha · clean", "MAE ↓", "Clean test").value == pytest.approx(0.5, abs=1e-6)


def test_no_records_says_what_to_run(store: RunStore) -> None:
    with pytest.raises(BenchmarkError, match=r"no records in .*benchmark run --runs-dir"):
        load(store)
    add(store, make_spec(), make_table(LABEL, off_by(0.5)))
    with pytest.raises(BenchmarkError, match=r"'mosi'.*records of: toy.*run --dataset mosi"):
        load(store, "mosi")


def test_a_model_is_named_by_its_records(store: RunStore) -> None:
    """None of these is installed."""
    plain = make_spec("gone", config={"width": 8, "depth": 2})
    plain = replace(plain, title="Gone", source="reconstruction", changes={})
    wide = replace(plain, config=AnySettings(width=16, depth=2), changes={"model.width": 16})
    for spec in (plain, wide, make_spec("older")):
        add(store, spec, make_table(LABEL, off_by(0.5)))
    assert {system.label: system.plain for system in one(store).systems} == {
        "Gone (reconstruction) · clean": True,
        "Gone (reconstruction) · clean (width=16)": False,
        "older · clean": True,
    }


def test_versions_of_one_model_are_two_systems(store: RunStore) -> None:
    for version in (1, 2):
        spec = replace(make_spec("alpha"), version=version)
        add(store, spec, make_table(LABEL, off_by(0.1 * version)))
    assert {system.label for system in one(store).systems} == {
        "Alpha · clean (model version=1)",
        "Alpha · clean (model version=2)",
    }


def test_runs_of_an_unversioned_model_are_averaged_only_where_its_source_is_the_same(
    store: RunStore,
) -> None:
    facts = {"version": None, "source_sha256": "1" * 64}
    for seed in (1, 2):
        add(store, make_spec("alpha", seed=seed), make_table(LABEL, off_by(0.1)), model=facts)
    assert [len(system.records) for system in one(store).systems] == [2]
    changed = {**facts, "source_sha256": "2" * 64}
    add(store, make_spec("alpha", seed=3), make_table(LABEL, off_by(0.1)), model=changed)
    with pytest.raises(BenchmarkError, match=r"no version.*give the card a version"):
        one(store)


def test_the_report_is_complete_on_disk(store: RunStore, tmp_path: Path) -> None:
    def predict(condition: Condition, y: np.ndarray) -> np.ndarray:
        return y * (0.4 + condition.mask / 14) * (1 - abs(condition.intensity) / 2)

    for regime in ("clean", "spectrum"):
        table = make_table(LABEL, predict)
        add(store, make_spec(regime=regime), table, synthetic=True, floors={"mean": 0.5})
    (built,) = build(store, "toy", tmp_path)
    assert built.folder == tmp_path / "toy"
    stems = {path.stem for path in built.tables}
    assert {"table5-protocol-iii-seed-a1", "table2-protocol-i-fixed", "table1-clean"} <= stems
    assert {"table4-protocol-ii-seed-a1", "table8-grid-seed-a1-acc7-alpha-spectrum"} <= stems
    assert len(built.tables) == 4 * len(stems)
    magic = {".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert {path.suffix for path in built.figures} == set(magic)
    for path in built.figures:
        assert path.read_bytes().startswith(magic[path.suffix])
        assert path.stat().st_size > 5000
    assert built.headline == tmp_path / "toy/figures/figures3-6-landscapes-seed-a1-mae.png"
    page = built.index.read_text()
    assert "Synthetic data" in page
    for path in built.figures:
        assert f"figures/{path.stem}" in page
    for record in built.results.records:
        assert record.run_id in page
    assert built.results.data_sha256 in page
    with (tmp_path / "toy/tables/table5-protocol-iii-seed-a1.csv").open() as file:
        rows = list(csv.DictReader(file))
    measured = built.results.frame
    clean = measured[(measured["protocol"] == "clean") & (measured["regime"] == "clean")]
    found = [r for r in rows if (r["row"], r["column"]) == ("Alpha · clean", "MAE ↓")]
    assert float(found[0]["value"]) == pytest.approx(clean["mae"].item())


def test_the_same_records_give_the_same_files(store: RunStore, tmp_path: Path) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5)))
    first, second = (build(store, None, tmp_path / name)[0] for name in "ab")
    for one_file, other in zip(first.figures, second.figures, strict=True):
        assert one_file.read_bytes() == other.read_bytes()
    assert first.index.read_text() == second.index.read_text()


def test_a_folder_that_cannot_be_written_is_an_error_of_the_user(
    store: RunStore, tmp_path: Path
) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5), protocols=["I"]))
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchmarkError, match="cannot write the report"):
        build(store, None, tmp_path / "file")


def test_a_report_reads_records_only(store: RunStore, tmp_path: Path) -> None:
    """No model, and so no torch: it would be a fifth of a small report's time, whether the runs are
    tracked or not. What draws is loaded while systems are measured, and not before."""
    add(store, make_spec(), make_table(LABEL, off_by(0.5)))
    code = (
        "import sys; from pathlib import Path; from benchmark.records import RunStore;"
        "from reports.command import report; import reports.attach, reports.build, reports.choice;"
        "import benchmark.tracking.fetch, benchmark.tracking.sync;"
        "print(sorted({'matplotlib', 'scipy.interpolate', 'fontTools'} & set(sys.modules)));"
        f"report(runs_dir=Path({str(store.root)!r}), out=Path({str(tmp_path / 'r')!r}),"
        " tracking_uri='none');"
        "print(sorted({'torch', 'mlflow', 'optuna', 'baselines', 'qamoe'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.splitlines()[0], done.stdout.splitlines()[-1]) == ("[]", "[]")


def test_the_command_prints_the_main_numbers(store: RunStore, tmp_path: Path) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5), protocols=["I", "III"]))
    options = [
        "--runs-dir",
        str(store.root),
        "--out",
        str(tmp_path / "r"),
        "--tracking-uri",
        "none",
    ]
    done = CliRunner().invoke(app, ["report", *options], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    assert "Alpha · clean" in done.output
    assert "0.500" in done.output
    assert (tmp_path / "r/toy/index.html").is_file()


def test_a_tracking_store_that_fails_is_said_once_and_costs_no_report(
    store: RunStore, tmp_path: Path
) -> None:
    """It is asked late, while figures are drawn; an address that is none is told before."""
    add(store, make_spec(), make_table(LABEL, off_by(0.5)))
    (store.root / "mlflow.db").write_bytes(b"no database" * 100)
    options = ["report", "--runs-dir", str(store.root), "--out", str(tmp_path / "r")]
    done = CliRunner().invoke(app, options, env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    assert done.output.count("file is not a database") == 1
    assert (tmp_path / "r/toy/index.html").is_file()
    wrong = CliRunner().invoke(
        app, [*options, "--out", str(tmp_path / "s"), "--tracking-uri", "http://"]
    )
    assert isinstance(wrong.exception, BenchmarkError)
    assert "no address" in str(wrong.exception)
    assert not (tmp_path / "s").exists()


def test_lines_are_told_apart_by_model_and_by_regime(store: RunStore) -> None:
    for spec in (
        make_spec("alpha"),
        make_spec("alpha", "spectrum"),
        make_spec("beta"),
        make_spec("qamoe", config={"topk": 3}),
        make_spec("qamoe", config={"topk": 4}),
    ):
        add(store, spec, make_table(LABEL, off_by(0.5), protocols=["I"]))
    systems = one(store).systems
    styles = [line_styles(systems)[system.key] for system in systems]
    assert len({tuple(style.values()) for style in styles}) == 5
    assert styles[0]["color"] == styles[1]["color"]
    assert styles[0]["linestyle"] != styles[1]["linestyle"]
    assert len({style["marker"] for style in styles}) == 4


def test_figures_written_by_children_are_those_written_here(
    store: RunStore, tmp_path: Path
) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5), protocols=["grid"]))
    measured = sources(one(store))
    jobs = [*without_intervals(measured), *with_intervals(measured)]
    written = []
    for count in (1, 3):
        folder = tmp_path / str(count)
        folder.mkdir()
        with drawing(), drawn(jobs, folder, count) as pictures_of:
            pictures = pictures_of()
        files = sorted(folder.iterdir())
        assert {p.name for p in files} == {p.name + s for p in pictures for s in PAGE.suffixes}
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]


def test_a_child_that_cannot_write_is_the_users_error(store: RunStore, tmp_path: Path) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5), protocols=["grid"]))
    jobs = without_intervals(sources(one(store)))
    with (
        drawing(),
        drawn(jobs, tmp_path / "nowhere", 9) as pictures,
        pytest.raises(OSError, match="nowhere"),
    ):
        pictures()


def test_what_a_killed_child_leaves_is_drawn_here(store: RunStore, tmp_path: Path) -> None:
    add(store, make_spec(), make_table(LABEL, off_by(0.5), protocols=["grid"]))
    here = os.getpid()

    def deadly() -> Iterator[Drawn]:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        yield from without_intervals(sources(one(store)))[0]()

    with drawing(), drawn([deadly, deadly], tmp_path, 2) as pictures:
        names = {picture.name for picture in pictures()}
    assert {path.stem for path in tmp_path.glob("*.png")} == names != set()
