"""PaSE: its prototypes, transport and Shapley values by closed forms and brute force."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor

from baselines.momke import EXPERTS
from baselines.pase import PAIRS, PaSE, PaSEConfig
from baselines.prototypes import Prototypes, batch_means, sinkhorn, transport
from baselines.shapley import coalition_value, gradient_factors, shapley_values
from benchmark.config import TrainingConfig
from benchmark.interface import DataSpec, Progress, count_parameters
from benchmark.train import Callbacks, fit
from protocols.modalities import MODALITIES, Modalities
from protocols.regimes import Regime
from tests.batches import make_batch, make_dataset, make_spec, with_zeroed

NOW, LATE = Progress(0, 10, 0, 4), Progress(9, 10, 0, 4)
LENGTHS_50 = dict.fromkeys(MODALITIES, 50)


def make(spec: DataSpec | None = None, **settings: object) -> PaSE:
    torch.manual_seed(0)
    small = {"width": 8, "layers": 2, "dropout": 0.0, "sinkhorn_iterations": 20, **settings}
    return PaSE(PaSEConfig(**small), spec or make_spec())  # type: ignore[arg-type]


def labelled(count: int, labels: list[float]) -> Modalities:
    return replace(make_batch(count), label=torch.tensor(labels))


def vectors(model: PaSE, batch: Modalities) -> Tensor:
    """(B, 3, d) of the encoders."""
    found = [model.encode(m, batch.features[m], batch.masks[m])["h"] for m in MODALITIES]
    return torch.stack(found, 1).detach()


@pytest.mark.parametrize(
    ("width", "audio", "vision", "expected"),
    [
        (128, 74, 35, 1_252_021),
        (128, 5, 20, 1_241_269),
        (256, 74, 35, 4_764_981),
        (256, 5, 20, 4_743_477),
    ],
)
def test_parameter_counts(width: int, audio: int, vision: int, expected: int) -> None:
    spec = DataSpec({"text": 768, "audio": audio, "vision": vision}, LENGTHS_50, MODALITIES)
    assert count_parameters(PaSE(PaSEConfig(width=width), spec)) == expected


def test_prototypes_are_running_means_of_class_means() -> None:
    h, present = torch.randn(5, 3, 4), torch.ones(5, 3, dtype=torch.bool)
    present[1, 0] = False
    classes = torch.tensor([2, 2, 2, 5, 5])
    prototypes = Prototypes(3, 7, 4)
    prototypes.update(batch_means(h, present, classes, 7))
    text, audio = h[[0, 2], 0].mean(0), h[:3, 1].mean(0)
    torch.testing.assert_close(prototypes.vector[0, 2], text)  # without the missing sample
    torch.testing.assert_close(prototypes.vector[1, 2], audio)
    assert prototypes.seen.sum() == 6
    assert not prototypes.vector[:, [0, 1, 3, 4, 6]].any()
    prototypes.update(batch_means(-h[:3], present[:3], classes[:3], 7))
    torch.testing.assert_close(prototypes.vector[0, 2], 0.96 * text)
    torch.testing.assert_close(prototypes.vector[2, 5], h[3:, 2].mean(0))  # not in the batch


def test_a_sample_that_lacks_a_modality_leaves_its_prototypes_alone() -> None:
    model, batch = make(), with_zeroed(labelled(4, [1.0, 1.0, -2.0, -2.0]), 0b011)
    model.training_loss(batch, NOW)
    assert not model.prototypes.seen[2].any()
    assert not model.prototypes.vector[2].any()
    expected = vectors(model, batch)[:2, 0].mean(0)
    torch.testing.assert_close(model.prototypes.vector[0, 4], expected)


def test_classes_are_rounded_sentiments() -> None:
    labels = [-3.4, -2.5, -1.5, -0.5, -0.4, 0.5, 1.5, 2.5, 2.6, 9.0]
    expected = [0, 1, 1, 3, 3, 3, 5, 5, 6, 6]  # halves go to the even sentiment
    assert make()._classes(torch.tensor(labels)).tolist() == expected


@pytest.mark.parametrize("count", [2, 4, 7])
def test_a_plan_has_uniform_marginals_over_the_shared_classes(count: int) -> None:
    torch.manual_seed(0)
    shared = torch.arange(7)[None].expand(3, 7) < count
    plan = sinkhorn(4 * torch.rand(3, 7, 7), shared, 200)
    for side in (1, 2):
        torch.testing.assert_close(plan.sum(side), shared / count, atol=1e-2, rtol=0)
    assert not plan[:, count:].any()
    assert not plan[:, :, count:].any()


def test_a_plan_costs_little_more_than_the_best_one() -> None:
    """Against linear programming; an entropic plan costs at most reg times log K more."""
    torch.manual_seed(0)
    cost = 4 * torch.rand(1, 5, 5)
    plan = sinkhorn(cost, torch.ones(1, 5, dtype=torch.bool), 2000)[0]
    rows = torch.kron(torch.eye(5), torch.ones(1, 5))
    columns = torch.kron(torch.ones(1, 5), torch.eye(5))
    best = linprog(cost.flatten().numpy(), A_eq=torch.cat([rows, columns]).numpy(), b_eq=[0.2] * 10)
    found = float((plan * cost[0]).sum())
    assert best.fun - 1e-3 <= found <= best.fun + 0.05 * 2 * math.log(5)


@pytest.mark.parametrize(("target", "omega"), [("uniform", 0.0), ("identity", 36 / 7)])
def test_equal_sets_of_prototypes_far_apart_are_matched(target: str, omega: float) -> None:
    basis = 3.0 * torch.eye(7, 9)[None]  # their length does not matter
    found = transport(basis, 5.0 * basis, torch.ones(1, 7, dtype=torch.bool), 50, target)
    torch.testing.assert_close(found.match, torch.zeros(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.omega, torch.tensor([omega]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_shared_classes_are_no_transport(count: int) -> None:
    one, other = torch.randn(1, 7, 4, requires_grad=True), torch.randn(1, 7, 4)
    shared = torch.arange(7)[None] < count
    found = transport(one, other, shared, 50, "uniform")
    (found.match + found.omega).sum().backward()
    assert found.match.item() == found.omega.item() == 0.0
    assert one.grad is not None
    assert not one.grad.any()


def test_a_transports_gradient_is_that_of_the_batchs_means() -> None:
    model, batch = make(), labelled(4, [1.0, 1.0, -2.0, 3.0])
    model.training_loss(batch, NOW)
    means = batch_means(vectors(model, batch).requires_grad_(), torch.ones(4, 3).bool(),
                        model._classes(batch.label), 7)  # fmt: skip
    passed = model.prototypes.with_gradient(means)
    assert torch.equal(passed, model.prototypes.vector)
    (gradient,) = torch.autograd.grad(passed.square().sum(), means.mean)
    torch.testing.assert_close(gradient, 2 * model.prototypes.vector * means.there[..., None])


def by_orders(intra: Tensor, inter: dict, rho: float) -> list[float]:
    """The mean gain of each player over all orders."""
    gains = [0.0] * len(intra)
    orders = list(itertools.permutations(range(len(intra))))
    for order in orders:
        for place, m in enumerate(order):
            before = tuple(sorted(order[:place]))
            after = tuple(sorted(order[: place + 1]))
            gain = coalition_value(after, intra, inter, rho)
            gain = gain - coalition_value(before, intra, inter, rho)
            gains[m] += float(gain) / len(orders)
    return gains


@pytest.mark.parametrize(
    ("intra", "inter", "psi", "phi"),
    [
        (
            *((0.1, 0.2, 0.4), (0.1, 0.2, 0.3)),
            *((0.254258, 0.211543, 0.144493), (0.649399, 0.728363, 1.0)),
        ),
        (
            *((0.5, 1.0, 2.0), (0.5, 1.0, 2.0)),
            *((0.169788, 0.079312, -0.026878), (0.367879, 0.367879, 1.0)),
        ),
        ((0.3, 0.3, 0.3), (0.2, 0.2, 0.2), None, (1.0, 1.0, 1.0)),
    ],
)
def test_shapley_values_and_their_factors(intra, inter, psi, phi) -> None:
    spread, apart = torch.tensor(intra), dict(zip(PAIRS, torch.tensor(inter), strict=True))
    values = shapley_values(spread, apart, 0.6)
    assert values.tolist() == pytest.approx(by_orders(spread, apart, 0.6), abs=1e-6)
    everyone = coalition_value((0, 1, 2), spread, apart, 0.6)
    assert float(values.sum()) == pytest.approx(float(everyone), abs=1e-6)
    if psi is not None:
        assert values.tolist() == pytest.approx(psi, abs=1e-5)
    assert gradient_factors(values).tolist() == pytest.approx(phi, abs=1e-5)


def test_equal_trust_leaves_the_vectors_as_they_are() -> None:
    model, batch = make().eval(), make_batch(5)  # no class was seen: every modality alike
    joint: list[Tensor] = []
    model.head.register_forward_hook(lambda module, given, made: joint.append(given[0]))
    output = model(batch)
    torch.testing.assert_close(output.extras["weights"], torch.full((5, 3), 1 / 3))
    h = dict(zip(MODALITIES, vectors(model, batch).unbind(1), strict=True))
    torch.testing.assert_close(joint[0], torch.cat([h[m] for m in EXPERTS], 1))


def test_trust_is_the_gate_of_the_nearest_prototype_damped_by_entropy() -> None:
    model, batch = make(temperature=0.5), labelled(6, [-2.0, -1.0, 0.0, 1.0, 2.0, 1.0])
    model.training_loss(batch, NOW)
    output = model.eval()(batch)
    h = vectors(model, batch)
    expected = torch.zeros(6, 3)
    for row, m in itertools.product(range(6), range(3)):
        kept = model.prototypes.vector[m, [1, 2, 3, 4, 5]]
        cosines = torch.cosine_similarity(kept, h[row, m][None])
        p = torch.softmax(cosines / 0.5, 0)
        entropy = -(p * p.log()).sum() / math.log(7)
        expected[row, m] = model.gate(cosines.max()[None])[0] * torch.exp(-entropy)
    torch.testing.assert_close(output.reliability, expected.detach())
    shares = expected / expected.sum(1, keepdim=True)
    torch.testing.assert_close(output.extras["weights"], shares, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("there", [0b001, 0b010, 0b100])
def test_one_present_modality_has_all_the_weight(there: int) -> None:
    model, batch = make(), make_batch(5)
    model.training_loss(batch, NOW)
    weights = model.eval()(with_zeroed(batch, there)).extras["weights"]
    expected = torch.tensor([bool(there & 1 << place) for place in range(3)]).float()
    torch.testing.assert_close(weights, expected.expand(5, 3), atol=1e-6, rtol=0)


def test_with_everything_missing_the_answer_is_that_of_the_biases() -> None:
    model = make().eval()
    expected = model.answer(model.head.bias.relu())
    torch.testing.assert_close(model(with_zeroed(make_batch(4), 0)).prediction, expected.expand(4))


def test_the_loss_is_the_sum_of_its_parts() -> None:
    model, batch = make(temperature=0.5), labelled(6, [-2.0, -1.0, 0.0, 1.0, 2.0, 1.0])
    batch = replace(batch, features={**batch.features, "audio": batch.features["audio"].clone()})
    batch.features["audio"][:2] = 0.0
    output = model(batch)
    total, terms = model.loss(output, batch, NOW)
    h, own, pulls = output.extras["h"], [], []
    for row, place in itertools.product(range(6), range(3)):
        if place == 1 and row < 2:
            continue
        answer = model.own_answer[MODALITIES[place]](h[row, place])
        own.append((answer - batch.label[row]).square())
        seen = model.prototypes.seen[place].nonzero()[:, 0]
        cosines = torch.cosine_similarity(model.prototypes.vector[place, seen], h[row, place][None])
        k = (seen == round(float(batch.label[row])) + 3).nonzero()[0, 0]
        pulls.append(-torch.log_softmax(cosines / 0.5, 0)[k])
    torch.testing.assert_close(terms["unimodal"], torch.cat(own).mean())
    torch.testing.assert_close(terms["intra"], torch.stack(pulls).mean())
    task = (output.prediction - batch.label).square().mean()
    expected = task + terms["unimodal"] + 0.01 * terms["intra"] + 0.1 * terms["inter"]
    torch.testing.assert_close(total, expected)
    late, parts = model.loss(output, batch, LATE)
    assert "unimodal" not in parts
    torch.testing.assert_close(late, task + 0.01 * parts["intra"] + 0.1 * parts["inter"])


def gradients(model: PaSE, batch: Modalities, term: str) -> set[str]:
    """The parts of a model that a term's gradient reaches."""
    model.zero_grad()
    _, terms = model.loss(model(batch), batch, NOW)
    terms[term].backward()
    reached = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()]
    return {name.split(".")[0] for name in reached}


def test_each_term_reaches_its_own_part() -> None:
    model, batch = make(), labelled(6, [-2.0, -1.0, 0.0, 1.0, 2.0, 1.0])
    model.training_loss(batch, NOW)  # the gate needs prototypes
    encoders = {"enter", "experts"}
    assert gradients(model, batch, "task") == encoders | {"gate", "head", "answer"}
    assert gradients(model, batch, "unimodal") == encoders | {"own_answer"}
    assert gradients(model, batch, "intra") == encoders
    assert gradients(model, batch, "inter") == encoders


def test_a_factor_scales_its_encoders_gradients_alone() -> None:
    model, batch = make(), make_batch(6)
    model.training_loss(batch, NOW)

    def found() -> dict[str, Tensor]:
        model.zero_grad()
        model.training_loss(batch, NOW)[0].backward()
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    kept = {name: x.clone() for name, x in model.state_dict().items()}
    before = found()
    model.load_state_dict({**kept, "phi": torch.tensor([0.5, 1.0, 1.0])})
    for name, gradient in found().items():
        of_text = name.startswith(("enter.text", "experts.text"))
        torch.testing.assert_close(gradient, before[name] * (0.5 if of_text else 1.0))


def test_factors_come_from_the_last_epochs_losses_in_the_second_phase_alone() -> None:
    model = make(switch_share=0.5)
    begin = [model.modulated(Progress(epoch, 5, 0, 1)) for epoch in range(5)]
    assert begin == [False] * 3 + [True] * 2
    assert not make(switch_share=1.0).modulated(Progress(9, 10, 0, 1))

    def fill() -> None:
        model.intra_sum.copy_(torch.tensor([0.2, 0.4, 0.8]))
        model.inter_sum.copy_(torch.tensor([0.2, 0.4, 0.6]))
        model.batches.fill_(2.0)

    fill()
    model.begin_epoch(Progress(2, 5, 0, 1))
    assert model.phi.tolist() == [1.0] * 3
    assert not model.batches
    fill()
    model.begin_epoch(Progress(3, 5, 0, 1))
    assert model.phi.tolist() == pytest.approx([0.649399, 0.728363, 1.0], abs=1e-5)
    assert not model.intra_sum.any()


def test_a_modality_that_the_data_lack_takes_no_part_in_the_factors() -> None:
    model = make(make_spec(present=("text", "vision")), switch_share=0.1)
    model.intra_sum.copy_(torch.tensor([0.3, 0.0, 0.3]))
    model.inter_sum.copy_(torch.tensor([0.0, 0.2, 0.0]))
    model.batches.fill_(1.0)
    model.begin_epoch(LATE)
    assert model.phi.tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_a_step_adds_its_losses_to_the_epochs() -> None:
    model, batch = make(), make_batch(6)
    terms = [model.training_loss(batch, NOW)[1] for _ in range(2)]
    inter = torch.stack([t["inter"] for t in terms]).sum()
    torch.testing.assert_close(model.inter_sum.sum(), inter.detach())
    intra = torch.stack([t["intra"] for t in terms]).sum()
    torch.testing.assert_close(model.intra_sum.mean(), intra.detach())
    assert model.batches == 2


def test_evaluation_changes_nothing() -> None:
    model, batch = make(), make_batch(6)
    model.training_loss(batch, NOW)
    kept = {name: x.clone() for name, x in model.state_dict().items()}
    first, second = (model.eval()(batch).prediction for _ in range(2))
    model.loss(model(batch), batch, NOW)
    assert torch.equal(first, second)
    assert all(torch.equal(x, kept[name]) for name, x in model.state_dict().items())


def test_a_resumed_run_is_the_uninterrupted_one() -> None:
    data, saved = make_dataset().training_data(), []
    settings = TrainingConfig(epochs=4, learning_rate=1e-3, select_on="mae")

    def trained(resume: dict | None, kept: list) -> dict[str, Tensor]:
        listen = Callbacks(
            lambda done, loss: None,
            lambda done, row: None,
            lambda state: kept.append(copy.deepcopy(state)),
        )
        how = (settings, Regime(kind="spectrum"), 1, listen, resume)
        return fit(lambda: make(switch_share=0.5), data, *how).model.state_dict()

    whole = trained(None, saved)
    again = trained(saved[1], resumed := [])  # modulation begins in the next epoch
    assert all(torch.equal(x, again[name]) for name, x in whole.items())
    phi = saved[-1]["model"]["phi"]
    assert torch.equal(phi, resumed[-1]["model"]["phi"])
    assert phi.min() < 1.0


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="two classes"):
        make(make_spec("classification", 1))
