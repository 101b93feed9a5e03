"""``benchmark predict``: a run's predictions for new samples."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark import completion
from benchmark.errors import BenchmarkError
from benchmark.hygiene import csv_cell, printable
from benchmark.options import DEVICE, RUNS_DIR

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from benchmark.checkpoint import Checkpoint
    from benchmark.data.inputs import InputForm


def predict(
    run_id: Annotated[
        str,
        typer.Argument(
            help="The run, or how its id begins: benchmark list runs shows them.",
            autocompletion=completion.run_ids,
        ),
    ],
    features: Annotated[
        Path, typer.Argument(help="A feature package (.pkl, .npz, .safetensors); labels optional.")
    ],
    split: Annotated[
        str | None, typer.Option(help="Only this split of the package (default: all there are).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write (default: the terminal).")
    ] = None,
    runs_dir: RUNS_DIR = Path("runs"),
    device: DEVICE = "auto",
) -> None:
    """Predict new samples with a run's checkpoint, as CSV; where they have labels, score them.

    The file holds text, audio and vision as arrays (N, T, d), raw, as a data set's import takes
    them, and optionally id and *_lengths; or splits of these. What is absent, or zero for a whole
    sample, is missing. With regression_labels or classification_labels the metrics of each split
    are printed, and the CSV has a label and an error column.
    Example: benchmark predict 0123456789ab new.npz --out predictions.csv
    """
    from benchmark.checkpoint import load_checkpoint
    from benchmark.environment import choose_device
    from benchmark.records import RunStore

    store = RunStore(runs_dir)
    record = store.trained(store.find(run_id))
    _ = record.spec  # raises where the folder has another run's record
    checkpoint = load_checkpoint(record.path, str(choose_device(device)))
    table, scores = _predicted(checkpoint, features, split)
    for line in scores:
        typer.echo(line, err=out is None)
    if out is None:
        fit_for_a_sheet(table).to_csv(sys.stdout)
        return
    try:
        fit_for_a_sheet(table).to_csv(out)
    except OSError as error:
        raise BenchmarkError(f"cannot write {out}: {error.strerror or error}") from None
    typer.echo(f"{len(table)} predictions of {record.run_id}: {out}")


def fit_for_a_sheet(table: pd.DataFrame) -> pd.DataFrame:
    """The same with ids and class names that no spreadsheet runs."""
    texts = table.select_dtypes(exclude="number")
    return table.assign(**texts.map(csv_cell)).rename(columns=csv_cell, index=csv_cell)


def _predicted(
    checkpoint: Checkpoint, path: Path, split: str | None
) -> tuple[pd.DataFrame, list[str]]:
    """The predictions, and the lines of the metrics of what has labels."""
    import pandas as pd

    from benchmark.data.ids import joined_ids
    from benchmark.data.inputs import split_columns
    from benchmark.data.package import read_columns
    from benchmark.data.schema import LENGTH_KEYS
    from benchmark.scoring import labels_in, with_labels

    tables, scores = [], []
    for values in split_columns(read_columns(path), split, path.name):
        where = f"{path.name}: {values['split']}" if "split" in values else path.name
        ids = values.get("id")
        if ids is not None:
            ids = joined_ids(ids, f"{where}: id")
        lengths: dict[str, Any] = {m: values.get(key) for m, key in LENGTH_KEYS.items()}
        table = checkpoint.predict(values, lengths, ids, where)
        label = labels_in(values, checkpoint.form, table.index.tolist(), where)
        if label is not None:
            scores += _scores(table, label, checkpoint.form, where)
            table = with_labels(table, label, checkpoint.form)
        if "split" in values:
            table.insert(0, "split", values["split"])
        tables.append(table)
    return pd.concat(tables), scores


def _scores(table: pd.DataFrame, label: NDArray[Any], form: InputForm, where: str) -> list[str]:
    from benchmark.scoring import metrics_of, per_class

    found = metrics_of(table, label, form)
    lines = [f"{where}: {len(label)} labelled samples"]
    lines += [f"  {name:<12}{value:.4f}" for name, value in found.items()]
    if form.spec.task == "classification":
        shown = per_class(table, label, form).to_string(float_format="{:.3f}".format, na_rep="–")
        lines += [f"  {line}" for line in printable(shown).splitlines()]
    return lines
