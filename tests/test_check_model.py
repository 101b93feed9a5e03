"""``benchmark check model``: each way to break the contract is found, by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.contract import findings
from benchmark.contract_cases import cases
from benchmark.interface import ModelCard, ModelConfig, MultimodalModel, Output, task_loss
from protocols.modalities import MODALITIES
from tests.test_plugin import install
from tests.tiny import benchmark


class Sound(MultimodalModel):
    """A bag of means that keeps the contract."""

    Config = ModelConfig
    card = ModelCard(title="Sound", citation="a test, 2026", source="official code read")

    def __init__(self, config, spec) -> None:
        super().__init__(config, spec)
        self.spec = spec
        self.hidden = nn.Linear(sum(spec.widths.values()), 8)
        self.out = nn.Linear(8, spec.classes)

    def forward(self, batch) -> Output:
        x = torch.cat([batch.features[m].mean(1) for m in MODALITIES], 1)
        y = self.out(self.hidden(x).tanh())
        return Output(y[:, 0] if self.spec.task == "regression" else y)

    def loss(self, output, batch, progress):
        return task_loss(output, batch.label, self.spec.task, "l1"), {}


class WrongShape(Sound):
    def forward(self, batch) -> Output:
        return Output(super().forward(batch).prediction[..., None])


class NotFinite(Sound):
    def forward(self, batch) -> Output:
        output = super().forward(batch)
        size = batch.features["audio"].square().sum()
        return Output(output.prediction + 0 * (size / size))


class Explodes(Sound):
    """A normalisation with a small floor: finite, and huge where a sample is all zero."""

    def __init__(self, config, spec) -> None:
        super().__init__(config, spec)
        nn.init.zeros_(self.hidden.bias)

    def forward(self, batch) -> Output:
        x = self.hidden(torch.cat([batch.features[m].mean(1) for m in MODALITIES], 1))
        for _ in range(3):
            x = nn.functional.layer_norm(x, (8,))
        y = self.out(x)
        return Output(y[:, 0] if self.spec.task == "regression" else y)


class MeansOfNothing(Sound):
    """Means over real steps, of which there may be none."""

    def forward(self, batch) -> Output:
        x = [batch.features[m].sum(1) / batch.masks[m].sum(1, keepdim=True) for m in MODALITIES]
        y = self.out(self.hidden(torch.cat(x, 1)).tanh())
        return Output(y[:, 0] if self.spec.task == "regression" else y)


class ExplodesLater(Sound):
    def loss(self, output, batch, progress):
        loss, terms = super().loss(output, batch, progress)
        return loss * 10.0 ** (6 * progress.epoch), terms


class SeesNeighbours(Sound):
    def forward(self, batch) -> Output:
        prediction = super().forward(batch).prediction
        return Output(prediction - prediction.mean(0))


class Writes(Sound):
    def forward(self, batch) -> Output:
        batch.features["vision"].mul_(100)
        return super().forward(batch)


class WritesInTraining(Sound):
    def loss(self, output, batch, progress):
        batch.label.add_(0 if self.spec.task == "classification" else 1)
        return super().loss(output, batch, progress)


class NeverTrained(Sound):
    def phases(self):
        phase = super().phases()[0]
        return [type(phase)(phase.name, [{"params": self.out.parameters()}], phase.loss)]


class NotReached(Sound):
    def __init__(self, config, spec) -> None:
        super().__init__(config, spec)
        self.spare = nn.Linear(3, 3)


class Draws(Sound):
    def forward(self, batch) -> Output:
        prediction = super().forward(batch).prediction
        return Output(prediction + 1e-3 * torch.randn_like(prediction))


class ReadsAvailability(Sound):
    def forward(self, batch) -> Output:
        prediction = super().forward(batch).prediction
        return Output(prediction * (1 + batch.available.float().mean()))


class Fails(Sound):
    def forward(self, batch) -> Output:
        raise RuntimeError("no such layer")


def failed(kind: type[MultimodalModel]) -> dict[str, str]:
    found = findings(kind, cases(kind, kind.Config()))
    return {f.check: f.problems[0] for f in found if f.problems}


def test_a_sound_model_has_no_findings() -> None:
    assert failed(Sound) == {}


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (WrongShape, "shapes", "prediction has shape (1, 1), not (1,)"),
        (NotFinite, "finite predictions", "prediction is not finite with no modality"),
        (Explodes, "finite and bounded gradients", "norm is"),
        (MeansOfNothing, "finite and bounded gradients", "where no sample has a real step"),
        (ExplodesLater, "finite and bounded gradients", "norm is"),
        (SeesNeighbours, "no batch neighbours", "between a batch of 15 and batches of 1"),
        (Writes, "no writing into the batch", "vision features"),
        (WritesInTraining, "no writing into the batch", "the loss writes into the batch's label"),
        (NeverTrained, "parameters in phases", "hidden.weight is in no phase"),
        (NotReached, "gradients reach all", "no gradient reaches spare.weight"),
        (Draws, "determinism", "a prediction repeated is another one"),
        (ReadsAvailability, "availability", "does not say reads_availability"),
        (Fails, "shapes", "RuntimeError: no such layer"),
    ],
)
def test_each_breach_is_found(kind: type[MultimodalModel], check: str, said: str) -> None:
    assert said in failed(kind)[check]


def test_the_command(tmp_path: Path) -> None:
    install(tmp_path)
    done = benchmark("check", "model", "bag", site=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok   no batch neighbours" in done.stdout
    assert "parameters; for 15 samples" in done.stdout
    module = tmp_path / "bag_of_means.py"
    module.write_text(
        module.read_text().replace("x = torch", "batch.features['text'].mul_(2); x = torch")
    )
    done = benchmark("check", "model", "bag", "--dataset", "synthetic-tiny", site=tmp_path)
    assert done.returncode == 1
    assert "FAIL no writing into the batch" in done.stdout
    wrong = benchmark("check", "model", "bag", "--preset", "papr", site=tmp_path)
    assert wrong.returncode == 2
    assert "Did you mean paper?" in wrong.stderr
