"""LMF: the low-rank product is the full tensor product of the same factors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from baselines.lmf import LMF, LMFConfig
from benchmark.interface import DataSpec, Progress, count_parameters
from protocols.modalities import MODALITIES, Modality
from tests.batches import make_batch, make_spec

NOW = Progress(0, 1, 0, 1)
SMALL = {"hidden_text": 6, "hidden_audio": 4, "hidden_vision": 5, "rank": 3}


def make(task="regression", classes=1, **settings: object) -> LMF:
    torch.manual_seed(0)
    return LMF(LMFConfig(**{**SMALL, **settings}), make_spec(task, classes))


def branch_vectors(model: LMF, batch) -> dict[Modality, Tensor]:
    """[1; h_m] of each modality."""
    ones = torch.ones(len(batch), 1)
    return {
        m: torch.cat([ones, model.networks[m](batch.features[m], batch.masks[m])], 1)
        for m in MODALITIES
    }


@pytest.mark.parametrize(("task", "classes"), [("regression", 1), ("classification", 4)])
def test_the_fusion_is_that_of_the_full_tensor(task, classes) -> None:
    model, batch = make(task, classes).eval(), make_batch(5, make_spec(task, classes))
    z = branch_vectors(model, batch)
    sizes = [z[m].shape[1] for m in MODALITIES]
    full = torch.zeros(*sizes, classes)
    for r in range(SMALL["rank"]):
        w_t, w_a, w_v = (model.factors[m][r] for m in MODALITIES)
        for o in range(classes):
            outer = torch.outer(torch.outer(w_t[:, o], w_a[:, o]).flatten(), w_v[:, o])
            full[..., o] += model.rank_weights[0, r] * outer.view(*sizes)
    with torch.no_grad():
        model.bias.fill_(0.25)
    expected = torch.zeros(5, classes)
    for i in range(5):
        product = torch.einsum("t,a,v->tav", *(z[m][i] for m in MODALITIES))
        for o in range(classes):
            expected[i, o] = (product * full[..., o]).sum() + 0.25
    answer = model(batch).prediction
    torch.testing.assert_close(answer, expected if task == "classification" else expected[:, 0])


def test_parameter_count_by_hand() -> None:
    spec = DataSpec({"text": 768, "audio": 74, "vision": 35}, dict.fromkeys(MODALITIES, 50), ())
    lstm = 4 * 128 * (768 + 128 + 2)
    text = lstm + 128 * 64 + 64
    audio = 2 * 74 + 74 * 16 + 16 + 2 * (16 * 16 + 16)
    vision = 2 * 35 + 35 * 128 + 128 + 2 * (128 * 128 + 128)
    fusion = 3 * (65 + 17 + 129) + 3 + 1
    assert count_parameters(LMF(LMFConfig(), spec)) == text + audio + vision + fusion


def test_the_rank_weights_learn_unless_frozen() -> None:
    for frozen in (False, True):
        model = make(frozen_rank_weights=frozen)
        trainable = {n for n, p in model.named_parameters() if p.requires_grad}
        assert ({"rank_weights", "bias"} <= trainable) is not frozen


def test_the_factors_have_a_learning_rate_of_their_own() -> None:
    model = make(factor_lr_scale=0.5)
    factors, rest = model.phases()[0].groups
    assert factors["lr_scale"] == 0.5
    assert {id(p) for p in factors["params"]} == {id(p) for p in model.factors.values()}
    everything = [*factors["params"], *rest["params"]]
    assert {id(p) for p in everything} == {id(p) for p in model.parameters()}
    assert len(everything) == len(list(model.parameters()))


def test_padding_changes_nothing() -> None:
    model, batch = make().eval(), make_batch(6)
    torch.testing.assert_close(
        model(lengthened(batch)).prediction, model(batch).prediction, atol=1e-6, rtol=1e-5
    )


def lengthened(batch):
    """The same samples with padding before and behind."""
    return type(batch)(
        {m: torch.nn.functional.pad(x, (0, 0, 2, 3)) for m, x in batch.features.items()},
        {m: torch.nn.functional.pad(x, (2, 3)) for m, x in batch.masks.items()},
        batch.available,
        batch.label,
    )
