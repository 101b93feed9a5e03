"""MMIM: its estimates against independent computations, its two stages, its guards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.mmim import MMIM, MMIMConfig
from baselines.mutual_information import (
    JITTER,
    EntropyMemory,
    GaussianBound,
    contrastive_loss,
    gaussian_entropies,
    unit,
)
from benchmark.config import TrainingConfig
from benchmark.contract_cases import mixed, zeroed
from benchmark.interface import DataSpec, Progress
from benchmark.train import Callbacks, fit
from protocols.modalities import MODALITIES, Modalities
from protocols.regimes import Regime
from tests.batches import make_batch, make_dataset, make_spec

NOW = Progress(0, 2, 0, 4)


def at_step(step: int) -> Progress:
    return Progress(0, 2, step, 10)


def make(spec: DataSpec | None = None, **settings: object) -> MMIM:
    torch.manual_seed(0)
    return MMIM(MMIMConfig(**settings), spec or make_spec())  # type: ignore[arg-type]


def labelled(batch: Modalities, label: Tensor) -> Modalities:
    return Modalities(batch.features, batch.masks, batch.available, label)


@pytest.mark.parametrize(("bidirectional", "expected"), [(False, 282_633), (True, 292_425)])
def test_parameter_counts(bidirectional: bool, expected: int) -> None:
    widths = dict(zip(MODALITIES, (768, 74, 35), strict=True))
    model = make(DataSpec(widths, dict.fromkeys(MODALITIES, 50), MODALITIES),
                 bidirectional=bidirectional)  # fmt: skip
    assert sum(p.numel() for p in model.parameters()) == expected


def test_the_likelihood_is_a_normal_log_density_without_its_normaliser() -> None:
    bound = GaussianBound(12, 8)
    x, y = torch.randn(7, 12), torch.randn(7, 8)
    mean, log_variance = bound.mean(x), bound.log_variance(x)
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    normaliser = 0.5 * math.log(2 * math.pi) + 0.5 * log_variance
    expected = (normal.log_prob(y) + normaliser).sum(1).mean()
    torch.testing.assert_close(bound.log_likelihood(x, y, frozen=False), expected)
    torch.testing.assert_close(bound.log_likelihood(x, y, frozen=True), expected)


def test_a_frozen_bound_passes_gradient_to_its_vectors_only() -> None:
    bound = GaussianBound(12, 8)
    x, y = torch.randn(7, 12, requires_grad=True), torch.randn(7, 8, requires_grad=True)
    free = torch.autograd.grad(bound.log_likelihood(x, y, frozen=False), (x, y))
    bound.log_likelihood(x, y, frozen=True).backward()
    torch.testing.assert_close((x.grad, y.grad), free)
    assert all(p.grad is None for p in bound.parameters())


def test_a_log_variance_out_of_bounds_stays_finite() -> None:
    bound = GaussianBound(4, 4)
    for value in (-1e4, 1e4):
        torch.nn.init.constant_(bound.log_variance[2].bias, value)
        y = torch.randn(5, 4, requires_grad=True)
        likelihood = bound.log_likelihood(torch.randn(5, 4), y, frozen=False)
        likelihood.backward()
        assert likelihood.isfinite()
        assert y.grad is not None
        assert y.grad.isfinite().all()


def test_the_contrastive_loss_is_the_double_loop() -> None:
    x, g = torch.randn(6, 5), torch.randn(6, 5)
    total = 0.0
    for i in range(6):
        scores = [float(x[i] @ g[j] / (x[i].norm() * g[j].norm())) for j in range(6)]
        total -= scores[i] - math.log(sum(math.exp(s) for s in scores))
    assert float(contrastive_loss(x, g)) == pytest.approx(total / 6, rel=1e-5)
    assert float(contrastive_loss(x[:1], g[:1])) == pytest.approx(0.0, abs=1e-6)


def test_zero_rows_are_no_hazard_to_the_contrastive_loss() -> None:
    x = torch.randn(6, 5)
    x[2] = 0.0
    x.requires_grad_()
    loss = contrastive_loss(x, torch.randn(6, 5))
    loss.backward()
    assert loss.isfinite()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() < 10  # dividing by a tiny norm would give 1e8
    assert torch.equal(unit(x)[2], torch.zeros(5))


def reference_entropy(e: np.ndarray, keep: np.ndarray) -> float:
    """Half of numpy's log-determinant of one subset's biased covariance."""
    covariance = np.cov(e[keep].T, bias=True) + JITTER * np.eye(e.shape[1])
    sign, logdet = np.linalg.slogdet(covariance)
    assert sign == 1
    return 0.5 * float(logdet)


def test_entropies_are_log_determinants_of_the_subsets() -> None:
    e, label = torch.randn(2, 40, 4).tanh(), torch.randn(40)
    subsets = torch.stack([label > 0, label < 0]).float()
    entropies = gaussian_entropies(e, subsets)
    for p in range(2):
        for s, keep in enumerate((label > 0, label < 0)):
            expected = reference_entropy(e[p].double().numpy(), keep.numpy())
            assert float(entropies[p, s]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("batches", [1, 3])
def test_the_memory_is_the_original_list(batches: int) -> None:
    """It fills to ``batches``; then slot (step mod batches) is overwritten, after its use."""
    generator = torch.Generator().manual_seed(1)
    memory = EntropyMemory(batches)
    slots: list[tuple[Tensor, Tensor]] = []
    for step in range(8):
        e = torch.randn(2, 16, 4, generator=generator).tanh()
        label = torch.randn(16, generator=generator)
        subsets = torch.stack([label > 0, label < 0]).float()
        together = torch.cat([held for held, _ in slots] + [e], 1).double().numpy()
        labels = torch.cat([held for _, held in slots] + [label]).numpy()
        expected = sum(
            0.5 * (reference_entropy(pair, labels > 0) + reference_entropy(pair, labels < 0))
            for pair in together
        )
        assert float(memory.entropy(e, subsets)) == pytest.approx(expected, abs=2e-3)
        memory.push(e, subsets)
        if len(slots) < batches:
            slots.append((e, label))
        else:
            slots[step % batches] = (e, label)
        assert int(memory.pushed) == step + 1


@pytest.mark.parametrize(
    ("positive", "negative", "used"), [(6, 6, True), (5, 9, False), (9, 5, False), (0, 12, False)]
)
def test_too_few_of_a_sign_give_no_entropy(positive: int, negative: int, used: bool) -> None:
    e = torch.randn(2, positive + negative + 3, 4, requires_grad=True)
    label = torch.tensor([1.0] * positive + [-1.0] * negative + [0.0] * 3)
    entropy = EntropyMemory(1).entropy(e, torch.stack([label > 0, label < 0]).float())
    entropy.backward()
    assert e.grad is not None
    assert e.grad.isfinite().all()
    assert bool(entropy != 0) == used
    assert bool(e.grad.any()) == used


def test_constant_projections_have_a_finite_entropy() -> None:
    e = torch.zeros(1, 20, 4, requires_grad=True)
    subsets = torch.ones(2, 20)
    entropy = EntropyMemory(1).entropy(e, subsets)
    entropy.backward()
    assert float(entropy.detach()) == pytest.approx(0.5 * 4 * math.log(JITTER), rel=1e-4)
    assert e.grad is not None
    assert e.grad.isfinite().all()


def test_the_memory_takes_no_gradient() -> None:
    memory = EntropyMemory(1)
    past = torch.randn(1, 20, 4, requires_grad=True)
    memory.push(past, torch.ones(2, 20))
    memory.entropy(torch.randn(1, 20, 4, requires_grad=True), torch.ones(2, 20)).backward()
    assert past.grad is None


def test_the_loss_is_its_terms() -> None:
    model = make(fusion_dropout=0.0)
    for step in range(4):
        batch = make_batch(32, seed=step)
        output = model(batch)
        total, terms = model.loss(output, batch, at_step(step))
        x, z = output.extras["x"], output.extras["z"]
        contrast = sum(contrastive_loss(x[m], model.guess[m](z)) for m in MODALITIES)
        assert batch.label is not None
        expected = (output.prediction - batch.label).abs().mean() + 0.1 * contrast
        for m in ("vision", "audio"):
            bound = model.bounds[f"text_{m}"]
            assert isinstance(bound, GaussianBound)
            expected = expected - 0.1 * bound.log_likelihood(x["text"], x[m], frozen=True)
        assert bool(terms["entropy"] != 0) == (step > 1)  # only with step > memory_batches
        torch.testing.assert_close(total, expected - 0.1 * terms["entropy"])


def test_the_entropy_of_a_step_is_over_memory_and_batch() -> None:
    model = make()
    projections, labels = [], []
    for step in range(3):
        batch = make_batch(32, seed=step)
        output = model(batch)
        entropy = model.loss(output, batch, at_step(step))[1]["entropy"]
        projections.append([
            model.bounds[f"text_{m}"].project(output.extras["x"][m]).detach().double()
            for m in ("vision", "audio")
        ])  # fmt: skip
        labels.append(batch.label)
    label = torch.cat(labels[1:]).numpy()
    expected = 0.0
    for pair in (0, 1):
        e = torch.cat([p[pair] for p in projections[1:]]).numpy()
        expected += 0.25 * 2 * (reference_entropy(e, label > 0) + reference_entropy(e, label < 0))
    assert float(entropy.detach()) == pytest.approx(expected, abs=2e-2)


def test_the_entropy_reaches_the_encoders_through_a_constant_projection() -> None:
    model = make(contrast_weight=0.0)
    memory = model.memory
    for step in range(3):
        batch = make_batch(32, seed=step)
        terms = model.loss(model(batch), batch, at_step(step))[1]
    assert int(memory.pushed) == 3
    (grad,) = torch.autograd.grad(terms["entropy"], model.state_out["audio"].weight)
    assert grad.any()
    assert not any(b.entropy_projection.weight.requires_grad for b in model.bounds.values())
    trained = make(train_entropy_proj=True)
    likelihood, main = ({id(p) for p in ph.groups[0]["params"]} for ph in trained.phases())
    for bound in trained.bounds.values():
        assert id(bound.entropy_projection.weight) in main - likelihood


def train(make_model, epochs: int = 1, size: int = 80, **settings: object):
    data = make_dataset(sizes=(size, 16, 8))
    values = {"epochs": epochs, "batch_size": 32, "select_on": "mae", **settings}
    callbacks = Callbacks(lambda done, loss: None, lambda done, row: None, lambda state: None)
    return fit(
        make_model,
        data.training_data(),
        TrainingConfig(**values),  # type: ignore[arg-type]
        Regime(kind="clean"),
        0,
        callbacks,
    )


class Watched(MMIM):
    """Notes at each call of a stage's loss which parameters moved since the last call."""

    def __init__(self, config: MMIMConfig, spec: DataSpec) -> None:
        super().__init__(config, spec)
        self.calls: list[tuple[str, int, int]] = []
        self.snapshots: list[Mapping[str, Tensor]] = []

    def _note(self, stage: str, progress: Progress) -> None:
        self.calls.append((stage, progress.step, int(self.memory.pushed)))
        self.snapshots.append({n: p.detach().clone() for n, p in self.named_parameters()})

    def likelihood_loss(self, batch, progress):
        self._note("likelihood", progress)
        return super().likelihood_loss(batch, progress)

    def training_loss(self, batch, progress):
        self._note("train", progress)
        return super().training_loss(batch, progress)


def test_each_stage_moves_its_own_parameters_and_the_memory_is_reset() -> None:
    fitted = train(lambda: Watched(MMIMConfig(), make_spec()), epochs=2)
    model = fitted.model
    assert isinstance(model, Watched)
    steps = 3
    stages = [("likelihood", s, 0) for s in range(steps)]
    # a stage of likelihoods leaves the memory alone; the main stage starts with it empty
    stages += [("train", s, s) for s in range(steps)]
    held_over = [("likelihood", s, 0) for s in range(steps)]
    assert model.calls == stages + held_over + stages[steps:]
    for before, after, (stage, _, _) in zip(
        model.snapshots, model.snapshots[1:], model.calls, strict=False
    ):
        for name in before:
            if not torch.equal(before[name], after[name]):
                is_bound = name.startswith("bounds.")
                assert is_bound == (stage == "likelihood"), (stage, name)
                assert "entropy_projection" not in name
        moved = [n for n in before if not torch.equal(before[n], after[n])]
        assert moved
    first, last = model.snapshots[0], model.snapshots[-1]
    still = {n for n in first if torch.equal(first[n], last[n])}
    assert still == {n for n in first if "entropy_projection" in n}


def test_history_has_the_terms_of_both_stages() -> None:
    row = train(lambda: make(), epochs=1).history.iloc[0]
    assert row["likelihood_loss"] > 0
    assert row["train_entropy"] < 0
    assert {"train_task", "train_contrast", "train_log_likelihood"} <= set(row.index)


@pytest.mark.parametrize("adapter", ["off", "identity", "narrow"])
@pytest.mark.parametrize("pool", ["masked_mean", "cls"])
@pytest.mark.parametrize("degrade", [mixed, partial(zeroed, mask=0)])
def test_finite_through_a_full_memory(adapter: str, pool: str, degrade) -> None:
    """The contract test, with the entropy in play: it is not in an epoch's first steps."""
    model = make(text_adapter=adapter, text_pool=pool, train_entropy_proj=True)
    for step, size in enumerate((32, 32, 32, 1)):
        batch = degrade(make_batch(size, seed=step))
        loss = sum(phase.loss(batch, at_step(step))[0] for phase in model.phases())
        loss.backward()
        assert loss.isfinite()
        for parameter in model.parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.mark.parametrize("sign", [1.0, -1.0, 0.0])
def test_batches_of_one_sign(sign: float) -> None:
    model = make()
    for step in range(3):
        batch = make_batch(32, seed=step)
        batch = labelled(batch, torch.full((32,), sign))
        loss, terms = model.training_loss(batch, at_step(step))
        loss.backward()
        assert loss.isfinite()
        assert terms["entropy"] == 0


def test_frozen_text_gets_a_trainable_path_from_the_adapter() -> None:
    batch = make_batch(6)
    plain = make().eval()
    adapted = make(text_adapter="identity").eval()
    text = (batch.features["text"], batch.masks["text"])
    torch.testing.assert_close(adapted.encode("text", *text), plain.encode("text", *text))
    adapted.training_loss(batch, NOW)[0].backward()
    assert adapted.adapter.weight.grad.any()
    main = {id(p) for p in adapted.phases()[1].groups[0]["params"]}
    assert id(adapted.adapter.weight) in main


def test_text_vectors() -> None:
    batch = make_batch(5)
    x, mask = batch.features["text"], batch.masks["text"]
    for i, row in enumerate(make().encode("text", x, mask)["x"]):
        torch.testing.assert_close(row, x[i, mask[i]].mean(0))
    assert torch.equal(make(text_pool="cls").encode("text", x, mask)["x"], x[:, 0])


def test_padding_changes_nothing() -> None:
    batch, model = make_batch(5), make(bidirectional=True).eval()
    pad = torch.nn.functional.pad
    longer = Modalities(
        {m: pad(x, (0, 0, 0, 3)) for m, x in batch.features.items()},
        {m: pad(x, (0, 3)) for m, x in batch.masks.items()},
        batch.available,
    )
    torch.testing.assert_close(model(longer).prediction, model(batch).prediction)


def test_a_third_pair() -> None:
    model = make(audio_vision_pair=True)
    assert set(model.bounds) == {"text_vision", "text_audio", "vision_audio"}
    for step in range(3):
        loss, _ = model.training_loss(make_batch(32, seed=step), at_step(step))
    assert loss.isfinite()


def test_classes_are_measured_as_one_subset() -> None:
    spec = make_spec("classification", 4)
    model = make(spec)
    e = torch.randn(2, 20, 4).tanh()
    label = torch.randint(0, 4, (20,))
    entropy = model.memory.entropy(e, model._subsets(label).float())
    everything = np.ones(20, dtype=bool)
    expected = sum(reference_entropy(pair.double().numpy(), everything) for pair in e)
    assert float(entropy) == pytest.approx(expected, abs=1e-3)
