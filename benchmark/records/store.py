"""All the runs under one directory: which there are, and how a record is written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from benchmark.errors import BenchmarkError
from benchmark.files import HALF_WRITTEN, files_in, is_file, is_locked, remove, replace_file
from benchmark.hygiene import one_line
from benchmark.records.reader import (
    CONFIG,
    ENVIRONMENT,
    HISTORY,
    VALIDATION,
    DamagedError,
    last_line,
)
from benchmark.records.record import RECORD_FILES, TRAINED_FILES, RunRecord
from benchmark.records.writer import LATER_FILES, later_files, record_files
from benchmark.spec import RunSpec
from benchmark.table import PredictionTable

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.data.inputs import InputForm

ERROR = "error.txt"
RUN_ID = re.compile("[0-9a-f]{12}")

_STAGING, _REPLACED = "record", "replaced"
"""Within a run's working directory: the record that is written, and what it takes the place of."""


@dataclass(frozen=True)
class Survey:
    """What the directories of a store hold.

    Attributes:
        records: the sound ones, a search's trials included, ordered by run id.
        problems: run id -> the file of its record that is unsound, and why.
    """

    records: tuple[RunRecord, ...]
    problems: Mapping[str, DamagedError]


@dataclass(frozen=True)
class RunStore:
    """All the runs under one directory."""

    root: Path

    def path(self, run_id: str) -> Path:
        """Where the record of a run is, or will be. Raises BenchmarkError where it is no run id."""
        if not RUN_ID.fullmatch(run_id):
            raise BenchmarkError(f"{run_id[:60]!r} is no run id: `benchmark list runs` shows them")
        return self.root / run_id

    def find(self, given: str) -> str:
        """The id of the run whose id is this, or is the only one that begins so.

        Raises:
            BenchmarkError: where no run's does, or several runs' do.
        """
        if RUN_ID.fullmatch(given):
            return given
        if not re.fullmatch("[0-9a-f]{1,11}", given):
            raise BenchmarkError(
                f"'{one_line(given, 60)}' is no run id: it has 12 of 0-9 and a-f, as `benchmark"
                " list runs` shows them, or fewer that begin it. Another folder: --runs-dir DIR."
            )
        begun = (path.name for path in self._folder(self.root / ".partial"))
        known = sorted({*self.directories(), *begun})
        found = [run_id for run_id in known if run_id.startswith(given)]
        if len(found) != 1:
            which = f"{len(found)} runs begin with '{given}': {', '.join(found[:5])}"
            raise BenchmarkError(
                f"in {self.root} {which if found else f'no run begins with {given!r}'}."
                " `benchmark list runs` shows them all."
            )
        return found[0]

    def partial(self, run_id: str) -> Path:
        """The working directory of a run under way."""
        return self.root / ".partial" / self.path(run_id).name

    def has(self, run_id: str) -> bool:
        """Whether the run has a complete record."""
        return not self._lacks(run_id, RECORD_FILES)

    def is_trained(self, run_id: str) -> bool:
        """Whether the run has a record, be it a search's that was not evaluated on test."""
        return not self._lacks(run_id, TRAINED_FILES)

    def _lacks(self, run_id: str, names: Sequence[str]) -> list[str]:
        there = files_in(self.path(run_id))
        missing = [name for name in names if name not in there]
        if CONFIG not in missing and HISTORY in missing and self._elsewhere(run_id):
            return [name for name in missing if name != HISTORY]
        return missing

    def _elsewhere(self, run_id: str) -> bool:
        try:
            return not RunRecord(self.path(run_id)).trained_here
        except DamagedError:  # named by whoever reads the record
            return False

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
        return [RunRecord(self.path(i)) for i in self.directories() if self.has(i)]

    def trained_records(self) -> list[RunRecord]:
        """Every record, those without a test table included, ordered by run id."""
        return [RunRecord(self.path(i)) for i in self.directories() if self.is_trained(i)]

    def broken(self) -> dict[str, list[str]]:
        """Record directories that lack files: run id -> the names of what is missing."""
        missing = {run_id: self._missing(run_id) for run_id in self.directories()}
        return {run_id: names for run_id, names in missing.items() if names}

    def _missing(self, run_id: str) -> list[str]:
        return self._lacks(run_id, TRAINED_FILES if self._is_trial(run_id) else RECORD_FILES)

    def _is_trial(self, run_id: str) -> bool:
        return not self._lacks(run_id, (VALIDATION,)) and not self.has(run_id)

    def directories(self) -> list[str]:
        """The ids of the runs that have a folder, ordered."""
        return [path.name for path in self._folder(self.root)]

    @staticmethod
    def _folder(folder: Path) -> list[Path]:
        """What is called like a run in a folder, ordered."""
        try:
            found = list(folder.iterdir()) if folder.is_dir() else []
        except OSError as error:
            raise BenchmarkError(f"cannot read {folder}: {error.strerror or error}") from None
        return sorted(path for path in found if RUN_ID.fullmatch(path.name))

    def survey(self, tables: bool = False) -> Survey:
        """Look at every record, and keep its tables or not: one that is unsound is named, and takes
        no other down."""
        sound, problems = [], {}
        for run_id in self.directories():
            try:
                sound.append(self.look(run_id, tables))
            except DamagedError as error:
                problems[run_id] = error
        return Survey(tuple(sound), problems)

    def look(self, run_id: str, tables: bool = False) -> RunRecord:
        """The record of a run, looked at. Raises DamagedError where it is unsound."""
        record = RunRecord(self.path(run_id))
        if missing := self._missing(run_id):
            raise DamagedError(record.path / missing[0], "it is missing")
        record.look(keep_tables=tables)
        return record

    def unfinished(self) -> dict[str, str]:
        """Runs that were begun and not finished: run id -> "failed: ...", "interrupted", "running".

        A finished run that was to be given more rows is one of them where that failed.
        """
        state = {}
        for path in self._folder(self.root / ".partial"):
            if self.is_running(path.name):
                state[path.name] = "running"
            elif why := self.failure(path.name):
                state[path.name] = f"failed: {why}"
            elif not self.is_trained(path.name):
                state[path.name] = "interrupted"
        return state

    def failure(self, run_id: str) -> str:
        """Why a run failed, in one line; nothing where none of it failed."""
        error = self.partial(run_id) / ERROR
        return last_line(error) if is_file(error) else ""

    def is_running(self, run_id: str) -> bool:
        """Whether a living process works on a run, be it another person's."""
        return is_locked(self.root / ".locks" / self.path(run_id).name)

    def tidy(self, run_id: str) -> None:
        """Remove what a kill or a failure left, but the resume state. The run's lock is held."""
        partial = self.partial(run_id)
        if not partial.is_dir():
            remove(partial)
        for name in (_STAGING, _REPLACED, ERROR):
            remove(partial / name)
        for folder in (partial, self.path(run_id)):
            for path in folder.glob(".*.*"):
                if HALF_WRITTEN.fullmatch(path.name):
                    remove(path)

    def close(self, run_id: str) -> None:
        """The run has all that was asked: its working directory goes. Its lock is held."""
        self.tidy(run_id)
        remove(self.partial(run_id))

    def close_all(self, run_ids: Iterable[str]) -> None:
        """:meth:`close` where something is left to remove, and nobody works on the run."""
        for run_id in run_ids:
            if self.partial(run_id).exists():
                try:
                    with self.lock(run_id).acquire(timeout=0):
                        self.close(run_id)
                except Timeout:  # another process gives it more rows
                    continue

    def lock(self, run_id: str) -> FileLock:
        """The lock of a run, not yet acquired. The system frees it when its holder dies."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / self.path(run_id).name)

    def prepare(self) -> None:
        """Make the directory. Raises BenchmarkError where runs cannot write a MiB to it."""
        for path in (self.root / ".locks", self.root / ".partial"):
            if os.path.lexists(path) and not path.is_dir():
                raise BenchmarkError(f"{path} is no folder, as runs need one there: move it away")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / ".probe"
            replace_file(probe, bytes(2**20))  # it follows no link, and waits for no pipe
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
        history: pd.DataFrame | None,
        checkpoint: bytes | None,
        table: PredictionTable | None,
        validation: PredictionTable | None = None,
        inputs: InputForm | None = None,
    ) -> RunRecord:
        """Write a whole record under a temporary name, then rename it into place.

        Args:
            spec: what was run.
            environment: :attr:`RunRecord.environment`.
            history: one row per epoch; None for a model trained elsewhere.
            checkpoint: the safetensors file; likewise.
            table: predictions on test; None for a search's trial.
            validation: predictions on the validation split, where they are wanted.
            inputs: what new samples must look like.
        """
        files = record_files(spec, environment, history, checkpoint)
        files |= later_files(table, validation, inputs)
        return self._place(spec.run_id, files)

    def _place(self, run_id: str, files: Mapping[str, bytes]) -> RunRecord:
        partial, final = self.partial(run_id), self.path(run_id)
        self.tidy(run_id)
        (partial / _STAGING).mkdir(parents=True)
        for name, content in files.items():
            replace_file(partial / _STAGING / name, content)
        if os.path.lexists(final):  # files of it were deleted, edited or damaged; a link, lost
            final.rename(partial / _REPLACED)
        (partial / _STAGING).rename(final)
        self.close(run_id)
        return RunRecord(final)

    def extend(
        self,
        run_id: str,
        table: PredictionTable | None,
        validation: PredictionTable | None = None,
        inputs: InputForm | None = None,
    ) -> RunRecord:
        """Give a record tables with more rows than it has, and the metrics read off them.

        Everything is worked out before anything is replaced. The metrics follow the table; where a
        kill comes between the two, they are found to be out of date and are made again.

        Args:
            run_id: the run.
            table: predictions on test; None leaves what is there.
            validation: the same of the validation split.
            inputs: what new samples must look like; likewise.
        """
        self._add(run_id, later_files(table, validation, inputs))
        return RunRecord(self.path(run_id))

    def _add(self, run_id: str, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            path = self.path(run_id) / name
            if path.is_dir() or path.is_symlink():  # damage; what a link leads to stays
                remove(path)
            replace_file(path, content)

    def adopt(self, run_id: str, files: Mapping[str, bytes]) -> None:
        """Take a record's files from another store: a whole record, or what one has more."""
        if ENVIRONMENT in files:
            self._place(run_id, files)
        else:
            self._add(run_id, {n: files[n] for n in (*LATER_FILES, *files) if n in files})
