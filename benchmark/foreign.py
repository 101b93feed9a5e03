"""Somebody's trained model as one that the harness can ask: any callable on a batch.

What it may be given and may return is in docs/own-model.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.errors import BenchmarkError
from benchmark.interface import BranchedModel, Loss, MultimodalModel, Output, Progress
from protocols.modalities import Modalities, Modality

KEYS = ("prediction", "log_variance", "reliability")
"""What a mapping that is returned may hold."""


def as_model(predict: Any) -> MultimodalModel:
    """A callable, or an object with ``encode`` and ``fuse``, as a model; a model of ours as it is.

    Raises:
        BenchmarkError: for what cannot be asked.
    """
    if isinstance(predict, MultimodalModel):
        return predict
    if isinstance(predict, type):
        raise BenchmarkError(
            f"{predict.__name__} is a class: give an instance of it that holds the trained weights"
        )
    if all(callable(getattr(predict, name, None)) for name in ("encode", "fuse")):
        return _Branched(predict)
    if not callable(predict):
        raise BenchmarkError(
            f"a {type(predict).__name__} is neither a callable on a batch nor an object with "
            "encode and fuse"
        )
    return _Whole(predict)


def as_output(returned: Any, batch_device: torch.device) -> Output:
    """What a callable returned, as an output on the batch's device, in single precision.

    Raises:
        BenchmarkError: for what is no prediction.
    """
    if isinstance(returned, Output):
        return returned
    if not isinstance(returned, Mapping):
        return Output(_tensor(returned, "prediction", batch_device))
    unknown = [str(key) for key in returned if key not in KEYS]
    if unknown or "prediction" not in returned:
        raise BenchmarkError(
            f"the mapping that predict returns holds {', '.join(map(str, returned)) or 'nothing'};"
            f" wanted: prediction, and where there are any {' and '.join(KEYS[1:])}"
        )
    given = {key: x for key, x in returned.items() if x is not None}
    prediction, log_variance, reliability = (
        _tensor(given[key], key, batch_device) if key in given else None for key in KEYS
    )
    if prediction is None:
        raise BenchmarkError("predict returns None as prediction")
    return Output(prediction, log_variance, reliability)


def _tensor(values: Any, name: str, device: torch.device) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().to(device, torch.float32)
    try:
        return torch.as_tensor(np.asarray(values, dtype=np.float32), device=device)
    except (TypeError, ValueError) as error:
        raise BenchmarkError(
            f"predict returns a {type(values).__name__} as {name}, which is no tensor or array of "
            f"numbers ({error})"
        ) from None


class _Given:
    """What a stranger's model has no answer to: it is never trained here."""

    def loss(self, output: Output, batch: Modalities, progress: Progress) -> Loss:
        """Never asked."""
        raise NotImplementedError("a model that was trained elsewhere")


class _Whole(_Given, MultimodalModel):
    """A callable. Its module, where it is one or a module's method, is a part of this one."""

    def __init__(self, predict: Callable[[Modalities], Any]) -> None:
        nn.Module.__init__(self)
        owner = getattr(predict, "__self__", None)
        self.module = owner if isinstance(owner, nn.Module) else None
        self.predict = predict

    def forward(self, batch: Modalities) -> Output:
        return as_output(self.predict(batch), batch.device)


class _Branched(_Given, BranchedModel):
    """An object with independent branches; called whole where it can be, to be compared."""

    def __init__(self, branches: Any) -> None:
        nn.Module.__init__(self)
        self.branches = branches

    def encode(self, modality: Modality, features: Tensor, mask: Tensor) -> Any:
        return self.branches.encode(modality, features, mask)

    def fuse(self, encoded: Mapping[Modality, Any]) -> Output:
        device = next((x.device for x in _tensors(encoded)), torch.device("cpu"))
        return as_output(self.branches.fuse(encoded), device)

    def forward(self, batch: Modalities) -> Output:
        if callable(self.branches):
            return as_output(self.branches(batch), batch.device)
        return super().forward(batch)


def _tensors(encoded: Any) -> list[Tensor]:
    """The tensors in what branches gave."""
    if isinstance(encoded, Tensor):
        return [encoded]
    parts = encoded.values() if isinstance(encoded, Mapping) else ()
    return [x for part in parts for x in _tensors(part)]
