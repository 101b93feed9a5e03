"""A training step of every model, preset and option: nothing a GPU would refuse or wait for."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from benchmark.data.small import make_batch, make_spec
from benchmark.interface import ModelConfig, Progress, Task
from benchmark.registry import model_class, model_names
from protocols.modalities import MODALITIES
from protocols.regimes import Regime
from protocols.training import degrade_training_batch
from tests.placement import THERE, PlacementError, as_on_a_gpu
from tests.small_models import PRESETS, different, small_config


def options_of(kind: type[ModelConfig]) -> list[dict[str, Any]]:
    """Each value, other than the default, of each setting that has a few."""
    found = []
    for field, about in kind.model_fields.items():
        values: tuple[Any, ...] = ()
        if get_origin(about.annotation) is Literal:
            values = get_args(about.annotation)
        elif about.annotation is bool:
            values = (True, False)
        found += [{field: value} for value in values if value != about.default]
    return found


def train_one_step(name: str, config: ModelConfig, task: Task = "regression") -> None:
    """Of every phase, in the last of three epochs in which it is active.

    What is drawn on the host there would be drawn once for all replays of a recorded step.
    """
    spec = make_spec(task, 3)
    try:
        model = model_class(name)(config, spec).to(THERE).train()
    except ValueError:  # an option that does not fit these data
        return
    batch = make_batch(8, spec).to(THERE)
    sigma = {m: torch.ones(spec.widths[m], device=THERE) for m in MODALITIES}
    regime = Regime(kind="spectrum")
    for phase in model.phases():
        times = [Progress(epoch, 20, 8, 9) for epoch in (19, 10, 0)]
        progress = next(at for at in times if phase.active(at))
        model.begin_epoch(progress)
        drawn = host_draws()
        with as_on_a_gpu():
            # that device has no generators
            degraded = degrade_training_batch(batch, regime, None, sigma, MODALITIES)  # type: ignore[arg-type]
            clean = {"clean": batch} if phase.needs_clean else {}
            loss, _ = phase.loss(degraded, progress, **clean)
            loss.backward()
        if model.recordable:
            assert host_draws() == drawn


def host_draws() -> tuple[object, ...]:
    """The states of the generators on the host."""
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[2]


@pytest.mark.parametrize(("name", "preset"), different(PRESETS))
def test_no_preset_waits_for_a_gpu(name: str, preset: str) -> None:
    train_one_step(name, small_config(name, preset))
    if preset == "paper":
        train_one_step(name, small_config(name, preset), "classification")


@pytest.mark.parametrize("name", model_names())
def test_no_option_waits_for_a_gpu(name: str) -> None:
    base = small_config(name)
    for option in options_of(type(base)):
        try:
            config = type(base)(**{**base.model_dump(), **option})
        except ValidationError:  # an option that needs another one
            continue
        train_one_step(name, config)


FAULTS: dict[str, Callable[[Tensor], object]] = {
    "a number read": lambda x: x.sum().item(),
    "a decision by content": lambda x: bool((x > 0).any()),
    "a mask as an index": lambda x: x[x > 0],
    "a list as an index": lambda x: x[[0, 1]],
    "a tensor made of a number": lambda x: x + torch.tensor([1.0], device=x.device),
    "a tensor made on the host": lambda x: x + torch.ones(3),
    "an index made on the host": lambda x: x[torch.arange(2)],
    "a copy to the host": lambda x: x.cpu(),
    "a copy from the host": lambda x: x + torch.ones(3).to(x.device),
    "new_tensor": lambda x: x * x.new_tensor([2.0, 2.0, 2.0]),
    "nonzero": lambda x: x.nonzero(),
    "a list": lambda x: x.tolist(),
    "a factor that is checked": lambda x: torch.linalg.cholesky(x[:3]),
    "an inverse that is checked": lambda x: torch.linalg.inv(x[:3]),
    "weights that are checked": lambda x: torch.multinomial(x, 1),
    "a draw on the host": lambda x: x + torch.rand(3, generator=torch.Generator()),
    "a generator on the host": lambda x: torch.empty_like(x).normal_(generator=torch.Generator()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_stand_in_refuses(fault: str) -> None:
    x = torch.empty(4, 3, device=THERE)
    with as_on_a_gpu(), pytest.raises((PlacementError, RuntimeError, NotImplementedError)):
        FAULTS[fault](x)


def test_the_stand_in_lets_pass_what_a_gpu_does_alone() -> None:
    x = torch.empty(4, 3, device=THERE, requires_grad=True)
    with as_on_a_gpu():
        y = x * 2 + torch.arange(3, device=THERE) + torch.full((), 1.5)
        torch.linalg.cholesky_ex(y[:3])
        y = torch.where(y > 0, y, 0.0).index_select(0, torch.arange(2, device=THERE))
        y[:, 1:].sum().backward()
    assert x.grad is not None
