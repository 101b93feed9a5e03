"""Adam, AdamW and their learning-rate schedules: where ``training.learning_rate`` is used."""

from __future__ import annotations

from inspect import unwrap

import torch

from benchmark.config import TrainingConfig, selection_metric
from benchmark.errors import BenchmarkError
from benchmark.interface import Phase
from benchmark.metrics import LOWER_IS_BETTER


def _plain(kind: type[torch.optim.Adam]) -> type[torch.optim.Adam]:
    """The optimiser as it is beneath torch's requests that its compiler leave it alone.

    To make them imports the compiler, which is two seconds of every process that trains.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: unwrap(getattr(kind, name)) for name in names}
    step = torch.no_grad()(unwrap(kind.step))
    return type(kind.__name__, (kind,), {**methods, "step": step})


_ADAM, _ADAMW = _plain(torch.optim.Adam), _plain(torch.optim.AdamW)


def make_optimizer(phase: Phase, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam(W) over a phase's groups: the learning rate times each group's ``lr_scale``.

    Raises:
        BenchmarkError: where the phase has nothing to train.
    """
    groups = []
    for group in phase.groups:
        scale = group.get("lr_scale", 1.0)
        rest = {key: value for key, value in group.items() if key != "lr_scale"}
        groups.append({"lr": config.learning_rate * scale, **rest})
    parameters = [p for group in groups for p in group["params"]]
    if not parameters:
        raise BenchmarkError(f"phase '{phase.name}' has no parameters to train")
    kind = _ADAMW if config.optimizer == "adamw" else _ADAM
    return kind(
        groups,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
        capturable=all(p.is_cuda for p in parameters),  # a step may be recorded there
    )


Scheduler = torch.optim.lr_scheduler.LRScheduler


def make_schedule(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, epochs: int
) -> Scheduler | None:
    """How the rate of a phase's optimiser changes from epoch to epoch; None where it does not.

    Args:
        optimizer: the phase's.
        config: ``schedule`` and the settings that it uses.
        epochs: the number of epochs in which the phase is active; the schedule counts these.
    """
    if config.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, epochs))
    if config.schedule == "plateau":
        # Its threshold is relative to the best value, so the metric keeps its own sign.
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer,
            mode="min" if selection_metric(config) in LOWER_IS_BETTER else "max",
            factor=config.plateau_factor,
            patience=config.plateau_patience,
        )
    if config.schedule == "step":
        return torch.optim.lr_scheduler.StepLR(
            optimizer, step_size=config.step_epochs, gamma=config.step_factor
        )
    return None
