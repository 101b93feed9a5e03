"""A trained model and what its inputs must look like: predictions for new samples.

::

    from benchmark.checkpoint import load_checkpoint
    model = load_checkpoint("runs/0123456789ab")
    print(model.predict({"text": text, "audio": audio}))   # vision is missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load

from benchmark.config import build
from benchmark.data.inputs import InputForm
from benchmark.errors import BenchmarkError
from benchmark.interface import MultimodalModel, Output
from benchmark.predict import batch_size_for, predict
from benchmark.records import CHECKPOINT, CHECKPOINT_FILES, CONFIG, ENVIRONMENT, INPUTS
from benchmark.records.reader import read_bytes, read_inputs, read_json, read_spec
from benchmark.registry import model_class
from benchmark.spec import RunSpec
from benchmark.strangers import strangers
from protocols.availability import name_of
from protocols.missing import as_masks
from protocols.modalities import MODALITIES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Checkpoint:
    """A trained model, in eval mode."""

    spec: RunSpec
    form: InputForm
    model: MultimodalModel

    def predict(
        self,
        features: Mapping[str, Any],
        lengths: Mapping[str, Any] | None = None,
        ids: Sequence[str] | None = None,
        where: str = "the features",
    ) -> pd.DataFrame:
        """Predict new samples.

        Args:
            features: modality -> (N, T, d_m) raw features, as an import takes them; a modality
                that is absent, None, or all zero for a sample is missing for it.
            lengths: modality -> (N,) numbers of real steps, where zeros are not padding.
            ids: N ids.
            where: what the features are, for messages.

        Returns:
            A row per sample: ``available``, ``prediction`` (a sentiment; a class, with a
            ``probability_*`` column for each class), and what the model has of ``std``, the
            standard deviation of its error (``log_variance`` for classes), and
            ``reliability_text``, ``_audio``, ``_vision``.

        Raises:
            BenchmarkError: where the features do not fit the run.
        """
        import pandas as pd

        names, samples = self.form.samples(features, lengths, ids, where)
        with strangers(lambda why: BenchmarkError(f"{self.spec.model} fails on {where}: {why}")):
            device = next(self.model.parameters()).device
            output = predict(self.model, samples.to(device), batch_size_for(device))
        available = [name_of(mask) for mask in as_masks(samples.available).tolist()]
        columns = {"available": available, **_columns(output, self.form)}
        return pd.DataFrame(columns, index=pd.Index(names, name="id"))


def load_checkpoint(folder: str | Path, device: str = "cpu") -> Checkpoint:
    """The model of a run, from its record's folder or a copy of its ``CHECKPOINT_FILES``.

    Raises:
        BenchmarkError: where a file is absent or damaged, or the model is not installed.
    """
    path = Path(folder)
    if (path / CONFIG).is_file() and read_spec(path / CONFIG).training is None:
        raise BenchmarkError(
            f"{path} holds no model to predict with: it was trained elsewhere, and only its "
            "predictions are kept"
        )
    missing = [name for name in CHECKPOINT_FILES if not (path / name).is_file()]
    if missing:
        raise BenchmarkError(
            f"{path} holds no model to predict with: {', '.join(missing)} not found. "
            "`benchmark run`, asked for the same run again, adds what an older record lacks."
        )
    spec, form = read_spec(path / CONFIG), read_inputs(path / INPUTS)
    kind = model_class(spec.model)
    config = build(kind.Config, spec.settings()["model"], f"{spec.model}'s model")
    said = f"{path / CHECKPOINT} is damaged, or does not fit {spec.model} as it is installed"
    with strangers(lambda why: BenchmarkError(f"{said}: {why}")):
        model = kind(config, form.spec)
        model.load_state_dict(load(_weights(path)))
    return Checkpoint(spec, form, model.to(torch.device(device)).eval())


def _weights(folder: Path) -> bytes:
    if not (folder / ENVIRONMENT).exists():  # a logged model: nothing says what its hash was
        return (folder / CHECKPOINT).read_bytes()
    return read_bytes(folder / CHECKPOINT, read_json(folder / ENVIRONMENT))


def _columns(output: Output, form: InputForm) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    answer = output.prediction.float().cpu()
    if form.spec.task == "regression":
        columns["prediction"] = answer.numpy()
    else:
        names = form.class_names or tuple(str(k) for k in range(form.spec.classes))
        columns["prediction"] = np.array(names)[answer.argmax(dim=1).numpy()]
        shares = answer.softmax(dim=1).numpy()
        columns |= {f"probability_{name}": shares[:, k] for k, name in enumerate(names)}
    if output.log_variance is not None:
        s = output.log_variance.float().cpu()
        if form.spec.task == "regression":
            columns["std"] = (0.5 * s).exp().numpy()
        else:
            columns["log_variance"] = s.numpy()
    if output.reliability is not None:
        r = output.reliability.float().cpu().numpy()
        columns |= {
            f"reliability_{m}": r[:, k] for k, m in enumerate(MODALITIES) if m in form.spec.present
        }
    return columns
