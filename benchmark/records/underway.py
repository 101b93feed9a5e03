"""What a run under way leaves beside the records: what it is, and how far it has come."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmark.files import replace_file
from benchmark.records.reader import CONFIG, DamagedError, read, read_spec
from benchmark.records.store import RunStore
from benchmark.records.writer import config_file
from benchmark.spec import RunSpec

RESUME = "resume.pt"
"""The state after the last epoch: a line of JSON that says what it is of, then what torch reads."""
EPOCH = "epoch"
"""Of that line: how many epochs are done."""
_LINE_BYTES = 4096


@dataclass(frozen=True)
class UnderWay:
    """A run that has begun and is not finished, or is given more rows.

    Attributes:
        spec: what is run; None where its folder does not say.
        state: "running, 7 of 30 epochs", "interrupted, ...", "failed: ..."; "more rows running" and
            so on where there is a record already.
    """

    spec: RunSpec | None
    state: str


def begin(store: RunStore, spec: RunSpec) -> Path:
    """Make a run's working directory, which says from now on what is run. Its lock is held."""
    folder = store.partial(spec.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / CONFIG, config_file(spec))
    return folder


def under_way(store: RunStore) -> dict[str, UnderWay]:
    """The runs of :meth:`RunStore.unfinished` with what they are and how far they have come."""
    return {run_id: _look(store, run_id, state) for run_id, state in store.unfinished().items()}


def _look(store: RunStore, run_id: str, state: str) -> UnderWay:
    if store.is_trained(run_id):
        return UnderWay(None, f"more rows {state}")
    folder = store.partial(run_id)
    try:
        spec = read_spec(folder / CONFIG)
    except DamagedError:  # it is shown by its id alone, as what an older version left
        return UnderWay(None, state)
    if spec.run_id != run_id or spec.training is None:
        return UnderWay(None, state)
    done, total = _epochs(folder / RESUME), spec.training.epochs
    return UnderWay(spec, state if state.startswith("failed") else f"{state}, {_far(done, total)}")


def _far(done: int, total: int) -> str:
    return f"{done} of {total} epochs" if done < total else "its prediction table"


def _epochs(path: Path) -> int:
    """How many epochs a resume state has; 0 where there is none that says it."""

    def stated(path: Path) -> int:
        with path.open("rb") as stream:
            return int(first_line(stream)[1].get(EPOCH, 0))

    try:
        return read(path, stated)
    except DamagedError:
        return 0


def first_line(stream: IO[bytes]) -> tuple[int, dict[str, Any]]:
    """Of a resume state the line that says what it is of: its length in bytes, and the values.

    Raises:
        ValueError, RecursionError: where it is damaged, or of an older version.
    """
    line = stream.readline(_LINE_BYTES)
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("a line of another kind")
    return len(line), values
