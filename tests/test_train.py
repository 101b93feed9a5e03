"""Training: what the trainer is given, selection, phases, resume state, divergence."""

from __future__ import annotations

import copy
import inspect
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmark import optimizers
from benchmark.config import TrainingConfig
from benchmark.data.dataset import TrainingData
from benchmark.errors import BenchmarkError
from benchmark.interface import ModelConfig, MultimodalModel, Output, Phase
from benchmark.metrics import evaluate
from benchmark.optimizers import make_optimizer
from benchmark.train import Callbacks, DivergedError, fit, stream_seed
from protocols.modalities import MODALITIES
from protocols.regimes import Regime
from tests.batches import make_dataset


class Linear(MultimodalModel):
    """The smallest model: a linear map of the mean of all features."""

    Config = ModelConfig

    def __init__(self, spec) -> None:
        super().__init__(None, spec)
        self.out = torch.nn.Linear(sum(spec.widths.values()), spec.classes)
        self.dropout = torch.nn.Dropout(0.2)

    def forward(self, batch) -> Output:
        x = torch.cat([batch.features[m].mean(1) for m in MODALITIES], dim=1)
        out = self.out(self.dropout(x))
        return Output(out[:, 0] if out.shape[1] == 1 else out)

    def loss(self, output, batch, progress):
        if batch.label.dtype == torch.long:
            loss = torch.nn.functional.cross_entropy(output.prediction, batch.label)
        else:
            loss = (output.prediction - batch.label).square().mean()
        return loss, {"squared": loss}


def config(**settings) -> TrainingConfig:
    values = {"epochs": 4, "learning_rate": 0.02, "select_on": "mae", **settings}
    return TrainingConfig(**values)


def run(data, settings=None, regime=None, seed=1, resume=None, saved=None, make=Linear, rows=None):
    callbacks = Callbacks(
        step=lambda done, loss: None,
        epoch=lambda done, row: rows.append(row) if rows is not None else None,
        save=lambda state: saved.append(copy.deepcopy(state)) if saved is not None else None,
    )
    return fit(
        lambda: make(data.spec),
        data.training_data(),
        settings or config(),
        regime or Regime(kind="spectrum"),
        seed,
        callbacks,
        resume,
    )


@pytest.fixture(scope="module")
def data():
    return make_dataset(sizes=(50, 20, 10))


def weights(fitted) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in fitted.model.parameters()])


def test_training_is_never_given_the_test_split(data) -> None:
    assert "test" not in set(TrainingData.__dataclass_fields__)
    assert "test" not in inspect.signature(fit).parameters
    given = data.training_data()
    test = data.splits["test"].samples.features["text"]
    for value in (given.train.samples, given.valid.samples):
        assert value.features["text"].data_ptr() != test.data_ptr()


def test_the_kept_epoch_is_the_best_on_validation(data) -> None:
    settings = config(epochs=12, learning_rate=0.3, schedule="constant")
    fitted = run(data, settings, Regime(kind="clean"))
    history = fitted.history
    best = history["valid_mae"].idxmin()
    assert history["best"].to_numpy().nonzero()[0][-1] == best
    assert best != len(history) - 1  # else the check below says nothing
    valid = data.splits["valid"].samples
    with torch.no_grad():
        prediction = fitted.model.eval()(valid).prediction.numpy()
    mae = evaluate("regression", prediction, valid.label.numpy())["mae"]
    assert mae == pytest.approx(history["valid_mae"][best], abs=1e-6)


def test_a_seed_decides_everything(data) -> None:
    assert torch.equal(weights(run(data)), weights(run(data)))
    assert not torch.equal(weights(run(data)), weights(run(data, seed=2)))


@pytest.mark.parametrize("schedule", ["cosine", "plateau", "step", "constant"])
@pytest.mark.parametrize("kill_after", [1, 3])
def test_a_resumed_run_is_the_uninterrupted_one(data, schedule, kill_after: int) -> None:
    settings = config(schedule=schedule, plateau_patience=0, step_epochs=2)
    saved: list = []
    whole = run(data, settings, saved=saved)
    torch.manual_seed(999)  # whatever happened in between
    resumed = run(data, settings, resume=saved[kill_after - 1])
    assert torch.equal(weights(whole), weights(resumed))
    assert whole.history.equals(resumed.history)


def test_the_resume_state_is_plain(data, tmp_path) -> None:
    saved: list = []
    run(data, saved=saved)
    torch.save(saved[0], tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    assert loaded["epoch"] == 1


def test_cosine_schedule_is_the_closed_form(data) -> None:
    rows: list = []
    run(data, config(epochs=6), rows=rows)
    expected = [0.02 * 0.5 * (1 + math.cos(math.pi * e / 6)) for e in range(6)]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], expected, rtol=1e-6)


def test_a_step_schedule_falls_every_few_epochs(data) -> None:
    rows: list = []
    run(data, config(epochs=5, schedule="step", step_epochs=2, step_factor=0.5), rows=rows)
    rates = [row["learning_rate"] for row in rows]
    assert rates == pytest.approx([0.02, 0.02, 0.01, 0.01, 0.005])


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_plateau_lowers_the_rate_where_nothing_improves(task) -> None:
    """A rate so small that no prediction changes: neither MAE nor accuracy improves."""
    data = make_dataset(sizes=(30, 20, 5), task=task, classes=3 if task == "classification" else 1)
    settings = config(
        epochs=6, learning_rate=1e-6, schedule="plateau", plateau_patience=1, plateau_factor=0.5,
        select_on="acc" if task == "classification" else "mae",
    )  # fmt: skip
    rows: list = []
    run(data, settings, Regime(kind="clean"), rows=rows)
    rates = np.array([row["learning_rate"] for row in rows]) / 1e-6
    np.testing.assert_allclose(rates, [1, 1, 1, 0.5, 0.5, 0.25])


def test_the_streams_of_a_seed_share_no_bits() -> None:
    purposes = ("weights and dropout", "order", "corruption")
    seeds = [stream_seed(seed, purpose) for seed in (0, 1) for purpose in purposes]
    draws = [torch.rand(1000, generator=torch.Generator().manual_seed(s)) for s in seeds]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))
    assert correlation.abs().max() < 0.15  # 4.7 standard errors


def test_validation_counts_every_sample_alike(data) -> None:
    """20 samples in batches of 16 and 4: the mean over samples, not over batches."""
    rows: list = []
    fitted = run(data, config(epochs=1), Regime(kind="clean"), rows=rows)
    valid = data.splits["valid"].samples
    with torch.no_grad():
        error = (fitted.model.eval()(valid).prediction - valid.label).abs().mean()
    assert rows[0]["valid_mae"] == pytest.approx(float(error), abs=1e-6)


def test_classification_selects_on_accuracy() -> None:
    data = make_dataset(sizes=(60, 30, 10), task="classification", classes=3)
    history = run(data, config(select_on="acc", epochs=6)).history
    kept = history["best"].to_numpy().nonzero()[0][-1]
    assert history["valid_acc"][kept] == history["valid_acc"].max()


def test_clipping_by_norm_bounds_the_update(data) -> None:
    seen = []

    class Watching(Linear):
        def loss(self, output, batch, progress):
            total, terms = super().loss(output, batch, progress)
            return total * 1e6, terms

    original = optimizers._ADAM.step

    def step(self, *args, **kwargs):
        gradients = [p.grad for g in self.param_groups for p in g["params"]]
        seen.append(float(torch.cat([g.flatten() for g in gradients]).norm()))
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizers._ADAM, "step", step)
        run(data, config(epochs=1), make=Watching)
    assert max(seen) <= 1.0 + 1e-4
    assert min(seen) > 0.99


def test_phases_run_in_turn_with_their_own_parameters(data) -> None:
    calls = []

    class TwoPhases(Linear):
        def __init__(self, spec) -> None:
            super().__init__(spec)
            self.first = torch.nn.Parameter(torch.zeros(1))
            self.epochs_begun = 0

        def begin_epoch(self, progress) -> None:
            self.epochs_begun += 1

        def phases(self):
            def warm(batch, progress):
                calls.append(("warm", progress.epoch))
                return (self.first - 3).square().sum(), {}

            def main(batch, progress):
                calls.append(("main", progress.epoch))
                return self.training_loss(batch, progress)

            return [
                Phase(
                    "warm",
                    [{"params": [self.first], "lr_scale": 10.0, "weight_decay": 0.0}],
                    warm,
                    lambda progress: progress.epoch < 2,
                ),
                Phase("main", [{"params": list(self.out.parameters())}], main),
            ]

    rows: list = []
    fitted = run(data, config(epochs=3), make=TwoPhases, rows=rows)
    steps = math.ceil(50 / 16)
    expected = []
    for epoch in range(3):
        expected += ([("warm", epoch)] * steps if epoch < 2 else []) + [("main", epoch)] * steps
    assert calls == expected
    assert fitted.model.epochs_begun == 3
    assert fitted.model.first.item() > 0.9  # 8 steps of about 0.2 each towards 3
    assert {"warm_loss", "main_loss", "main_squared"} <= rows[0].keys()
    assert "warm_loss" not in rows[2]


class Pretrained(Linear):
    """Two epochs of pre-training on the clean batch, then the main phase."""

    def __init__(self, spec) -> None:
        super().__init__(spec)
        self.seen: list = []

    def first_selectable(self, epochs) -> int:
        return 2

    def phases(self):
        def teach(batch, progress, clean):
            self.seen.append((batch, clean))
            return self.training_loss(clean, progress)

        groups = [{"params": list(self.parameters())}]
        return [
            Phase("teacher", groups, teach, lambda p: p.epoch < 2, needs_clean=True),
            Phase("main", groups, self.training_loss, lambda p: p.epoch >= 2),
        ]


def test_a_phase_may_ask_for_the_clean_batch(data) -> None:
    model = run(data, config(), Regime(kind="noise", intensity=0.5), make=Pretrained).model
    degraded, clean = model.seen[0]
    assert len(model.seen) == 2 * math.ceil(50 / 16)
    assert torch.equal(degraded.label, clean.label)
    assert not torch.equal(degraded.features["audio"], clean.features["audio"])
    stored = data.splits["train"].samples.features["audio"]
    assert all((stored == row).all(dim=(1, 2)).any() for row in clean.features["audio"])


def test_a_pretraining_epoch_is_never_the_best(data) -> None:
    free = run(data, config(epochs=6, learning_rate=0.3, schedule="constant"), Regime(kind="clean"))
    assert free.history["valid_mae"].idxmin() < 5  # the rate is too high: early epochs do well
    history = run(data, config(epochs=6), Regime(kind="clean"), make=Pretrained).history
    assert not history["best"][:2].any()
    assert history["best"][2:].any()


def test_a_phases_schedule_counts_its_own_epochs(data) -> None:
    rows: list = []
    run(data, config(epochs=6), make=Pretrained, rows=rows)
    main = [0.02] * 3 + [0.02 * 0.5 * (1 + math.cos(math.pi * e / 4)) for e in range(1, 4)]
    np.testing.assert_allclose([row["learning_rate"] for row in rows], main, rtol=1e-6)


def test_no_epoch_left_to_select_from_is_said_before_training(data) -> None:
    with pytest.raises(BenchmarkError, match="epoch 3 on"):
        run(data, config(epochs=2), make=Pretrained)


def test_validation_that_is_never_a_number_says_so(data) -> None:
    class Silent(Linear):
        def forward(self, batch):
            output = super().forward(batch)
            return output if self.training else Output(output.prediction * float("nan"))

    with pytest.raises(DivergedError, match="validation mae"):
        run(data, make=Silent)


def test_divergence_is_an_error(data) -> None:
    class Exploding(Linear):
        def loss(self, output, batch, progress):
            return output.prediction.sum() * float("nan"), {}

    with pytest.raises(DivergedError, match="learning_rate"):
        run(data, make=Exploding)


@pytest.mark.parametrize("decoupled", [False, True])
def test_adamw_decays_weights_apart_from_the_gradient(decoupled: bool) -> None:
    """One step at a constant gradient: Adam's own is the rate, whatever the gradient's size."""
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    settings = config(
        optimizer="adamw" if decoupled else "adam", learning_rate=0.1, weight_decay=0.5
    )
    phase = Phase("train", [{"params": [weight]}], lambda batch, progress: (weight.sum(), {}))
    optimizer = make_optimizer(phase, settings)
    (3.0 * weight.sum()).backward()
    optimizer.step()
    decayed = 2.0 * (1 - 0.1 * 0.5) if decoupled else 2.0
    assert weight.item() == pytest.approx(decayed - 0.1, abs=1e-6)


LEAN = """
import sys
import torch
from benchmark.config import TrainingConfig
from benchmark.interface import Phase
from benchmark.optimizers import make_optimizer
weight = torch.nn.Parameter(torch.ones(3))
phase = Phase("train", [{"params": [weight]}], None)
optimizer = make_optimizer(phase, TrainingConfig())
weight.sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
assert "torch._dynamo" not in sys.modules
"""


def test_an_optimiser_imports_no_compiler() -> None:
    done = subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_step_is_torchs_bit_for_bit(name: str) -> None:
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(5, 4))
    theirs = torch.nn.Parameter(ours.detach().clone())
    settings = config(optimizer=name, learning_rate=1e-2, weight_decay=1e-2)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    phase = Phase("train", [{"params": [ours]}], lambda: None)  # type: ignore[arg-type,return-value]
    pairs = [
        (ours, make_optimizer(phase, settings)),
        (theirs, kind([theirs], lr=1e-2, weight_decay=1e-2, fused=True)),
    ]
    for step in range(5):
        for weight, optimizer in pairs:
            optimizer.zero_grad()
            (weight * torch.arange(20.0).view(5, 4).sin() + step * weight**2).sum().backward()
            optimizer.step()
    assert torch.equal(ours, theirs)
    assert pairs[0][1].state_dict()["state"].keys() == pairs[1][1].state_dict()["state"].keys()
