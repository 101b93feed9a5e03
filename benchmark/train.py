"""Fit one run: epochs of phases, validation, selection of the best epoch, resume.

The data are resident on the device (or stream to it, where they do not fit) and a step never waits
for the device: batches are gathered by index, corruption is drawn on the device, losses add up
there and are read once per epoch. The test split is not among the arguments.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from benchmark.config import TrainingConfig, selection_metric
from benchmark.data.dataset import TrainingData
from benchmark.environment import has_streams
from benchmark.errors import BenchmarkError
from benchmark.interface import MultimodalModel, Phase, Progress
from benchmark.metrics import LOWER_IS_BETTER, evaluate
from benchmark.optimizers import make_optimizer, make_schedule
from benchmark.predict import batch_size_for, predict
from benchmark.replay import Replayed, Step, beside_the_default_stream
from benchmark.untouched import unwritten
from protocols.modalities import Modalities
from protocols.regimes import Regime
from protocols.training import degrade_training_batch, degrade_validation_split

if TYPE_CHECKING:
    import pandas as pd

State = dict[str, Any]


class ResumeError(RuntimeError):
    """The state to go on from does not fit the model or the trainer as they are now."""


class DivergedError(RuntimeError):
    """The training loss became NaN or infinite."""


Watch = Callable[[int, MultimodalModel], None]
"""(epochs done, the model)."""


def unwatched(epoch: int, model: MultimodalModel) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Callbacks:
    """What the caller hears while a run trains.

    Attributes:
        step: (epochs done, as a fraction; the last read training loss, NaN before the first).
        epoch: (epochs done, the epoch's row of the history).
        save: the resume state after an epoch.
        watch: (epochs done, the model), once an epoch and its selection are over. Nothing comes
            back from it.
    """

    step: Callable[[float, float], None]
    epoch: Callable[[int, Mapping[str, float]], None]
    save: Callable[[State], None]
    watch: Watch = unwatched


@dataclass(frozen=True)
class Fitted:
    """A trained model with the weights of its best validation epoch, and the curves."""

    model: MultimodalModel
    history: pd.DataFrame


def stream_seed(seed: int, purpose: str) -> int:
    """The seed of one of a run's streams of random numbers; each purpose has bits of its own."""
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1  # torch takes 63 bits without a sign


def fit(
    make_model: Callable[[], MultimodalModel],
    data: TrainingData,
    config: TrainingConfig,
    regime: Regime,
    seed: int,
    callbacks: Callbacks,
    resume: State | None = None,
) -> Fitted:
    """Train a model.

    Args:
        make_model: builds the model on the CPU, from torch's global generator.
        data: train and validation splits, placed for the device to train on.
        config: training settings; ``select_on`` resolved to a metric.
        regime: how training and validation inputs are degraded.
        seed: decides initialisation, dropout, batch order and training corruption.
        callbacks: see :class:`Callbacks`.
        resume: a state that ``callbacks.save`` was given; the result then equals that of an
            uninterrupted run, bit for bit on the CPU.

    Raises:
        DivergedError: where the training loss is not finite at the end of an epoch, or the
            validation metric in none.
        ResumeError: where ``resume`` does not fit; nothing was trained then.
        BenchmarkError: where no epoch is left to select from, or a phase has nothing to train.
    """
    device = data.train.device
    torch.manual_seed(stream_seed(seed, "weights and dropout"))
    model = make_model().to(device)
    order = torch.Generator().manual_seed(stream_seed(seed, "order"))
    corruption = torch.Generator(device=device).manual_seed(stream_seed(seed, "corruption"))
    loop = _Loop(model, data, config, regime, order, corruption, callbacks)
    if resume is not None:
        try:
            loop.load_state(resume)
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ResumeError(str(error)) from error
    while loop.epoch < config.epochs:
        loop.run_epoch()
        callbacks.save(loop.state())
    if not loop.best_weights:
        raise DivergedError(
            f"the validation {loop.selection} is not a number in any epoch that may be kept; "
            "try a lower training.learning_rate"
        )
    model.load_state_dict(loop.best_weights)
    model.eval()
    import pandas as pd  # not for a plan with nothing to do

    return Fitted(model, pd.DataFrame(loop.rows))


class _Loop:
    """The state of a training run between epochs."""

    def __init__(
        self,
        model: MultimodalModel,
        data: TrainingData,
        config: TrainingConfig,
        regime: Regime,
        order: torch.Generator,
        corruption: torch.Generator,
        callbacks: Callbacks,
    ) -> None:
        self.model, self.data, self.config, self.regime = model, data, config, regime
        self.order, self.corruption, self.callbacks = order, corruption, callbacks
        self.device = data.train.device
        self.phases = list(model.phases())
        self.optimizers = [make_optimizer(phase, config) for phase in self.phases]
        self.epoch = 0
        self.schedulers = [
            make_schedule(optimizer, config, self._active_epochs(phase))
            for optimizer, phase in zip(self.optimizers, self.phases, strict=True)
        ]
        self.selectable_from = model.first_selectable(config.epochs)
        if not 0 <= self.selectable_from < config.epochs:
            raise BenchmarkError(
                f"of {config.epochs} epochs none is left to select a checkpoint from: the model "
                f"allows that from epoch {self.selectable_from + 1} on. Raise training.epochs"
            )
        self.selection = selection_metric(config)
        self.sign = 1.0 if self.selection in LOWER_IS_BETTER else -1.0
        self.validation = degrade_validation_split(
            data.valid.samples.as_float32(),
            data.valid.sample_ids,
            regime,
            {m: sigma.to(data.valid.samples.device) for m, sigma in data.sigma_ref.items()},
            data.spec.present,
            config.batch_size,
        )
        self.best_value = math.inf
        self.best_weights: dict[str, Tensor] = {}
        self.rows: list[dict[str, float]] = []

    def run_epoch(self) -> None:
        """One epoch: every active phase, validation, selection, schedule."""
        row: dict[str, float] = {
            "epoch": self.epoch + 1,
            "learning_rate": self.optimizers[-1].param_groups[0]["lr"],
        }
        start = self._progress(0)
        self.model.begin_epoch(start)
        active = [phase.active(start) for phase in self.phases]
        for phase, optimizer, runs in zip(self.phases, self.optimizers, active, strict=True):
            if runs:
                row |= self._run_phase(phase, optimizer)
        row |= self._validate()
        measured = row[f"valid_{self.selection}"]
        value = self.sign * measured
        best = self.epoch >= self.selectable_from and value < self.best_value
        row["best"] = float(best)
        if best:
            self.best_value = value
            self.best_weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        for scheduler, runs in zip(self.schedulers, active, strict=True):
            if not runs:
                continue
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step(measured)
            elif scheduler is not None:
                scheduler.step()
        self.epoch += 1
        self.rows.append(row)
        self.callbacks.watch(self.epoch, self.model)
        self.callbacks.epoch(self.epoch, row)

    def _run_phase(self, phase: Phase, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """One pass over the training set; the mean of each loss term over the samples."""
        self.model.train()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        sums: dict[str, Tensor] = {}

        def train_on(batch: Modalities, progress: Progress) -> None:
            degraded = degrade_training_batch(
                batch, self.regime, self.corruption, self.data.sigma_ref, self.data.spec.present
            )
            clean = {"clean": batch} if phase.needs_clean else {}
            with unwritten(batch, degraded):
                loss, terms = phase.loss(degraded, progress, **clean)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self.config.clip_norm is not None:
                nn.utils.clip_grad_norm_(parameters, self.config.clip_norm, foreach=True)
            if self.config.clip_value is not None:
                nn.utils.clip_grad_value_(parameters, self.config.clip_value, foreach=True)
            optimizer.step()
            for name, value in {"loss": loss, **terms}.items():
                weighted = value.detach() * len(batch)
                sums[name] = sums[name].add_(weighted) if name in sums else weighted

        replays = has_streams(self.device) and self.model.recordable
        run: Step = Replayed(train_on, self.corruption) if replays else train_on
        with beside_the_default_stream(self.device):
            for step, batch in enumerate(self._batches()):
                run(batch, self._progress(step))
                self._report_step(step, sums["loss"])
        values = torch.stack(list(sums.values())).div(len(self.data.train)).tolist()
        means = dict(zip(sums, values, strict=True))
        if not math.isfinite(means["loss"]):
            raise DivergedError(
                f"the {phase.name} loss is {means['loss']} in epoch {self.epoch + 1}; "
                "try a lower training.learning_rate"
            )
        return {f"{phase.name}_{name}": value for name, value in means.items()}

    def _batches(self) -> Iterator[Modalities]:
        order = torch.randperm(len(self.data.train), generator=self.order)
        return self.data.train.batches(order, self.config.batch_size)

    def _validate(self) -> dict[str, float]:
        """Metrics on the whole (degraded) validation split at once: every sample counts alike."""
        prediction = predict(self.model, self.validation, batch_size_for(self.device)).prediction
        assert self.validation.label is not None
        label = self.validation.label.cpu().numpy()
        metrics = evaluate(self.data.spec.task, prediction.cpu().numpy(), label)
        return {f"valid_{name}": value for name, value in metrics.items()}

    def _active_epochs(self, phase: Phase) -> int:
        starts = (replace(self._progress(0), epoch=epoch) for epoch in range(self.config.epochs))
        return sum(map(phase.active, starts))

    def _progress(self, step: int) -> Progress:
        steps = math.ceil(len(self.data.train) / self.config.batch_size)
        return Progress(self.epoch, self.config.epochs, step, steps)

    def _report_step(self, step: int, loss_sum: Tensor) -> None:
        """Tell how far the epoch is, ten times in it.

        The loss is the epoch's running mean on the CPU; elsewhere it is the last epoch's, since
        reading the running one would make the step wait for the device.
        """
        progress = self._progress(step + 1)
        if progress.step % max(1, progress.steps // 10):
            return
        loss = math.nan
        if self.device.type == "cpu":
            loss = loss_sum.item() / min(
                len(self.data.train), progress.step * self.config.batch_size
            )
        elif self.rows:
            loss = self.rows[-1].get(f"{self.phases[-1].name}_loss", math.nan)
        self.callbacks.step(self.epoch + progress.step / progress.steps, loss)

    def state(self) -> State:
        """Everything that the next epoch depends on: tensors and plain values only."""
        return {
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedulers": [None if s is None else s.state_dict() for s in self.schedulers],
            "order": self.order.get_state(),
            "corruption": self.corruption.get_state(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            "best_value": self.best_value,
            "best_weights": self.best_weights,
            "rows": self.rows,
        }

    def load_state(self, state: State) -> None:
        """Go on from a state of :meth:`state`."""
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for scheduler, saved in zip(self.schedulers, state["schedulers"], strict=True):
            if scheduler is not None:
                scheduler.load_state_dict(saved)
        self.order.set_state(state["order"].cpu())
        self.corruption.set_state(state["corruption"].cpu())
        torch.set_rng_state(state["torch"].cpu())
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"].cpu())
        self.epoch = state["epoch"]
        self.best_value = state["best_value"]
        self.best_weights = state["best_weights"]
        self.rows = state["rows"]
