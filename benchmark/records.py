"""Run records on disk: what survives. A record is a directory that is complete or absent.

::

    <runs-dir>/<run_id>/        config.yaml  env.json  history.csv  checkpoint.safetensors
                                predictions.npz  metrics.json
                                inputs.json, what its inputs must look like
                                validation.npz, where a search asked for it
    <runs-dir>/.partial/<id>/   the resume checkpoint of a run under way; error.txt if it failed
    <runs-dir>/.locks/<id>      held by the process that works on the run; freed when it dies

A search's trial is a record without predictions.npz and metrics.json: a search never evaluates on
the test split. `benchmark run` adds them from the checkpoint.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock

from benchmark import metrics_file
from benchmark.errors import BenchmarkError
from benchmark.files import replace_file
from benchmark.spec import RunSpec
from benchmark.table import PredictionTable, load, to_bytes, to_make
from benchmark.yamlfile import read_yaml, to_yaml
from protocols.conditions import Condition

if TYPE_CHECKING:
    from benchmark.data.inputs import InputForm

CONFIG = "config.yaml"
ENVIRONMENT = "env.json"
HISTORY = "history.csv"
CHECKPOINT = "checkpoint.safetensors"
PREDICTIONS = "predictions.npz"
METRICS = "metrics.json"
VALIDATION = "validation.npz"
INPUTS = "inputs.json"
ERROR = "error.txt"
RUN_ID = re.compile("[0-9a-f]{12}")
TRAINED_FILES = (CONFIG, ENVIRONMENT, HISTORY, CHECKPOINT)
RECORD_FILES = (*TRAINED_FILES, PREDICTIONS, METRICS)


@dataclass(frozen=True)
class RunRecord:
    """A finished run, read lazily from its directory."""

    path: Path

    @property
    def run_id(self) -> str:
        """The run's identity."""
        return self.path.name

    @cached_property
    def spec(self) -> RunSpec:
        """What was run."""
        return RunSpec.from_dict(read_yaml(self.path / CONFIG))

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Commit, versions, device, threads, data hash, times."""
        values: dict[str, Any] = json.loads((self.path / ENVIRONMENT).read_text())
        return values

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: losses, validation metrics, learning rate, ``best``."""
        return pd.read_csv(self.path / HISTORY)

    @cached_property
    def table(self) -> PredictionTable:
        """The prediction table."""
        return load(self.path / PREDICTIONS)

    @cached_property
    def validation(self) -> PredictionTable | None:
        """The prediction table of the validation split; None where no search asked for it."""
        path = self.path / VALIDATION
        return load(path) if path.is_file() else None

    def is_evaluated(self) -> bool:
        """Whether it has a test table: a search's trial has none."""
        return all((self.path / name).is_file() for name in (PREDICTIONS, METRICS))

    def files(self) -> list[Path]:
        """The files that the record has."""
        paths = (self.path / name for name in (*RECORD_FILES, INPUTS, VALIDATION))
        return [path for path in paths if path.is_file()]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """:func:`benchmark.readouts.summarise` of the table, from ``metrics.json``."""
        return metrics_file.frame(self._summary)

    @cached_property
    def _summary(self) -> Any:
        return json.loads((self.path / METRICS).read_text())

    def covers(self, conditions: tuple[Condition, ...]) -> bool:
        """Whether its table has every one of the rows, none of them out of date."""
        return not to_make(self.table, conditions)

    def metrics_are_current(self) -> bool:
        """Whether ``metrics.json`` was made from the present table by the present definitions."""
        if not (self.path / METRICS).is_file():
            return False
        content = (self.path / PREDICTIONS).read_bytes()
        return metrics_file.is_current(self._summary, self.table.task, content)


@dataclass(frozen=True)
class RunStore:
    """All the runs under one directory."""

    root: Path

    def path(self, run_id: str) -> Path:
        """Where the record of a run is, or will be."""
        return self.root / run_id

    def partial(self, run_id: str) -> Path:
        """The working directory of a run under way."""
        return self.root / ".partial" / run_id

    def has(self, run_id: str) -> bool:
        """Whether the run has a complete record."""
        return not self._lacks(run_id, RECORD_FILES)

    def is_trained(self, run_id: str) -> bool:
        """Whether the run has a record, be it a search's that was not evaluated on test."""
        return not self._lacks(run_id, TRAINED_FILES)

    def _lacks(self, run_id: str, names: Sequence[str]) -> list[str]:
        return [name for name in names if not (self.path(run_id) / name).is_file()]

    def record(self, run_id: str) -> RunRecord:
        """The record of a run. Raises BenchmarkError where there is none or it lacks a file."""
        missing = self._lacks(run_id, RECORD_FILES)
        if missing:
            raise BenchmarkError(
                f"no complete record of run {run_id} in {self.root}: "
                f"{', '.join(missing)} not found. Run the same `benchmark run` again to make it."
            )
        return RunRecord(self.path(run_id))

    def trained(self, run_id: str) -> RunRecord:
        """The record of a trained run, with or without a test table. Raises BenchmarkError."""
        missing = self._lacks(run_id, TRAINED_FILES)
        if missing:
            raise BenchmarkError(
                f"no record of run {run_id} in {self.root}: {', '.join(missing)} not found. "
                "`benchmark list runs` shows what there is."
            )
        return RunRecord(self.path(run_id))

    def records(self) -> list[RunRecord]:
        """Every complete record, ordered by run id."""
        return [RunRecord(self.path(i)) for i in self._directories() if self.has(i)]

    def trained_records(self) -> list[RunRecord]:
        """Every record, those without a test table included, ordered by run id."""
        return [RunRecord(self.path(i)) for i in self._directories() if self.is_trained(i)]

    def broken(self) -> dict[str, list[str]]:
        """Record directories that lack files: run id -> the names of what is missing."""
        missing = {
            run_id: self._lacks(run_id, TRAINED_FILES if self._is_trial(run_id) else RECORD_FILES)
            for run_id in self._directories()
        }
        return {run_id: names for run_id, names in missing.items() if names}

    def _is_trial(self, run_id: str) -> bool:
        return (self.path(run_id) / VALIDATION).is_file() and not self.has(run_id)

    def _directories(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return sorted(p.name for p in self.root.iterdir() if RUN_ID.fullmatch(p.name))

    def unfinished(self) -> dict[str, str]:
        """Runs that were begun and have no record: run id -> "failed: ..." or "interrupted"."""
        folder = self.root / ".partial"
        if not folder.is_dir():
            return {}
        state = {}
        for path in sorted(folder.iterdir()):
            error = path / ERROR
            state[path.name] = (
                f"failed: {error.read_text().strip().splitlines()[-1]}"
                if error.is_file()
                else "interrupted"
            )
        return state

    def lock(self, run_id: str) -> FileLock:
        """The lock of a run, not yet acquired. The system frees it when its holder dies."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / run_id)

    def prepare(self) -> None:
        """Make the directory. Raises BenchmarkError where a MiB cannot be written to it."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe-{os.getpid()}"
            try:
                probe.write_bytes(bytes(2**20))
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise BenchmarkError(
                f"cannot write to the runs folder {self.root}: {error.strerror or error}. "
                "Make room, or name another with --runs-dir; the same command goes on from there."
            ) from None

    def commit(
        self,
        spec: RunSpec,
        environment: Mapping[str, Any],
        history: pd.DataFrame,
        checkpoint: bytes,
        table: PredictionTable | None,
        validation: PredictionTable | None = None,
        inputs: InputForm | None = None,
    ) -> RunRecord:
        """Write a whole record under a temporary name, then rename it into place.

        Args:
            spec: what was run.
            environment: :attr:`RunRecord.environment`.
            history: one row per epoch.
            checkpoint: the safetensors file.
            table: predictions on test; None for a search's trial.
            validation: predictions on the validation split, where they are wanted.
            inputs: what new samples must look like.
        """
        staging = self.partial(spec.run_id) / "record"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        (staging / CONFIG).write_text(to_yaml(_plain(spec.as_dict())))
        (staging / ENVIRONMENT).write_text(json.dumps(environment, indent=1, sort_keys=True))
        history.to_csv(staging / HISTORY, index=False)
        (staging / CHECKPOINT).write_bytes(checkpoint)
        if inputs is not None:
            (staging / INPUTS).write_text(inputs.to_json())
        if table is not None:
            for name, content in _test_files(table).items():
                (staging / name).write_bytes(content)
        if validation is not None:
            (staging / VALIDATION).write_bytes(to_bytes(validation))
        for path in RunRecord(staging).files():
            _sync(path)
        final = self.path(spec.run_id)
        if final.exists():  # a directory that is no record: files of it were deleted by hand
            shutil.rmtree(final)
        staging.rename(final)
        shutil.rmtree(self.partial(spec.run_id))
        return RunRecord(final)

    def extend(
        self,
        run_id: str,
        table: PredictionTable | None,
        validation: PredictionTable | None = None,
    ) -> RunRecord:
        """Give a record tables with more rows than it has, and the metrics read off them.

        Everything is worked out before anything is replaced. The metrics follow the table; where a
        kill comes between the two, they are found to be out of date and are made again.

        Args:
            run_id: the run.
            table: predictions on test; None leaves what is there.
            validation: the same of the validation split.
        """
        files = {} if table is None else _test_files(table)
        if validation is not None:
            files[VALIDATION] = to_bytes(validation)
        for name, content in files.items():
            replace_file(self.path(run_id) / name, content)
        return RunRecord(self.path(run_id))

    def add_inputs(self, run_id: str, inputs: InputForm) -> None:
        """Give a record that is older than that the form of its inputs."""
        if not (self.path(run_id) / INPUTS).is_file():
            replace_file(self.path(run_id) / INPUTS, inputs.to_json().encode())


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _test_files(table: PredictionTable) -> dict[str, bytes]:
    """A table and the metrics read off it, by file name, in the order to write them in."""
    content = to_bytes(table)
    return {PREDICTIONS: content, METRICS: metrics_file.to_json(table, content)}


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML's safe types only."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
