"""SMIL's two stages: the inner step by hand, its noise, priors in training, gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.hiding import draw_shown
from baselines.smil import SMIL
from baselines.smil_config import SMILConfig
from benchmark.config import TrainingConfig
from benchmark.interface import Progress
from benchmark.train import Callbacks, fit
from protocols.modalities import Modalities
from protocols.regimes import Regime
from tests.batches import make_batch, make_dataset, make_spec, with_zeroed
from tests.test_smil import STILL, make, states

PRETRAINING, META = Progress(0, 10, 0, 4), Progress(5, 10, 0, 4)


def test_the_inner_step_lowers_the_loss_it_is_made_on() -> None:
    model, batch = make(inner_lr=1e-3, **STILL), make_batch(9)
    z, there = model._states(batch)
    view = draw_shown(there, model.patterns)

    def loss_at(weights: dict[str, Tensor]) -> Tensor:
        fused = torch.func.functional_call(model.fusion, weights, (z, view))
        return (fused.answer[:, 0] - batch.label).abs().mean()

    before = loss_at(dict(model.fusion.named_parameters()))
    assert float(loss_at(model.adapted(before)).detach()) < float(before.detach())


def outer_by_hand(model: SMIL, batch: Modalities, view: Tensor, second_order: bool) -> Tensor:
    """The second stage's loss without noise: explicit weights, an explicit forward pass."""
    z, there = model._states(batch)
    names, weights = zip(*model.fusion.named_parameters(), strict=True)

    def passed(own: dict[str, Tensor], seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = []
        for row in range(len(z)):
            parts = []
            for m in range(3):
                others = [j for j in range(3) if j != m]
                u = torch.cat([z[row, j] * float(seen[row, j]) for j in others])
                w = F.softplus(u @ own["mixing"][m] + own["mixing_bias"][m, 0])
                parts.append(z[row, m] if seen[row, m] else w / w.sum() @ model.fusion.centres[m])
            rows.append(torch.cat(parts))
        g = torch.stack(rows)
        q = (g @ own["inner.weight"].T + own["inner.bias"]).relu()
        y = (q @ own["answer.weight"].T + own["answer.bias"])[:, 0]
        return g, q, (y - batch.label).abs()

    inner = passed(dict(zip(names, weights, strict=True)), view)[2].mean()
    found = torch.autograd.grad(inner, weights, create_graph=True)
    if not second_order:
        found = [g.detach() for g in found]
    own = {n: w - model.config.inner_lr * g for n, w, g in zip(names, weights, found, strict=True)}
    complete = there.all(1)
    completed, full = passed(own, view), passed(own, there)
    distance = sum(
        (a - b.detach())[complete].square().mean()
        for a, b in zip(completed[:2], full[:2], strict=True)
    )
    outer = completed[2][complete].mean() + full[2][complete].mean() + 0.5 * distance
    return inner + outer


def gradients(model: SMIL, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    return list(found)


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("inner_lr", [0.0, 0.1])
def test_the_second_stage_by_hand(inner_lr: float, second_order: bool) -> None:
    """With an inner rate of 0 it is the plain joint loss."""
    settings = {"inner_lr": inner_lr, "second_order": second_order, "align_weight": 0.5, **STILL}
    model, batch = make(**settings), make_batch(8)
    batch = replace(batch, features={**batch.features, "audio": batch.features["audio"].clone()})
    batch.features["audio"][:3] = 0.0
    torch.manual_seed(1)
    total, _ = model.meta_loss(batch, META)
    torch.manual_seed(1)
    view = draw_shown(model._states(batch)[1], model.patterns)
    expected = outer_by_hand(model, batch, view, second_order)
    torch.testing.assert_close(total, expected)
    for one, other in zip(gradients(model, total), gradients(model, expected), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_the_order_of_the_gradient_matters() -> None:
    batch, found = make_batch(8), []
    for second_order in (False, True):
        model = make(inner_lr=0.5, second_order=second_order, **STILL)
        torch.manual_seed(1)
        found.append(gradients(model, model.meta_loss(batch, META)[0]))
    assert any(not torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("noise", ["additive", "multiplicative", "off"])
def test_where_nothing_is_hidden_completed_and_full_are_one(noise: str) -> None:
    model = make(simulate=False, noise=noise)
    _, terms = model.meta_loss(make_batch(7), META)
    assert float(terms["align"].detach()) == 0.0


def test_without_a_complete_sample_the_inner_loss_is_all() -> None:
    model, batch = make(), with_zeroed(make_batch(5), 0b011)
    total, terms = model.meta_loss(batch, META)
    torch.testing.assert_close(total, terms["inner"])
    total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_noise_by_hand() -> None:
    z, there = states(8)
    draw = torch.randn(8, 24), torch.randn(8, 8)
    for kind in ("additive", "multiplicative"):
        fusion = make(noise=kind, dropout=0.0).fusion
        g0 = fusion.complete(z, there).flatten(1)
        n1 = F.softplus(fusion.joint_noise(g0) + draw[0])
        n2 = F.softplus(fusion.hidden_noise(g0) + draw[1])
        g = g0 + n1 if kind == "additive" else g0 * n1
        q = fusion.inner(g).relu()
        q = q + n2 if kind == "additive" else q * n2
        fused = fusion(z, there, draw)
        torch.testing.assert_close(fused.joint, g)
        torch.testing.assert_close(fused.hidden, q)
        torch.testing.assert_close(fused.answer, fusion.answer(q))
        torch.testing.assert_close(fused.noise[0], n1.mean())


def test_noise_is_drawn_in_meta_training_and_never_at_evaluation() -> None:
    model, batch = make(dropout=0.0, simulate=False), make_batch(6)
    losses = {float(model.meta_loss(batch, META)[0].detach()) for _ in range(3)}
    assert len(losses) == 3
    first = {float(model.pretrain_loss(batch, PRETRAINING)[0].detach()) for _ in range(3)}
    assert len(first) == 1
    for noisy in (True, False):
        model = make(eval_noise_mean=noisy).eval()
        before = model(batch).prediction
        assert torch.equal(model(batch).prediction, before)
        with torch.no_grad():
            model.fusion.joint_noise.bias.add_(1.0)
            model.fusion.hidden_noise.bias.add_(1.0)
        assert torch.equal(model(batch).prediction, before) is not noisy


def test_a_prediction_has_the_noise_of_a_draw_of_zero() -> None:
    model, batch = make().eval(), make_batch(6)
    z, there = model._states(batch)
    zeros = torch.zeros(6, 24), torch.zeros(6, 8)
    expected = model.fusion(z, there, zeros).answer[:, 0]
    torch.testing.assert_close(model(batch).prediction, expected)


def test_the_first_stage_has_zeros_for_what_is_missing() -> None:
    model, batch = make(dropout=0.0), with_zeroed(make_batch(6), 0b101)
    z, there = model._states(batch)
    g = (z * there[..., None]).flatten(1)
    answer = model.fusion.answer(model.fusion.inner(g).relu())[:, 0]
    total, _ = model.pretrain_loss(batch, PRETRAINING)
    torch.testing.assert_close(total, (answer - batch.label).abs().mean())
    total.backward()
    assert model.fusion.mixing.grad is None or not model.fusion.mixing.grad.any()


def test_the_stages_share_the_epochs() -> None:
    model = make(pretrain_share=0.3)
    active = [
        [p.name for p in model.phases() if p.active(Progress(epoch, 10, 0, 1))]
        for epoch in range(10)
    ]
    assert active == [["pretrain"]] * 3 + [["meta"]] * 7
    assert (model.first_selectable(10), model.first_selectable(1)) == (3, 0)


def train(save, resume=None):
    data = make_dataset()

    def build() -> SMIL:
        return SMIL(SMILConfig(width=8, priors=4, pretrain_share=0.5), data.spec)

    config, regime = TrainingConfig(epochs=4, select_on="mae"), Regime(kind="spectrum")
    callbacks = Callbacks(lambda *_: None, lambda *_: None, save)
    return fit(build, data.training_data(), config, regime, 1, callbacks, resume)


def test_priors_are_made_where_meta_training_begins() -> None:
    saved = []
    train(lambda state: saved.append({n: x.clone() for n, x in state["model"].items()}))
    centres = [state["fusion.centres"] for state in saved]
    assert [bool(c.any()) for c in centres] == [False, False, True, True]
    assert torch.equal(centres[2], centres[3])
    filled = [state["reservoir.filled"].tolist() for state in saved]
    assert filled[0] == [0, 0, 0]  # only the last epoch of the first stage fills it
    assert all(0 < number <= 48 for number in filled[1])
    assert filled[3] == filled[1]


def test_a_run_resumed_where_meta_training_begins_is_the_same() -> None:
    class StopError(Exception):
        pass

    kept = {}

    def stop(state) -> None:
        if state["epoch"] == 2:
            kept.update(state)
            raise StopError

    with pytest.raises(StopError):
        train(stop)
    resumed, whole = (train(lambda state: None, state).model.state_dict() for state in (kept, None))
    assert all(torch.equal(x, whole[name]) for name, x in resumed.items())


def test_without_pre_training_the_first_batch_makes_the_priors() -> None:
    model = SMIL(SMILConfig(width=8, priors=4), make_spec())
    model.begin_epoch(Progress(0, 1, 0, 4))
    assert not model.fitted
    model.meta_loss(make_batch(9), Progress(0, 1, 0, 4))
    assert model.fitted
    assert model.reservoir.filled.tolist() == [9, 9, 9]
    assert model.fusion.centres.any()


def test_two_modalities_complete_each_other() -> None:
    spec = make_spec(present=("text", "audio"))
    model, batch = make(spec), make_batch(5, spec)
    assert model.fusion.mixing.shape == (2, 8, 4)
    assert model.fusion.inner.in_features == 16
    model.meta_loss(batch, META)[0].backward()
    assert model.eval()(batch).prediction.isfinite().all()


def test_completion_beats_zeros_where_another_modality_determines_the_missing_one() -> None:
    """Audio is the label, text tells audio: without audio, mixtures of priors against zeros."""
    torch.manual_seed(0)
    spec = replace(make_spec(), widths={"text": 2, "audio": 2, "vision": 2})

    def drawn(count: int, seed: int) -> Modalities:
        batch = make_batch(count, spec, seed)
        sign = torch.randint(2, (count,), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
        told = {
            m: (sign[:, None] * batch.masks[m])[..., None].expand(-1, -1, 2)
            for m in ("text", "audio")
        }
        return replace(batch, features={**batch.features, **told}, label=2.0 * sign)

    model = SMIL(SMILConfig(width=8, priors=4, dropout=0.0, noise="off"), spec)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for epoch in range(6):
        now = Progress(epoch, 6, 0, 20)
        model.begin_epoch(now)
        (phase,) = (phase for phase in model.phases() if phase.active(now))
        for step in range(20):
            optimizer.zero_grad()
            phase.loss(drawn(16, 100 * epoch + step), now)[0].backward()
            optimizer.step()
    test = with_zeroed(drawn(100, 12345), 0b101)
    with torch.no_grad():
        completed = model.eval()(test).prediction
        nn.init.zeros_(model.fusion.centres)
        zero_filled = model(test).prediction
    errors = [(answer - test.label).abs().mean() for answer in (completed, zero_filled)]
    assert errors[0] < errors[1] - 0.1
