"""The model contract, over every registered model: nothing is registered without it."""

from __future__ import annotations

import pytest
import torch

from benchmark.config import TrainingConfig, build
from benchmark.interface import BranchedModel, MultimodalModel, Output, Progress
from benchmark.predict import fill_table
from benchmark.registry import model_class, model_names
from protocols.conditions import PROTOCOLS, conditions_of
from protocols.modalities import MODALITIES
from tests.batches import make_batch, make_dataset, make_spec, with_zeroed

NOW = Progress(0, 2, 1, 4)
SMALL = {
    "qamoe": {"width": 16, "encoder_heads": 2},
    "mult": {"width": 8, "heads": 2, "layers": 1},
    "mmim": {"fusion_width": 32},
    "misa": {"width": 16, "feed_forward": 32, "dropout": 0.0},
    "tfn": {"hidden_text": 16, "text_out": 8, "hidden_vision": 8, "dropout_post": 0.0},
    "lmf": {"hidden_text": 16, "hidden_vision": 16, "dropout_audio": 0.0, "dropout_vision": 0.0},
    "sam_lml": {"width": 8, "heads": 2, "layers": 1, "head_width": 8, "lowq_probability": 0.1},
    "momke": {"width": 16, "layers": 2, "dropout": 0.0},
    "mmin": {
        **{"width": 16, "blocks": 2},
        **{"text_dropout": 0.0, "teacher_dropout": 0.0, "dropout": 0.0},
    },
}
"""Settings that make the tests quick; a model that is not here is tested at its defaults."""

every_model = pytest.mark.parametrize("name", model_names())
both_tasks = pytest.mark.parametrize(
    ("task", "classes"), [("regression", 1), ("classification", 4)]
)


def make(name: str, task="regression", classes=1, present=MODALITIES, seed=0) -> MultimodalModel:
    kind = model_class(name)
    torch.manual_seed(seed)
    config = build(kind.Config, SMALL.get(name, {}), name)
    return kind(config, make_spec(task, classes, present))


def total_loss(model: MultimodalModel, batch) -> torch.Tensor:
    return sum(
        phase.loss(batch, NOW, **({"clean": batch} if phase.needs_clean else {}))[0]
        for phase in model.phases()
    )


@every_model
def test_it_has_a_card_settings_presets_and_a_search_space(name: str) -> None:
    kind = model_class(name)
    assert kind.card.title
    assert kind.card.citation
    for field in kind.Config.model_fields.values():
        assert field.description, "each setting says its source"
    for preset in kind.presets.values():
        build(kind.Config, preset.model, name)
        build(TrainingConfig, preset.training, "training")
    for key, values in kind.search_space.items():
        section, _, field = key.partition(".")
        target = {"model": kind.Config, "training": TrainingConfig}[section]
        for value in values:
            build(target, {field: value}, section)


@every_model
@both_tasks
def test_shapes(name: str, task, classes) -> None:
    spec = make_spec(task, classes)
    for size in (1, 5):
        output: Output = make(name, task, classes).eval()(make_batch(size, spec))
        assert output.prediction.shape == ((size,) if task == "regression" else (size, classes))
        if output.log_variance is not None:
            assert output.log_variance.shape == (size,)
        if output.reliability is not None:
            assert output.reliability.shape == (size, 3)
            assert ((output.reliability > 0) & (output.reliability < 1)).all()


@every_model
@both_tasks
@pytest.mark.parametrize("mask", range(8))
def test_finite_with_any_modality_missing(name: str, task, classes, mask: int) -> None:
    spec = make_spec(task, classes)
    for size in (1, 6):
        model = make(name, task, classes)
        loss = total_loss(model, with_zeroed(make_batch(size, spec), mask))
        loss.backward()
        assert loss.isfinite()
        for parameter_name, parameter in model.named_parameters():
            if parameter.grad is not None:
                assert parameter.grad.isfinite().all(), parameter_name


@every_model
@pytest.mark.parametrize("present", [("text", "audio"), ("audio", "vision"), ("text",)])
def test_finite_where_the_data_lack_a_modality(name: str, present) -> None:
    spec = make_spec(present=present)
    model = make(name, present=present)
    loss = total_loss(model, make_batch(5, spec))
    loss.backward()
    assert loss.isfinite()


@every_model
def test_gradient_reaches_every_parameter(name: str) -> None:
    model = make(name)
    total_loss(model, make_batch(15)).backward()  # odd: signs of an L1 loss must not cancel
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    without = [n for n, p in trainable.items() if p.grad is None or not p.grad.any()]
    assert without == []


@every_model
@both_tasks
def test_it_can_overfit_one_batch(name: str, task, classes) -> None:
    model, batch = make(name, task, classes), make_batch(8, make_spec(task, classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    torch.manual_seed(0)
    for _ in range(250):
        optimizer.zero_grad()
        total_loss(model, batch).backward()
        optimizer.step()
    prediction = model.eval()(batch).prediction
    if task == "regression":
        constant = (batch.label - batch.label.median()).abs().mean()
        assert (prediction - batch.label).abs().mean() < 0.25 * constant
    else:
        assert (prediction.argmax(1) == batch.label).float().mean() >= 7 / 8


@every_model
def test_a_prediction_does_not_depend_on_its_neighbours(name: str) -> None:
    model, batch = make(name).eval(), make_batch(12)
    together = model(batch).prediction
    alone = torch.cat([model(batch.select(slice(i, i + 1))).prediction for i in range(12)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@every_model
def test_determinism_under_a_seed(name: str) -> None:
    def one_step() -> torch.Tensor:
        model = make(name, seed=3)
        total_loss(model, make_batch(8)).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    assert torch.equal(one_step(), one_step())


@every_model
def test_availability_is_not_read_unless_the_card_says_so(name: str) -> None:
    if model_class(name).card.reads_availability:
        return
    model, batch = make(name).eval(), make_batch(4)
    hidden = type(batch)(batch.features, batch.masks, torch.zeros(4, 3, dtype=torch.bool))
    assert torch.equal(model(batch).prediction, model(hidden).prediction)


@every_model
def test_branches_give_what_the_whole_model_gives(name: str) -> None:
    model = make(name).eval()
    if not isinstance(model, BranchedModel):
        return
    data = make_dataset()
    conditions = conditions_of(PROTOCOLS, MODALITIES, ("seed_a1",), 2, "uniform_0.7")
    arguments = (data.splits["test"], data.spec, data.sigma_ref, conditions)
    branched = fill_table(model, *arguments)

    class Whole(MultimodalModel):
        """The same model without its branches showing."""

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.inner = model

        def forward(self, batch):
            return self.inner(batch)

        def loss(self, output, batch, progress):
            return self.inner.loss(output, batch, progress)

    whole = fill_table(Whole(), *arguments)
    torch.testing.assert_close(
        torch.from_numpy(branched.prediction), torch.from_numpy(whole.prediction), atol=1e-5, rtol=0
    )
