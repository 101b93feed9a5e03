"""A model that was trained elsewhere: evaluated, saved, and in every table like any other."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import benchmark
from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.metrics import evaluate as metrics_of
from benchmark.records import PREDICTIONS, RunStore
from benchmark.table import to_bytes
from protocols.regimes import ELSEWHERE
from reports.build import build
from tests.batches import WIDTHS, make_dataset
from tests.records import make_record
from tests.stranger.model import trained
from tests.tiny import benchmark as command

STRANGER = Path(__file__).parent / "stranger" / "model.py"
SMALL = {"draws": 1, "protocol": "all"}


@pytest.fixture(scope="module")
def data():
    return make_dataset()


def stranger(seed: int = 0) -> torch.nn.Module:
    return trained(*WIDTHS.values(), seed=seed)


def test_the_stranger_imports_nothing_of_ours() -> None:
    tree = ast.parse(STRANGER.read_text())
    found = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    found += [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    assert {name.split(".")[0] for name in found} == {"torch"}


def test_a_strangers_landscape_in_a_few_lines(data, tmp_path) -> None:
    model = stranger()
    result = benchmark.evaluate(model, dataset=data, name="Their GRU", **SMALL)
    result.landscape("mae").savefig(tmp_path / "landscape.pdf")
    result.save(tmp_path / "runs")
    assert (tmp_path / "landscape.pdf").stat().st_size > 1000
    assert model.training  # as it came


def test_its_numbers_are_its_own_predictions(data) -> None:
    model = stranger()
    result = benchmark.evaluate(model, dataset=data, name="Their GRU", protocol="I")
    test = data.splits["test"].samples
    with torch.inference_mode():
        answers = model.eval()(test).numpy()
        test.features["audio"].numpy()  # what is missing is zero:
        without = {**test.features, "audio": torch.zeros_like(test.audio)}
        fewer = model(type(test)(without, test.masks, test.available)).numpy()
    frame = result.metrics.set_index(["protocol", "available", "metric"])["value"]
    for available, predicted in (("tav", answers), ("tv", fewer)):
        expected = metrics_of("regression", predicted, test.label.numpy())
        assert frame["I", available, "mae"].item() == pytest.approx(expected["mae"], abs=1e-6)
        assert frame["I", available, "corr"].item() == pytest.approx(expected["corr"], abs=1e-5)


def test_it_is_in_the_report_with_what_is_not_known(data, tmp_path) -> None:
    for seed in (1, 2, 3):
        benchmark.evaluate(stranger(seed), dataset=data, name="Their GRU", seed=seed, **SMALL).save(
            tmp_path / "runs"
        )
    (built,) = build(RunStore(tmp_path / "runs"), None, tmp_path / "report")
    (system,) = built.results.systems
    assert system.seeds == (1, 2, 3)
    page = built.index.read_text()
    assert f"Their GRU · {ELSEWHERE}" in page
    tables = [path.read_text() for path in built.tables if path.suffix == ".md"]
    assert any("leaderboard" in path.name for path in built.tables)
    with_it = [text for text in tables if "Their GRU" in text]
    assert len(with_it) >= 5
    assert all(ELSEWHERE.lower() in text.lower() for text in with_it)


def test_a_registered_checkpoint_gives_the_bytes_of_its_run(data_dir, tmp_path) -> None:
    from tests.test_predict_command import trained as run

    record = run(data_dir, tmp_path / "runs", "tiny")
    before = (record.path / PREDICTIONS).read_bytes()
    checkpoint = benchmark.load_checkpoint(record.path)
    result = benchmark.evaluate(
        checkpoint, dataset="tiny", data_dir=data_dir, protocol="I", draws=3
    )
    assert result.spec.run_id == record.run_id
    assert to_bytes(result.table) == before
    assert (result.save(tmp_path / "runs").path / PREDICTIONS).read_bytes() == before
    done = command("evaluate", record.path, "--dataset", "tiny", "--data-dir", data_dir,
                   "--runs-dir", tmp_path / "runs", "--draws", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(RunStore(tmp_path / "runs").record(record.run_id).table.conditions) > 57


class Branches:
    """Independent branches, and a call that is their fusion."""

    def encode(self, modality, features, mask):
        return features.sum((1, 2)) / mask.sum(1)

    def fuse(self, encoded):
        return 0.1 * (encoded["text"] + encoded["audio"] - encoded["vision"])

    def __call__(self, batch):
        return self.fuse({m: self.encode(m, x, batch.masks[m]) for m, x in batch.features.items()})


FORMS = {
    "tensor": Branches().__call__,
    "array": lambda batch: Branches()(batch).double().numpy(),
    "mapping": lambda batch: {"prediction": Branches()(batch), "log_variance": None},
    "branches": Branches(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_table(data, form) -> None:
    plain = benchmark.evaluate(FORMS["tensor"], dataset=data, name="x", **SMALL)
    other = benchmark.evaluate(FORMS[form], dataset=data, name="x", **SMALL)
    assert other.table.conditions == plain.table.conditions
    assert np.allclose(other.table.prediction, plain.table.prediction, atol=1e-6)


def test_uncertainty_and_reliability_are_kept(data) -> None:
    def predict(batch):
        there = batch.masks["text"].float().mean(1)
        return {
            "prediction": there,
            "log_variance": -there,
            "reliability": torch.sigmoid(torch.stack([there] * 3, 1)),
        }

    table = benchmark.evaluate(predict, dataset=data, name="x", protocol="clean").table
    assert np.array_equal(table.log_variance, -table.prediction)
    assert table.reliability.shape == (1, len(table.label), 3)


def _writes(batch):
    batch.text.mul_(2)
    return batch.text.mean((1, 2))


def _neighbour(batch):
    x = batch.text.mean((1, 2))
    return x - x.mean()


def _interrupts(batch):
    raise KeyboardInterrupt


WRONG = {
    "has shape": lambda batch: batch.text.mean((1, 2))[:, None],
    "not finite": lambda batch: batch.text.mean((1, 2)) / batch.available.sum(1).ne(0).float(),
    "batches of 1": _neighbour,
    "writes into the batch": _writes,
    "repeated is another": lambda batch: torch.rand(len(batch)),
    r"RuntimeError: .*\(test_evaluate.py:\d+\)": lambda batch: batch.text @ batch.audio,
    r"model raises SystemExit: 0 \(test_evaluate.py:\d+\)": lambda batch: sys.exit(0),
    "model raises KeyboardInterrupt": _interrupts,
    "holds answer": lambda batch: {"answer": batch.text.mean((1, 2))},
    "no tensor or array": lambda batch: ["a"] * len(batch),
    "is a class": Branches,
    "neither a callable": 3,
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_no_prediction_is_refused(data, said) -> None:
    with pytest.raises(BenchmarkError, match=said):
        benchmark.evaluate(WRONG[said], dataset=data, name="x", **SMALL)


def test_names_that_do_not_exist(data) -> None:
    for said, options in (
        ("give the model a name", {"dataset": data}),
        ("unknown protocol", {"dataset": data, "name": "x", "protocol": "IV"}),
        ("draw", {"dataset": data, "name": "x", "drws": 2}),
        ("unknown data set", {"dataset": "mosy", "name": "x"}),
    ):
        with pytest.raises(BenchmarkError, match=said):
            benchmark.evaluate(stranger(), **options)
    result = benchmark.evaluate(stranger(), dataset=data, name="x", protocol="I")
    with pytest.raises(BenchmarkError, match="grid"):
        result.landscape()


def test_identity_is_name_version_and_predictions(data, tmp_path) -> None:
    def evaluated(model, **options):
        return benchmark.evaluate(model, **{"dataset": data, "name": "A", **SMALL, **options})

    first = evaluated(stranger())
    assert evaluated(stranger()).spec.run_id == first.spec.run_id
    assert evaluated(stranger(), protocol="I").spec.run_id == first.spec.run_id
    for other in ({"name": "B"}, {"version": "2"}, {"seed": 1}):
        assert evaluated(stranger(), **other).spec.run_id != first.spec.run_id
    record = evaluated(stranger(), protocol="I").save(tmp_path)
    assert first.save(tmp_path).path == record.path
    again = RunStore(tmp_path).record(record.run_id)
    assert set(again.metrics["protocol"]) == {"clean", "I", "II", "III", "grid"}
    with pytest.raises(BenchmarkError, match="give another version"):
        evaluated(stranger(5)).save(tmp_path)
    evaluated(stranger(5), version="2").save(tmp_path)
    assert len(RunStore(tmp_path).survey().records) == 2


def test_a_degraded_answer_that_changed_is_another_model(data, tmp_path) -> None:
    """Two models may agree on clean input, of which the identity is made."""
    benchmark.evaluate(stranger(), dataset=data, name="A", protocol="I").save(tmp_path)
    model = stranger()

    def other(batch):
        return model.eval()(batch) + (batch.audio == 0).all(2).all(1)

    changed = benchmark.evaluate(other, dataset=data, name="A", protocol="I")
    with pytest.raises(BenchmarkError, match="other predictions"):
        changed.save(tmp_path)


def test_a_record_without_training_is_no_checkpoint(data, tmp_path) -> None:
    record = benchmark.evaluate(stranger(), dataset=data, name="A", protocol="I").save(tmp_path)
    assert RunStore(tmp_path).survey().problems == {}
    with pytest.raises(BenchmarkError, match="trained elsewhere"):
        benchmark.load_checkpoint(record.path)
    (record.path / "metrics.json").unlink()
    assert "metrics.json" in RunStore(tmp_path).survey().problems[record.run_id].brief


def test_the_command(tmp_path) -> None:
    (tmp_path / "mine.py").write_text("def predict(batch):\n    return batch.text.mean((1, 2))\n")
    arguments = ("--dataset", "synthetic-tiny", "--protocol", "I", "--name", "Mine")
    done = command("evaluate", "mine:predict", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Mine on synthetic-tiny" in done.stdout
    (record,) = RunStore(tmp_path / "runs").records()
    data = load_dataset("synthetic-tiny")
    expected = data.splits["test"].samples.text.mean((1, 2)).numpy()
    row = record.table.conditions.index(max(record.table.conditions))
    assert np.allclose(record.table.prediction[row], expected, atol=1e-6)
    for said, target in (("AttributeError", "mine:nothing"), ("neither", "mine")):
        done = command("evaluate", target, *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_results_are_one_frame_of_all_records(data, tmp_path) -> None:
    runs = tmp_path / "runs"
    first = benchmark.evaluate(stranger(), dataset=data, name="A", **SMALL)
    first.save(runs)
    make_record(RunStore(runs), dataset="other")
    frame = benchmark.results(runs)
    assert set(frame["dataset"]) == {data.name, "other"}
    mine = frame[(frame["model"] == "A") & (frame["quantity"] == "value")]
    for row in first.metrics[first.metrics["protocol"] == "grid"].itertuples():
        same = mine[
            (mine["protocol"] == "grid")
            & (mine["metric"] == row.metric)
            & (mine["intensity"] == row.intensity)
            & (mine["rate"] == row.rate)
        ]
        assert same["value"].item() == pytest.approx(row.value, nan_ok=True)
    assert set(benchmark.results(runs, "other")["dataset"]) == {"other"}
    (runs / first.spec.run_id / "metrics.json").unlink()
    with pytest.warns(UserWarning, match=r"left out: .*metrics\.json"):
        benchmark.results(runs)


def test_importing_costs_nothing() -> None:
    code = "import sys, benchmark; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ},
        check=True,
    )
    assert done.stdout.strip() == "[]"
    line = next(x for x in done.stderr.splitlines() if x.endswith(" benchmark"))
    assert int(line.split("|")[1]) < 300_000  # microseconds
