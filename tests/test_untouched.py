"""A model that writes into its batch fails, and no other model's data change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import torch

from benchmark.config import TrainingConfig
from benchmark.errors import BenchmarkError
from benchmark.interface import BranchedModel, ModelConfig, MultimodalModel, Output
from benchmark.predict import fill_table, predict
from benchmark.train import Callbacks, fit
from protocols.conditions import conditions_of
from protocols.modalities import MODALITIES, Modalities
from protocols.regimes import Regime
from tests.batches import make_dataset

Write = Callable[[Modalities], object]
WRITES: dict[str, Write] = {
    "features of text": lambda batch: batch.features["text"].mul_(100),
    "features of vision": lambda batch: batch.features["vision"].data.add_(1),
    "features of audio": lambda batch: batch.features["audio"][0].zero_(),
    "mask of audio": lambda batch: batch.masks["audio"].fill_(True),
    "availability": lambda batch: batch.available.logical_not_(),
}


class Writer(MultimodalModel):
    """Predicts a mean, after it has written."""

    def __init__(self, write: Write, when: tuple[bool, ...] = (True, False)) -> None:
        torch.nn.Module.__init__(self)
        self.write, self.weight = write, torch.nn.Parameter(torch.ones(()))
        self.when = when

    def forward(self, batch) -> Output:
        if self.training in self.when:
            self.write(batch)
        return Output(self.weight * batch.features["text"].mean((1, 2)))

    def loss(self, output, batch, progress):
        return output.prediction.square().mean(), {}


class BranchWriter(BranchedModel):
    """The same with branches; what is encoded is scaled in place."""

    Config = ModelConfig

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.weight = torch.nn.Parameter(torch.ones(()))

    def encode(self, modality, features, mask):
        return {"mean": features.mul_(100).mean((1, 2)) * self.weight}

    def fuse(self, encoded):
        return Output(sum(encoded[m]["mean"] for m in MODALITIES))

    def loss(self, output, batch, progress):
        raise NotImplementedError


def tensors(samples: Modalities) -> list[torch.Tensor]:
    return [*samples.features.values(), *samples.masks.values(), samples.available]


def unchanged(run: Callable[[], object], samples: Modalities) -> bool:
    before = [x.clone() for x in tensors(samples)]
    with pytest.raises(BenchmarkError, match="writes into its batch"):
        run()
    return all(map(torch.equal, before, tensors(samples)))


@pytest.mark.parametrize("named", WRITES)
def test_it_is_told_what_it_wrote_into(named: str) -> None:
    samples = make_dataset().splits["valid"].samples
    model = Writer(WRITES[named])
    assert unchanged(lambda: predict(model, samples, 64), samples)
    with pytest.raises(BenchmarkError, match=named):
        predict(model, samples, 4)


@pytest.mark.parametrize("model", [BranchWriter(), Writer(WRITES["mask of audio"])])
def test_a_table_leaves_the_data_as_they_were(model: MultimodalModel) -> None:
    data = make_dataset()
    split = data.splits["test"]
    conditions = conditions_of(("I", "II"), MODALITIES, ("seed_a1",), 1, "uniform_0.7")

    def table() -> object:
        return fill_table(model, split, data.spec, data.sigma_ref, conditions)

    assert unchanged(table, split.samples)


def test_who_writes_nothing_may_be_given_what_is_not_a_number() -> None:
    samples = make_dataset().splits["valid"].samples
    samples.features["text"][0, 0, 0] = torch.nan
    assert len(predict(Writer(lambda batch: None), samples, 4).prediction) == len(samples)


@pytest.mark.parametrize("named", WRITES)
@pytest.mark.parametrize("streams", [False, True])
def test_training_is_told_too_and_the_data_stay_as_they_were(named: str, streams: bool) -> None:
    data = make_dataset()
    if streams:  # batches are views of a chunk then
        split = data.splits["train"]
        data.splits["train"] = replace(split, streams_to=split.device)
    samples = data.splits["train"].samples
    before = [x.clone() for x in tensors(samples)]

    def train(regime: Literal["clean", "spectrum"]) -> None:
        fit(
            lambda: Writer(WRITES[named], when=(True,)),
            data.training_data(),
            TrainingConfig(epochs=1, select_on="mae"),
            Regime(kind=regime),
            1,
            Callbacks(lambda done, loss: None, lambda done, row: None, lambda state: None),
        )

    for regime in ("clean", "spectrum"):
        if named == "features of vision":  # through x.data, which only the contract sees
            train(regime)
        else:
            with pytest.raises(BenchmarkError, match=f"writes into its batch .*{named}"):
                train(regime)
    assert all(map(torch.equal, before, tensors(samples)))
