"""A finished run, read from its directory."""

from __future__ import annotations

import io
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmark import metrics_file
from benchmark.hygiene import one_line
from benchmark.questions import Question
from benchmark.records.reader import (
    CHECKPOINT,
    CONFIG,
    ENVIRONMENT,
    HISTORY,
    INPUTS,
    METRICS,
    PREDICTIONS,
    VALIDATION,
    DamagedError,
    ForeignError,
    file_state,
    read,
    read_bytes,
    read_inputs,
    read_json,
    read_seal,
    read_spec,
    read_table,
)
from benchmark.spec import RunSpec
from benchmark.table import PredictionTable, to_make
from protocols.conditions import Condition

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.data.inputs import InputForm

T = TypeVar("T")

CHECKPOINT_FILES = (CONFIG, INPUTS, CHECKPOINT)
"""What a model is loaded from: a run's record has them, and so has its logged model."""

TRAINED_FILES = (CONFIG, ENVIRONMENT, HISTORY)
RECORD_FILES = (*TRAINED_FILES, PREDICTIONS, METRICS)
"""What a report needs; the checkpoint may have been deleted."""


@lru_cache(maxsize=2)  # it is asked for several times in a row, and large beside what is kept of it
def _parsed(path: Path, state: object) -> dict[str, Any]:
    return read_json(path)


class Room:
    """The tables that records keep, as long as they exist: as many as there is room for.

    A report goes through all of its runs again and again. Once the room is full the others are
    read each time, rather than each in the place of one that is wanted as soon.
    """

    def __init__(self, nbytes: int) -> None:
        """Of so many bytes of predictions."""
        self.left = nbytes
        self._last: tuple[weakref.ref[RunRecord], str, PredictionTable] | None = None

    def get(self, owner: RunRecord, name: str) -> PredictionTable | None:
        """What is kept."""
        kept: PredictionTable | None = vars(owner).get(name)
        if kept is None and self._last and (self._last[0](), self._last[1]) == (owner, name):
            return self._last[2]
        return kept

    def put(self, owner: RunRecord, name: str, table: PredictionTable) -> PredictionTable:
        """Keep a table, if only until the next one."""
        if table.nbytes <= self.left:
            self.left -= table.nbytes
            vars(owner)[name] = table
            weakref.finalize(owner, self._free, table.nbytes)
        else:
            self._last = weakref.ref(owner), name, table
        return table

    def _free(self, nbytes: int) -> None:
        self.left += nbytes


TABLE_ROOM = Room(2**29)
"""For all records together."""


@dataclass(frozen=True)
class RunRecord:
    """A finished run. What is asked for is read then: DamagedError where it cannot be believed."""

    path: Path

    @property
    def run_id(self) -> str:
        """The run's identity."""
        return self.path.name

    @cached_property
    def spec(self) -> RunSpec:
        """What was run."""
        spec = read_spec(self.path / CONFIG)
        return self._own(CONFIG, spec, spec.run_id)

    def _own(self, name: str, content: T, run_id: Any) -> T:
        """The content of a file that says which run it is of."""
        if run_id != self.run_id:
            kind = ForeignError if name == CONFIG else DamagedError
            raise kind(self.path / name, f"it is of run {one_line(run_id, 60)}")
        return content

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Commit, versions, device, threads, data hash, times."""
        environment = read_json(self.path / ENVIRONMENT)
        return self._own(ENVIRONMENT, environment, environment.get("run_id"))

    @property
    def trained_here(self) -> bool:
        """Whether it has a training: of a model trained elsewhere there are predictions only."""
        return self.spec.training is not None

    @property
    def has_checkpoint(self) -> bool:
        """Whether its weights are there. Who deletes them, for room, still has its predictions."""
        return (self.path / CHECKPOINT).exists()

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: losses, validation metrics, learning rate, ``best``."""
        import pandas as pd  # not for a list

        if not self.trained_here:
            return pd.DataFrame()
        content = read_bytes(self.path / HISTORY, self.environment)
        return read(self.path / HISTORY, lambda _: pd.read_csv(io.BytesIO(content)))

    def checkpoint(self) -> bytes:
        """The safetensors file of the weights."""
        return read_bytes(self.path / CHECKPOINT, self.environment)

    @cached_property
    def inputs(self) -> InputForm:
        """What its inputs must look like."""
        return read_inputs(self.path / INPUTS)

    @property
    def table(self) -> PredictionTable:
        """The prediction table; the same object as long as :data:`TABLE_ROOM` has room for it."""
        return self._table(PREDICTIONS)

    @property
    def validation(self) -> PredictionTable | None:
        """The prediction table of the validation split; None where no search asked for it."""
        return self._table(VALIDATION) if (self.path / VALIDATION).exists() else None

    def _table(self, name: str) -> PredictionTable:
        return TABLE_ROOM.get(self, name) or TABLE_ROOM.put(self, name, self._read_table(name))

    def _read_table(self, name: str) -> PredictionTable:
        table = read_table(self.path / name)
        for block in table.blocks:
            self._own(name, table, block.get("run_id", self.run_id))
        return table

    def is_evaluated(self) -> bool:
        """Whether it has a test table: a search's trial has none."""
        return all((self.path / name).is_file() for name in (PREDICTIONS, METRICS))

    def files(self) -> list[Path]:
        """The files that the record has."""
        paths = (self.path / name for name in (*RECORD_FILES, CHECKPOINT, INPUTS, VALIDATION))
        return [path for path in paths if path.is_file()]

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """:func:`benchmark.readouts.summarise` of the table, from ``metrics.json``."""
        task = self.spec.task
        return read(self.path / METRICS, lambda _: metrics_file.frame(self.read_off, task))

    @property
    def read_off(self) -> dict[str, Any]:
        """The content of ``metrics.json``: its rows, and of which table and by what versions."""
        path = self.path / METRICS
        return _parsed(path, file_state(path))

    def answers(self, metric: str) -> Mapping[Question, float]:
        """A metric's value for each question that ``metrics.json`` answers; NaN where undefined.

        What a list of many runs needs, in a tenth of the time of :attr:`metrics`.
        """
        return read(self.path / METRICS, lambda _: metrics_file.answers(self.read_off, metric))

    def covers(self, conditions: Sequence[Condition]) -> bool:
        """Whether its table has every one of the rows, none of them out of date."""
        return not to_make(self.table, conditions)

    def metrics_are_current(self) -> bool:
        """Whether ``metrics.json`` was made from the present table by the present definitions."""
        if not (self.path / METRICS).exists():
            return False
        seal = read_seal(self.path / PREDICTIONS)
        return metrics_file.is_current(self.read_off, self.table.task, seal)

    def look(self, keep_tables: bool = False) -> None:
        """Look at every file, and at the hash of its content.

        That takes about a millisecond for each megabyte of the checkpoint, and two or three for a
        table: who deleted the checkpoint for room has a record still, who changed it has not.

        Args:
            keep_tables: for who uses them next.

        Raises:
            DamagedError: for the first that is unsound.
        """
        _ = self.spec, self.environment
        if self.trained_here:
            read_bytes(self.path / HISTORY, self.environment)
        if self.has_checkpoint:
            self.checkpoint()
        if (self.path / INPUTS).exists():
            read_json(self.path / INPUTS)
        for name in (PREDICTIONS, VALIDATION):
            if (self.path / name).exists():
                _ = self._table(name) if keep_tables else self._read_table(name)
        if self.is_evaluated():
            read(self.path / METRICS, lambda _: metrics_file.check(self.read_off, self.spec.task))
