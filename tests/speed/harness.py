"""Time the harness itself at MOSI's size: ``python -m tests.speed.harness``.

Random features of CMU-MOSI's full package (1284/229/686 samples, 50 steps, widths 768/74/35),
one thread unless --threads says otherwise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from benchmark.config import TrainingConfig
from benchmark.data.dataset import Dataset, Split
from benchmark.environment import choose_device
from benchmark.interface import BranchedModel, DataSpec, MultimodalModel, Phase, Progress
from benchmark.optimizers import make_optimizer
from benchmark.predict import fill_table
from benchmark.registry import model_class
from protocols.conditions import conditions_of
from protocols.modalities import MODALITIES, Modalities
from protocols.regimes import Regime
from protocols.training import degrade_training_batch

WIDTHS = {"text": 768, "audio": 74, "vision": 35}
STEPS, BATCH = 50, 16
SIZES = {"train": 1284, "valid": 229, "test": 686}


def mosi_sized() -> Dataset:
    """Random resident data of MOSI's size."""
    generator = torch.Generator().manual_seed(0)
    splits = {}
    for name, size in SIZES.items():
        lengths = torch.randint(5, STEPS + 1, (size, 1), generator=generator)
        mask = torch.arange(STEPS) < lengths
        features = {
            m: torch.randn(size, STEPS, WIDTHS[m], generator=generator) * mask[..., None]
            for m in MODALITIES
        }
        label = torch.rand(size, generator=generator) * 6 - 3
        available = torch.ones(size, 3, dtype=torch.bool)
        batch = Modalities(features, dict.fromkeys(MODALITIES, mask), available, label)
        splits[name] = Split(tuple(f"{name}{i}" for i in range(size)), batch)
    spec = DataSpec(WIDTHS, dict.fromkeys(MODALITIES, STEPS), MODALITIES)
    return Dataset("random", "", spec, splits, {m: torch.tensor(1.0) for m in MODALITIES})


def resident_batches(split: Split, device: torch.device):
    """Batches as training gathers them: by index, on the device."""
    order = torch.randperm(len(split)).to(device)
    for start in range(0, len(split), BATCH):
        yield split.samples.select(order[start : start + BATCH])


def timed(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def show(title: str, action: Callable[[], object], device: torch.device) -> float:
    """Print and return the time of an action that is long enough to need no warm-up."""
    seconds = timed(action, device)
    print(f"{title:<50} {seconds:8.2f} s", flush=True)
    return seconds


class Whole(MultimodalModel):
    """A branched model with its branches hidden."""

    def __init__(self, inner: BranchedModel) -> None:
        torch.nn.Module.__init__(self)
        self.inner = inner

    def forward(self, batch):
        """The inner model's forward pass."""
        return self.inner(batch)

    def loss(self, output, batch, progress):
        """Not used here."""
        raise AssertionError


def build(name: str, data: Dataset, device: torch.device) -> MultimodalModel:
    """A model at its defaults."""
    kind = model_class(name)
    return kind(kind.Config(), data.spec).to(device)


def step_of(
    phase: Phase,
    data: Dataset,
    generator: torch.Generator,
    context: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Callable[[Modalities, Progress], None]:
    """A step of a phase of spectrum training, its loss worked out within a context."""
    optimizer = make_optimizer(phase, TrainingConfig(select_on="mae"))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    regime = Regime(kind="spectrum")

    def step(batch: Modalities, progress: Progress) -> None:
        degraded = degrade_training_batch(batch, regime, generator, data.sigma_ref, MODALITIES)
        clean = {"clean": batch} if phase.needs_clean else {}
        with context():
            loss, _ = phase.loss(degraded, progress, **clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimizer.step()

    return step


def epoch_of(model: MultimodalModel, data: Dataset, device: torch.device) -> Callable[[], None]:
    """One epoch of a model's last phase, as an action."""
    generator = torch.Generator(device=device).manual_seed(0)
    step = step_of(list(model.phases())[-1], data, generator)

    def epoch() -> None:
        model.train()
        for batch in resident_batches(data.splits["train"], device):
            step(batch, Progress(0, 1, 0, 1))

    return epoch


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--models", default="qamoe,mult")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    data = mosi_sized().to(device)
    where = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"{options.threads} thread(s)"
    )
    print(f"{device.type}, {where}, torch {torch.__version__}; 1284 training, 686 test samples")
    conditions = conditions_of(("grid",), MODALITIES, ("seed_a1",), 1, "uniform_0.7")

    def table(model: MultimodalModel) -> Callable[[], object]:
        return lambda: fill_table(model, data.splits["test"], data.spec, data.sigma_ref, conditions)

    for name in options.models.split(","):
        model = build(name, data, device)
        show(f"{name}: an epoch of spectrum training", epoch_of(model, data, device), device)
        seconds = show(f"{name}: table of 57 x 686", table(model), device)
        if isinstance(model, BranchedModel):
            whole = show(f"{name}: the same in whole passes", table(Whole(model)), device)
            print(f"{name}: branches save a factor of {whole / seconds:.1f}")
    if device.type == "cpu":
        _peak_memory()


def _peak_memory() -> None:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak resident memory of all of the above: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
