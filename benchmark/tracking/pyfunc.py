"""What ``mlflow.pyfunc.load_model`` calls for a run's logged model; knows no tracking library.

::

    model = mlflow.pyfunc.load_model("models:/m-...")
    model.predict({"text": text, "audio": audio, "vision": vision})   # zeros: missing
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.checkpoint import Checkpoint, load_checkpoint

if TYPE_CHECKING:
    import pandas as pd


class LoggedCheckpoint:
    """A checkpoint behind MLflow's interface."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def predict(
        self, model_input: Mapping[str, np.ndarray], params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Predict a batch: modality -> (N, T, d) raw float32 features; see :class:`Checkpoint`.

        Raises:
            BenchmarkError: where the features do not fit the run.
        """
        return self.checkpoint.predict(model_input)


def _load_pyfunc(path: str) -> LoggedCheckpoint:
    return LoggedCheckpoint(load_checkpoint(path))
