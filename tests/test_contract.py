"""The model contract, over every registered model and preset: nothing is registered without it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmark.contract import CHECKS, check_declaration, hard_gradients
from benchmark.contract_cases import SAMPLES, Case, cases, total_loss
from benchmark.data.small import make_batch, make_spec
from benchmark.interface import MultimodalModel
from benchmark.registry import model_class, model_names
from protocols.availability import MASK_COUNT
from protocols.modalities import MODALITIES, Modalities
from tests.small_models import PRESETS, different, options, real_config, small_config

every_model = pytest.mark.parametrize("name", model_names())


def cases_of(name: str, preset: str = "paper") -> dict[str, Case]:
    """All kinds of data for the defaults; those with all modalities for the other presets."""
    found = cases(model_class(name), small_config(name, preset))
    return {k: c for k, c in found.items() if preset == "paper" or len(c.spec.present) == 3}


@every_model
def test_it_has_a_card_settings_presets_and_a_search_space(name: str) -> None:
    assert list(check_declaration(model_class(name))) == []


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(("name", "preset"), different(PRESETS))
def test_contract(name: str, preset: str, check: str) -> None:
    found = {data: list(CHECKS[check](case)) for data, case in cases_of(name, preset).items()}
    assert {data: problems for data, problems in found.items() if problems} == {}


@every_model
def test_gradients_are_finite_and_bounded_with_every_option(name: str) -> None:
    spec = make_spec()
    batch = make_batch(SAMPLES, spec)
    for config in options(name):
        problems = list(hard_gradients(Case(model_class(name), config, spec, batch)))
        assert problems == [], config


@pytest.mark.parametrize(("name", "preset"), different(PRESETS, real_config))
def test_gradients_start_small_at_real_sizes(name: str, preset: str) -> None:
    widths, lengths = {"text": 768, "audio": 74, "vision": 35}, dict.fromkeys(MODALITIES, 50)
    spec = replace(make_spec(), widths=widths, lengths=lengths)
    batch = make_batch(MASK_COUNT, spec)  # without each subset of the modalities once
    case = Case(model_class(name), real_config(name, preset), spec, batch)
    assert list(hard_gradients(case)) == []


@every_model
@pytest.mark.parametrize("data", ["sentiment", "4 classes"])
def test_it_can_overfit_one_batch(name: str, data: str) -> None:
    case = cases_of(name)[data]
    model, batch = case.model(), make_batch(8, case.spec)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    torch.manual_seed(0)
    for step in range(250):
        if step % 5 == 0 and fits(model, batch):
            return
        model.train()
        optimizer.zero_grad()
        total_loss(model, batch).backward()
        optimizer.step()
    assert fits(model, batch)


def fits(model: MultimodalModel, batch: Modalities) -> bool:
    """Whether most of the batch is answered rightly, or to a quarter of a constant's error."""
    prediction = model.eval()(batch).prediction
    if batch.label.dtype == torch.long:
        return bool((prediction.argmax(1) == batch.label).float().mean() >= 7 / 8)
    constant = (batch.label - batch.label.median()).abs().mean()
    return bool((prediction - batch.label).abs().mean() < 0.25 * constant)


@every_model
def test_it_takes_data_with_one_modality(name: str) -> None:
    spec = make_spec(present=("text",))
    case = Case(model_class(name), small_config(name), spec, make_batch(5, spec))
    total_loss(model := case.model(), case.samples).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
