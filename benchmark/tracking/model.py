"""A run's checkpoint as a logged model: what loads it, and what goes in and comes out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.records import CHECKPOINT_FILES, INPUTS, RunRecord
from benchmark.systems import run_title

if TYPE_CHECKING:
    from benchmark.data.inputs import InputForm

LOADER = "benchmark.tracking.pyfunc"
"""The module that a logged model names as its loader: nothing is pickled."""


@dataclass(frozen=True)
class TrackedModel:
    """A logged model.

    Attributes:
        name: as the UI lists it.
        files: what it is loaded from; the only copy of the checkpoint in the store.
        widths: modality -> channels of its (N, T, d) input.
        outputs: column of the answer -> "double" or "string".
        step: the epoch that it is from.
    """

    name: str
    files: Sequence[Path]
    widths: Mapping[str, int]
    outputs: Mapping[str, str]
    step: int


def model_of(record: RunRecord) -> TrackedModel | None:
    """The logged model of a record; None for one without its checkpoint, or too old for one."""
    if not (record.path / INPUTS).is_file() or not record.has_checkpoint:
        return None
    form = record.inputs
    history = record.history
    best = history[history["best"] == 1]
    return TrackedModel(
        name=re.sub(r"[/:.%'\"]", "_", run_title(record.spec)),  # MLflow takes none of these
        files=[record.path / name for name in CHECKPOINT_FILES],
        widths={m: form.spec.widths[m] for m in form.spec.present},
        outputs=_outputs(form),
        step=int(best["epoch"].iloc[-1]) if len(best) else len(history),
    )


def _outputs(form: InputForm) -> dict[str, str]:
    """The columns that every model of the task answers with; some have more."""
    if form.spec.task == "regression":
        return {"available": "string", "prediction": "double"}
    names = form.class_names or tuple(str(k) for k in range(form.spec.classes))
    shares = {f"probability_{name}": "double" for name in names}
    return {"available": "string", "prediction": "string", **shares}
