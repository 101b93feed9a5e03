"""The diagnostics that a runs folder has: where they lie, how they are read and written."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from benchmark.data.archive import read_npz
from benchmark.errors import BenchmarkError
from benchmark.files import replace_file
from benchmark.seal import SEAL, hash_of_arrays
from protocols.conditions import Condition

Diagnosis = Literal["selection", "reliability"]
DIAGNOSES: tuple[Diagnosis, ...] = get_args(Diagnosis)
FOLDER = "diagnostics"
LABEL = (
    "A diagnostic, made with the test split after all was decided. For reports alone: nothing may "
    "be selected by it."
)


@dataclass(frozen=True)
class SelectionTrace:
    """What every epoch of a training predicts for the clean test split.

    Attributes:
        prediction: (E, N) values or (E, N, C) logits, float32.
        label: (N,) float64.
        selected: the 0-based epoch that validation selected.
    """

    prediction: NDArray[np.float32]
    label: NDArray[np.float64]
    selected: int


@dataclass(frozen=True)
class GivenScores:
    """What a checkpoint predicts for the test split with reliability scores that are not its own.

    Attributes:
        conditions: R conditions at a level λ, without Protocol III.
        permuted: (P, R, N) values or (P, R, N, C) logits: each sample with another one's scores
            under the same condition, in P permutations.
        fixed: (R, N) or (R, N, C): all samples with the weights that were best on validation for
            (noise rule, λ, S).
        weights: (R, 3) these weights.
    """

    conditions: tuple[Condition, ...]
    permuted: NDArray[np.float32]
    fixed: NDArray[np.float32]
    weights: NDArray[np.float32]


def path_of(runs_dir: Path, run_id: str, diagnosis: Diagnosis) -> Path:
    """Where a diagnostic of a run is, or will be."""
    return runs_dir / FOLDER / run_id / f"{diagnosis}.npz"


def write(path: Path, run_id: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a diagnostic's arrays with their hash, their run and what they are for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {**arrays, "about": np.array(LABEL), "run_id": np.array(run_id)}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **whole, **{SEAL: np.array(hash_of_arrays(whole))})
    replace_file(path, buffer.getvalue())


def read(path: Path) -> dict[str, Any] | None:
    """A diagnostic's arrays; None where there is none.

    Raises:
        BenchmarkError: where it is damaged, was changed, or is of another run.
    """
    if not path.is_file():
        return None
    arrays = read_npz(path)
    stated = str(arrays.pop(SEAL, ""))
    if stated != hash_of_arrays(arrays) or str(arrays.get("run_id")) != path.parent.name:
        raise BenchmarkError(
            f"{path}: it was edited or damaged since it was written. Delete it, and run the same "
            "with --diagnose again."
        )
    return arrays


def selection_trace(runs_dir: Path, run_id: str) -> SelectionTrace | None:
    """A run's trace; None where there is none. Raises BenchmarkError as :func:`read` does."""
    arrays = read(path_of(runs_dir, run_id, "selection"))
    if arrays is None:
        return None
    return SelectionTrace(arrays["prediction"], arrays["label"], int(arrays["selected"]))


def given_scores(runs_dir: Path, run_id: str) -> GivenScores | None:
    """What a run predicts with given scores; None where nobody asked, or its model takes none.

    Raises:
        BenchmarkError: as :func:`read` does.
    """
    arrays = read(path_of(runs_dir, run_id, "reliability"))
    if arrays is None or "permuted" not in arrays:
        return None
    columns = (arrays[name].tolist() for name in ("noise_rule", "draw", "intensity", "mask"))
    conditions = tuple(
        Condition(rule, draw, intensity, "", mask)
        for rule, draw, intensity, mask in zip(*columns, strict=True)
    )
    return GivenScores(conditions, arrays["permuted"], arrays["fixed"], arrays["weights"])
