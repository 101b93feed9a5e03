"""Anyone's trained model under every protocol: ``benchmark.evaluate``.

::

    import benchmark
    result = benchmark.evaluate(predict, dataset="mosi", data_dir="data", name="My model")
    result.metrics                                       # tidy: a row per condition and metric
    result.landscape("mae").savefig("landscape.pdf")
    result.save("runs")                                  # in every table, figure and the page

The table is the one that ``benchmark run`` makes of a checkpoint, by the same function; what is not
known of a training that happened elsewhere is said wherever a number of it stands.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from benchmark.checkpoint import Checkpoint
from benchmark.config import EvaluationConfig, build
from benchmark.contract_predictions import PREDICTION_CHECKS, Given, reads_availability
from benchmark.data.dataset import Dataset
from benchmark.data.registry import load_dataset
from benchmark.environment import describe, made_with, now
from benchmark.errors import BenchmarkError
from benchmark.files import scratch
from benchmark.foreign import as_model
from benchmark.hygiene import one_line
from benchmark.interface import ModelCard, MultimodalModel
from benchmark.metrics import METRICS, PRIMARY
from benchmark.plan import protocols_named
from benchmark.plugins import offered
from benchmark.predict import fill_table
from benchmark.questions import KEYS
from benchmark.readouts import summarise
from benchmark.records import RunRecord, RunStore
from benchmark.spec import EVALUATED, PREDICTED, RunSpec, evaluated
from benchmark.strangers import strangers
from benchmark.systems import run_title
from benchmark.table import PredictionTable, merge
from protocols.availability import mask_of
from protocols.conditions import at_level, conditions_of
from protocols.modalities import Modalities

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CHECKED = 15
"""Test samples that a model is tried on before it is asked everything."""
SHOWN = 3
"""Problems of one check that are said."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model predicts under every condition, and what is read off it.

    Attributes:
        spec: who predicts.
        table: its predictions, as :mod:`benchmark.table` describes them.
        environment: where and with what they were made, and what the data are.
    """

    spec: RunSpec
    table: PredictionTable
    environment: Mapping[str, Any]

    @property
    def metrics(self) -> pd.DataFrame:
        """A row per condition and metric.

        Columns: those of :class:`benchmark.questions.Question` (``protocol``, the rules,
        ``intensity`` λ, ``rate`` η, ``available`` the subset, ``joint``), ``metric`` and ``value``,
        in raw units (an accuracy of 0.5, not 50).
        """
        wide = summarise(self.table)
        return wide.melt(
            list(KEYS), list(METRICS[self.table.task]), var_name="metric", value_name="value"
        )

    def landscape(self, metric: str | None = None) -> Figure:
        """The metric over noise intensity and missing rate, as the reports draw it.

        Args:
            metric: its name; by default MAE, or accuracy for classes.

        Raises:
            BenchmarkError: for a metric that does not exist, or without the grid's rows.
        """
        with scratch() as folder:
            record = RunStore(folder).commit(self.spec, self.environment, None, None, self.table)
            figure: Figure = offered("landscape")([record], metric or PRIMARY[self.table.task])
        return figure

    def save(self, runs_dir: str | Path = "runs") -> RunRecord:
        """Write the record: the model is then in every table and figure of the runs folder.

        The same model evaluated under further protocols adds to its record.

        Raises:
            BenchmarkError: where the folder has other predictions under this name, version and
                seed, or cannot be written to.
        """
        store = RunStore(Path(runs_dir))
        store.prepare()
        run_id = self.spec.run_id
        with store.lock(run_id):
            if store.is_trained(run_id):
                return store.extend(run_id, self._joined(store.record(run_id).table))
            if self.spec.training is not None:
                raise BenchmarkError(
                    f"{store.root} has no record of run {run_id}, whose checkpoint this is: copy "
                    "its folder there first"
                )
            self._refuse_a_second(store)
            return store.commit(self.spec, self.environment, None, None, self.table)

    def _joined(self, known: PredictionTable) -> PredictionTable:
        """The rows of both. Raises BenchmarkError where they are not of one model."""
        for condition in set(known.index.rows) & set(self.table.index.rows):
            old, new = (t.prediction[t.row(condition)] for t in (known, self.table))
            if self.spec.training is None and not np.array_equal(old, new):
                raise self._another(self.spec.run_id)
        return merge(known, self.table)

    def _refuse_a_second(self, store: RunStore) -> None:
        mine = {k: x for k, x in self.spec.identity.items() if k != PREDICTED}
        for record in store.survey().records:
            other = {k: x for k, x in record.spec.identity.items() if k != PREDICTED}
            if mine == other and record.spec.training is None:
                raise self._another(record.run_id)

    def _another(self, run_id: str) -> BenchmarkError:
        return BenchmarkError(
            f"'{self.spec.title}', version {self.spec.version}, seed {self.spec.seed}, is there "
            f"already with other predictions (run {run_id}). Another model: give another version; "
            "another training of the same: another seed; else delete that run's folder"
        )


def evaluate(
    predict: Any,
    *,
    dataset: str | Dataset,
    data_dir: str | Path | None = None,
    name: str | None = None,
    version: str = "1",
    seed: int = 0,
    protocol: str = "all",
    device: str | None = None,
    citation: str = "",
    report: Callable[[int, int], None] = lambda done, total: None,
    **evaluation: Any,
) -> Evaluation:
    """Ask a trained model what it predicts for a data set's test split under every condition.

    Args:
        predict: a callable on a batch of B samples (:class:`protocols.modalities.Modalities`:
            ``batch.text``, ``batch.audio``, ``batch.vision`` of (B, T, d), ``batch.masks``,
            ``batch.available``) that returns (B,) sentiments, (B, C) logits, or a mapping with
            ``prediction`` and where there are any ``log_variance`` (B,) and ``reliability``
            (B, 3); tensors or arrays. Or an object with ``encode(modality, features, mask)`` and
            ``fuse({modality: encoded})``, whose branches then run once per level. Or a
            :class:`benchmark.checkpoint.Checkpoint`.
        dataset: its name, or the data set.
        data_dir: where imported data sets are.
        name: what tables call the model.
        version: which of your versions it is; part of its identity.
        seed: tells several trainings of one version apart.
        protocol: "all", "clean", or some of I, II, III, grid, separated by commas.
        device: where the batches are; by default where the parameters of a module are, else CPU.
        citation: whose model it is, for its card.
        report: told after each chunk how many rows' worth of work is done, and of how many.
        evaluation: ``draws``, ``noise_rules``, ``joint`` of
            :class:`benchmark.config.EvaluationConfig`.

    Raises:
        BenchmarkError: where the model does not keep what a prediction must (shape, finite, the
            sample's own, repeatable, its batch left as it is), or a name does not exist.
    """
    model = as_model(predict.model if isinstance(predict, Checkpoint) else predict)
    how = build(EvaluationConfig, evaluation, "evaluation")
    data = load_dataset(dataset, _path(data_dir)) if isinstance(dataset, str) else dataset
    data = data.to(device or _device_of(model))
    present, test = data.spec.present, data.splits["test"]
    conditions = conditions_of(
        protocols_named(protocol), present, how.noise_rules, how.draws, how.joint
    )
    data.require(conditions)
    with _evaluating(model, test.samples):
        reads = check(model, data)
        started = time.perf_counter()
        table = fill_table(
            model,
            test,
            data.spec,
            data.sigma_ref,
            conditions,
            lambda rows: report(rows, len(conditions)),
            centre=data.centre_for(c.noise_rule for c in conditions),
        )
    seconds = round(time.perf_counter() - started, 3)
    spec = _spec(predict, name, version, seed, data, table)
    table = replace(table, blocks=(made_with(spec.run_id, test.device),))
    parameters = sum(p.numel() for p in model.parameters())
    environment = {
        **describe(test.device),
        **data.facts(),
        "model": _card(spec, citation, reads),
        **({"parameters": parameters} if parameters else {}),
        "seconds_table": seconds,
        "finished": now(),
    }
    return Evaluation(spec, table, environment)


def check(model: MultimodalModel, data: Dataset) -> bool:
    """What ``benchmark check model`` asks of predictions, on samples of the test split.

    Returns:
        Whether the model reads ``batch.available``.

    Raises:
        BenchmarkError: the problems.
    """
    samples = data.splits["test"].part(slice(CHECKED))
    case = Given(model, data.spec, samples)
    with torch.inference_mode():
        for name, one in PREDICTION_CHECKS.items():  # what fails first would spoil what follows
            if problems := list(one(case)):
                raise BenchmarkError(
                    f"the model cannot be evaluated on {data.name}. Tried on {len(samples)} test "
                    f"samples, {name}: {'; '.join(problems[:SHOWN])}"
                )
        return reads_availability(case)


@contextmanager
def _evaluating(model: nn.Module, samples: Modalities) -> Iterator[None]:
    """In eval mode, and afterwards as each of its modules was; what it raises is said."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    shapes = ", ".join(f"{m} {tuple(x.shape)}" for m, x in samples.features.items())
    given = f"the test split: {shapes}, on {samples.device}"
    try:
        with strangers(lambda why: BenchmarkError(f"the model raises {why} ({given})")):
            yield
    finally:
        for module, training in before.items():
            module.training = training


def _spec(
    predict: Any, name: str | None, version: str, seed: int, data: Dataset, table: PredictionTable
) -> RunSpec:
    """The run that a checkpoint is of, where it is evaluated as itself on its own data."""
    if isinstance(predict, Checkpoint) and name is None:
        if predict.spec.data_sha256 == data.sha256:
            return predict.spec
        name = f"{run_title(predict.spec)} · trained on {predict.spec.dataset}"
    if name is None or not name.strip():
        raise BenchmarkError("give the model a name, which tables call it by: name='My model'")
    clean = table.prediction[table.row(at_level("seed_a1", 0, 0.0, mask_of(table.present)))]
    predictions = hashlib.sha256(clean.tobytes()).hexdigest()
    return evaluated(
        one_line(name, 80), str(version), seed, data.name, data.sha256, table.task, predictions
    )


def _card(spec: RunSpec, citation: str, reads: bool) -> dict[str, Any]:
    """What is kept of the model, in the form of every record's."""
    card = ModelCard(spec.title, citation, EVALUATED, reads_availability=reads)
    unknown = {"reads_clean": None, "source_sha256": ""}
    return {**asdict(card), **unknown, "version": str(spec.version)}


def _device_of(model: nn.Module) -> torch.device:
    found = next(model.parameters(), None)
    return torch.device("cpu") if found is None else found.device


def _path(folder: str | Path | None) -> Path | None:
    return None if folder is None else Path(folder)
