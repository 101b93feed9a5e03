"""A training step of every model, preset and option: nothing a GPU would refuse or wait for."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.data.small import make_batch, make_spec
from benchmark.interface import ModelConfig, Progress, Task
from benchmark.registry import model_class, model_names
from protocols.modalities import MODALITIES
from protocols.regimes import Regime
from protocols.training import degrade_training_batch
from tests.placement import THERE, PlacementError, as_on_a_gpu
from tests.small_models import PRESETS, different, options, small_config

LOOKS_WHAT_IS_MISSING = {"imder"}
"""Predicts by a sampler that runs for those samples alone that lack its modality."""


def train_one_step(name: str, config: ModelConfig, task: Task = "regression") -> None:
    """Of every phase, in the last of three epochs in which it is active; then predict.

    What is drawn on the host there would be drawn once for all replays of a recorded step.
    """
    spec = make_spec(task, 3)
    model = model_class(name)(config, spec).to(THERE).train()
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
    if name not in LOOKS_WHAT_IS_MISSING:
        with as_on_a_gpu(), torch.inference_mode():
            model.eval()(batch.without_label())


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
    for config in options(name):
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


def test_the_stand_in_answers_the_second_time_as_the_first() -> None:
    x = torch.empty(4, 3, device=THERE)
    for _ in range(2):
        with as_on_a_gpu():
            y = x.add(1)
            assert (y.shape, y.stride(), y.dtype) == ((4, 3), (3, 1), torch.float32)
            assert x.add(1.5).dtype == torch.float32
            assert x.long().add(1).dtype == torch.int64
            assert x.long().add(1.0).dtype == torch.float32
            assert y.t().mul(2).stride() == (1, 3)
            y.transpose_(0, 1)  # what is kept of the answer stays as it was
            values, places = x.max(dim=1)
            assert values.dtype == torch.float32
            assert places.dtype == torch.int64
