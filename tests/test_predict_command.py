"""Predictions for new samples: from raw features, with the checkpoint and nothing of the data."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmark.checkpoint import load_checkpoint
from benchmark.commands.predict import fit_for_a_sheet, predict
from benchmark.data.inputs import InputForm
from benchmark.data.registry import load_dataset
from benchmark.errors import BenchmarkError
from benchmark.execution.execute import execute
from benchmark.plan import PlanConfig, plan_conditions, plan_runs
from benchmark.records import RunRecord, RunStore
from protocols.conditions import at_level
from protocols.modalities import MODALITIES

SMALL = {"width": 16, "encoder_heads": 2}


def trained(data_dir: Path, runs: Path, name: str) -> RunRecord:
    request = PlanConfig(
        dataset=name,
        models=("qamoe",),
        regimes=("spectrum",),
        seeds=(1,),
        protocol="I",
        model=SMALL,
        training={"epochs": 2},
    )
    dataset = load_dataset(name, data_dir)
    (spec,) = plan_runs(request, dataset)
    execute(spec, dataset, plan_conditions(request, dataset), RunStore(runs), lambda event: None)
    return RunStore(runs).record(spec.run_id)


@pytest.fixture(scope="module")
def runs(data_dir, tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def record(data_dir, runs) -> RunRecord:
    return trained(data_dir, runs, "tiny")


@pytest.fixture(scope="module")
def package(data_dir) -> dict:
    """The raw package that ``tiny`` was imported from."""
    return pickle.loads((data_dir.parent / "tiny.pkl").read_bytes())


def row(record: RunRecord, mask: int) -> np.ndarray:
    return record.table.prediction[record.table.row(at_level("seed_a1", 0, 0.0, mask))]


def raw(split: dict) -> tuple[dict, dict]:
    return {m: split[m] for m in MODALITIES}, {m: split[f"{m}_lengths"] for m in MODALITIES}


def test_raw_features_give_the_predictions_of_the_table(record, package) -> None:
    """The table was made from the imported, standardised data."""
    features, lengths = raw(package["test"])
    model = load_checkpoint(record.path)
    table = model.predict(features, lengths, package["test"]["id"])
    assert table.index.tolist() == list(record.table.sample_ids)
    assert np.allclose(table["prediction"], row(record, 7), atol=1e-6)
    clean = record.table.row(at_level("seed_a1", 0, 0.0, 7))
    assert np.allclose(table["std"], np.exp(record.table.log_variance[clean] / 2), rtol=1e-5)
    for k, m in enumerate(MODALITIES):
        expected = record.table.reliability[clean, :, k]
        assert np.allclose(table[f"reliability_{m}"], expected, atol=1e-6)


@pytest.mark.parametrize("how", ["absent", "none", "zero"])
def test_a_missing_modality_is_the_tables_row_without_it(record, package, how) -> None:
    features, lengths = raw(package["test"])
    if how == "absent":
        del features["audio"]
    else:
        features["audio"] = None if how == "none" else np.zeros_like(features["audio"])
    table = load_checkpoint(record.path).predict(features, lengths)
    assert set(table["available"]) == {"tv"}
    assert np.allclose(table["prediction"], row(record, 0b101), atol=1e-6)


def test_missing_for_some_samples_only(record, package) -> None:
    features, lengths = raw(package["test"])
    features["text"] = features["text"].copy()
    features["text"][::2] = 0
    table = load_checkpoint(record.path).predict(features, lengths)
    assert table["available"].tolist()[:4] == ["av", "tav", "av", "tav"]
    assert np.allclose(table["prediction"][::2], row(record, 0b110)[::2], atol=1e-6)
    assert np.allclose(table["prediction"][1::2], row(record, 7)[1::2], atol=1e-6)


def test_fewer_steps_and_one_sample(record, package) -> None:
    features, lengths = raw(package["test"])
    longest = lengths["text"][3]
    short = {m: x[3:4] for m, x in features.items()}
    short["text"] = short["text"][:, :longest]
    table = load_checkpoint(record.path).predict(short, {m: x[3:4] for m, x in lengths.items()})
    assert np.allclose(table["prediction"], row(record, 7)[3], atol=1e-6)


def test_what_does_not_fit_is_said(record, package) -> None:
    features, _ = raw(package["test"])
    model = load_checkpoint(record.path)
    wrong = {
        "no features": {},
        "numbers of samples differ": {**features, "audio": features["audio"][:3]},
        "channels": {**features, "audio": features["audio"][:, :, :2]},
        "up to": {"text": np.ones((2, 99, features["text"].shape[2]))},
        r"\(N, T, d\)": {"text": np.ones(3)},
    }
    for said, given in wrong.items():
        with pytest.raises(BenchmarkError, match=said):
            model.predict(given)
    with pytest.raises(BenchmarkError, match=r"inputs\.json"):
        load_checkpoint(record.path.parent)


def test_keys_and_values_that_no_model_knows(record, package) -> None:
    features, _ = raw(package["test"])
    far = {m: x.astype(np.float64) for m, x in features.items()}
    far["audio"][3, 0, 0] = 1e38
    audio, vision = features.pop("audio"), features.pop("vision")
    wrong = {
        "unknown key 'speech'. Did you mean audio": {**features, "speech": audio},
        "unknown key 'video'. Did you mean vision": {**features, "video": vision},
        "'vison'. Did you mean vision": {**features, "vison": vision},
        "has no samples": {m: x[:0] for m, x in features.items()},
        r"audio: row 3 \(id '3'\) reaches": far,
    }
    for said, given in wrong.items():
        with pytest.raises(BenchmarkError, match=said):
            load_checkpoint(record.path).predict(given)


def test_ids_and_names_of_classes_are_no_formulas() -> None:
    index = pd.Index(["=1+1", "-3", "a"], name="id")
    table = pd.DataFrame({"prediction": ["@x", "b", "c"], "probability_@x": [-0.5, 1, 2]}, index)
    shown = fit_for_a_sheet(table)
    assert shown.index.tolist() == ["'=1+1", "-3", "a"]
    assert shown["prediction"].tolist() == ["'@x", "b", "c"]
    assert shown["probability_@x"].tolist() == [-0.5, 1, 2]
    assert shown.index.name == "id"


def test_classes_have_probabilities(data_dir, tmp_path) -> None:
    record = trained(data_dir, tmp_path, "tiny-cls")
    package = pickle.loads((data_dir.parent / "tiny-cls.pkl").read_bytes())
    features, lengths = raw(package["test"])
    table = load_checkpoint(record.path).predict(features, lengths)
    shares = table[[f"probability_{k}" for k in range(3)]].to_numpy()
    assert np.allclose(shares.sum(1), 1, atol=1e-6)
    logits = row(record, 7)
    assert np.allclose(np.log(shares) - np.log(shares[:, :1]), logits - logits[:, :1], atol=1e-4)
    assert table["prediction"].tolist() == [str(k) for k in logits.argmax(1)]


def test_the_form_of_the_inputs_survives_the_file(data_dir) -> None:
    form = InputForm.of(load_dataset("tiny", data_dir))
    again = InputForm.from_json(form.to_json())
    assert again.to_json() == form.to_json()
    assert again.spec == form.spec
    assert form.scales.keys() == {"audio", "vision"}


def test_the_command_reads_every_form(record, runs, package, tmp_path, capsys) -> None:
    def answered(path: Path, **options) -> pd.DataFrame:
        predict(record.run_id, path, runs_dir=runs, device="cpu", **options)
        return pd.read_csv(io.StringIO(capsys.readouterr().out), index_col="id")

    pickled = tmp_path / "all.pkl"
    pickled.write_bytes(pickle.dumps(package))
    assert len(answered(pickled)) == sum(len(split["id"]) for split in package.values())
    test = answered(pickled, split="test")
    assert set(test["split"]) == {"test"}
    assert np.allclose(test["prediction"], row(record, 7), atol=1e-5)
    features, lengths = raw(package["test"])
    flat = {**features, **{f"{m}_lengths": np.array(x) for m, x in lengths.items()}}
    np.savez(tmp_path / "flat.npz", **flat)
    assert np.allclose(answered(tmp_path / "flat.npz")["prediction"], test["prediction"])
    out = tmp_path / "out.csv"
    predict(record.run_id, tmp_path / "flat.npz", runs_dir=runs, out=out, device="cpu")
    assert np.allclose(pd.read_csv(out)["prediction"], test["prediction"])
    listed = tmp_path / "list.pkl"
    listed.write_bytes(pickle.dumps([1, 2]))
    np.savez(tmp_path / "id.npz", **features, id=np.array("one"))
    (tmp_path / "garbage.npz").write_bytes(b"garbage" * 99)
    for said, arguments, options in (
        ("no split 'tset'", (record.run_id, pickled), {"split": "tset"}),
        ("no record of run", ("0" * 12, pickled), {}),
        ("no such file", (record.run_id, tmp_path / "none.npz"), {}),
        ("is no run id", (f"../{runs.name}/{record.run_id}", pickled), {}),
        ("holds a list", (record.run_id, listed), {}),
        ("one id per sample|numbers of samples", (record.run_id, tmp_path / "id.npz"), {}),
        ("no .npz file", (record.run_id, tmp_path / "garbage.npz"), {}),
        ("cannot write", (record.run_id, pickled), {"out": tmp_path / "no" / "out.csv"}),
    ):
        with pytest.raises(BenchmarkError, match=said):
            predict(*arguments, runs_dir=runs, device="cpu", **options)


def test_labelled_samples_are_scored(record, runs, package, tmp_path, capsys) -> None:
    path = tmp_path / "labelled.pkl"
    path.write_bytes(pickle.dumps(package))
    out = tmp_path / "out.csv"
    predict(record.run_id, path, runs_dir=runs, out=out, device="cpu")
    said = capsys.readouterr().out
    table = pd.read_csv(out)
    for split, values in package.items():
        part = table[table["split"] == split]
        label = np.asarray(values["regression_labels"])
        assert np.allclose(part["label"], label)
        assert np.allclose(part["error"], part["prediction"] - label)
        assert f"{split}: {len(label)} labelled samples" in said
        assert f"{np.abs(part['prediction'] - label).mean():.4f}" in said
        assert f"{np.corrcoef(part['prediction'], label)[0, 1]:.4f}" in said
    predict(record.run_id, path, runs_dir=runs, device="cpu")  # the CSV alone is on the output
    streams = capsys.readouterr()
    assert len(pd.read_csv(io.StringIO(streams.out))) == len(table)
    assert "labelled samples" in streams.err
    package = {**package, "test": {**package["test"]}}
    label = package["test"]["regression_labels"].copy()
    label[2] = np.nan
    package["test"]["regression_labels"] = label
    path.write_bytes(pickle.dumps(package))
    with pytest.raises(BenchmarkError, match="regression_labels: row 2"):
        predict(record.run_id, path, runs_dir=runs, device="cpu")


def test_classes_have_figures_of_their_own(data_dir, tmp_path, capsys) -> None:
    from sklearn.metrics import precision_recall_fscore_support

    from benchmark.scoring import per_class

    record = trained(data_dir, tmp_path, "tiny-cls")
    path = data_dir.parent / "tiny-cls.pkl"
    out = tmp_path / "out.csv"
    predict(record.run_id, path, split="test", runs_dir=tmp_path, out=out, device="cpu")
    said = capsys.readouterr().out
    table = pd.read_csv(out)
    assert set(table["error"]) <= {0, 1}
    assert f"{1 - table['error'].mean():.4f}" in said  # the accuracy
    checkpoint = load_checkpoint(record.path)
    found = per_class(table, table["label"].to_numpy(), checkpoint.form)
    expected = precision_recall_fscore_support(
        table["label"], table["prediction"], labels=[0, 1, 2], zero_division=np.nan
    )
    for column, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        assert np.allclose(found[column], values, equal_nan=True), column
    assert "precision" in said
