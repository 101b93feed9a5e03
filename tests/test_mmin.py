"""MMIN: its patterns, its cascade by hand, its teacher's targets, what each stage trains."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.imagination import Imagination, RecurrentMaximum, TextConvolutions
from baselines.mmin import CODE_ORDER, MMIN, MMINConfig
from benchmark.config import TrainingConfig
from benchmark.interface import DataSpec, Progress, count_parameters
from benchmark.train import Callbacks, fit
from protocols.modalities import MODALITIES, Modalities
from protocols.regimes import Regime
from tests.batches import make_batch, make_dataset, make_spec, with_zeroed

NOW = Progress(0, 2, 0, 4)
LENGTHS_50 = dict.fromkeys(MODALITIES, 50)


def make(spec: DataSpec | None = None, **settings: object) -> MMIN:
    torch.manual_seed(0)
    small = {"width": 8, "blocks": 3, **settings}
    return MMIN(MMINConfig(**small), spec or make_spec())  # type: ignore[arg-type]


def spec_of(audio: int, vision: int) -> DataSpec:
    return DataSpec({"text": 768, "audio": audio, "vision": vision}, LENGTHS_50, MODALITIES)


def both_losses(model: MMIN, batch: Modalities, clean: Modalities) -> Tensor:
    return torch.stack([p.loss(batch, NOW, clean=clean)[0] for p in model.phases()]).sum()


def size(*parts: nn.Module) -> int:
    return sum(count_parameters(part) for part in parts)


@pytest.mark.parametrize(
    ("audio", "vision", "encoders", "whole", "predicting"),
    [(74, 35, 1_418_240, 4_930_690, 2_734_657), (5, 20, 1_375_232, 4_887_682, 2_691_649)],
)
def test_parameter_counts(
    audio: int, vision: int, encoders: int, whole: int, predicting: int
) -> None:
    model = MMIN(MMINConfig(), spec_of(audio, vision))
    assert size(model.encoders) == encoders
    assert size(model.imagination) == size(model.back) == 1_694_400
    assert size(model.classifier) == 57_729
    assert size(model.teacher_head) == 65_921
    assert count_parameters(model) == whole
    assert size(model.teacher) == 0
    assert sum(p.numel() for p in model.teacher.parameters()) == encoders
    unused = size(model.imagination.transition, model.imagination.decoders[-1])
    predicts = size(model.encoders, model.classifier, model.imagination) - unused
    assert predicts == predicting


def test_complete_samples_keep_each_incomplete_pattern_equally_often() -> None:
    model = make()
    shown = model.draw_shown(torch.ones(6000, 3, dtype=torch.bool))
    counts = Counter(map(tuple, shown.tolist()))
    expected = set(product((False, True), repeat=3)) - {(False,) * 3, (True,) * 3}
    assert counts.keys() == expected
    assert all(abs(count / 6000 - 1 / 6) < 0.02 for count in counts.values())


def test_nothing_more_is_hidden_from_incomplete_samples() -> None:
    available = torch.tensor([[True, False, True], [False] * 3]).repeat(50, 1)
    assert torch.equal(make().draw_shown(available), available)


def test_patterns_are_over_what_the_data_set_has() -> None:
    model = make(make_spec(present=("text", "audio")))
    shown = model.draw_shown(torch.tensor([[True, True, False]]).expand(400, 3))
    assert set(map(tuple, shown.tolist())) == {(True, False, False), (False, True, False)}


def test_with_one_modality_the_task_is_all() -> None:
    spec = make_spec(present=("text",))
    model, batch = make(spec).eval(), make_batch(5, spec)
    total, terms = model.main_loss(batch, NOW, clean=batch)
    task = (model(batch).prediction - batch.label).abs().mean()
    torch.testing.assert_close(total, task)
    assert terms.keys() == {"task"}


def test_one_block_by_hand() -> None:
    torch.manual_seed(0)
    cascade, h = Imagination(4, blocks=1), torch.randn(5, 12)
    first, second, third = (cascade.encoders[0][i] for i in (0, 2, 4))
    z = third(F.leaky_relu(second(F.leaky_relu(first(h), 0.01)), 0.01))
    first, second, third = (cascade.decoders[0][i] for i in (0, 2, 4))
    o = third(F.relu(second(F.relu(first(z)))))
    expected = cascade.transition[2](F.relu(cascade.transition[0](h + o)))
    torch.testing.assert_close(cascade(h), expected)
    torch.testing.assert_close(cascade.encode(h)[0], z)
    assert [m.out_features for m in cascade.encoders[0][::2]] == [8, 4, 2]
    assert [m.out_features for m in cascade.decoders[0][::2]] == [4, 8, 12]


def test_a_block_reads_the_sum_of_the_ones_before_it() -> None:
    torch.manual_seed(0)
    cascade, h = Imagination(4, blocks=4), torch.randn(5, 12)
    x, codes = h, []
    for encoder, decoder in zip(cascade.encoders, cascade.decoders, strict=True):
        codes.append(encoder(x))
        x = x + decoder(codes[-1])
    torch.testing.assert_close(cascade.encode(h)[0], torch.cat(codes, 1))
    torch.testing.assert_close(cascade(h), cascade.transition(x))


def test_blocks_that_add_nothing_leave_the_transition_of_h() -> None:
    cascade, h = Imagination(4, blocks=5), torch.randn(5, 12)
    for decoder in cascade.decoders:
        nn.init.zeros_(decoder[-1].weight)
    codes, last = cascade.encode(h)
    torch.testing.assert_close(last, h)
    torch.testing.assert_close(cascade(h), cascade.transition(h))
    assert torch.equal(codes, torch.cat([encoder(h) for encoder in cascade.encoders], 1))


def test_the_classifier_reads_320_columns_at_the_defaults() -> None:
    model = MMIN(MMINConfig(), make_spec())
    assert model.eval()(make_batch(2)).extras["codes"].shape == (2, 320)


def test_the_recurrent_code_is_the_maximum_of_the_states() -> None:
    torch.manual_seed(0)
    network, lengths = RecurrentMaximum(5, 4, every_step=False), (1, 3, 6)
    x, mask = torch.randn(3, 6, 5), torch.arange(6) < torch.tensor(lengths)[:, None]
    every = RecurrentMaximum(5, 4, every_step=True)
    every.load_state_dict(network.state_dict())
    lstm = network.recurrent.directions[0]
    for sample, length in enumerate(lengths):
        alone = x[sample : sample + 1]
        expected = lstm(alone[:, :length])[0].amax(1)
        torch.testing.assert_close(network(x, mask)[sample : sample + 1], expected)
        torch.testing.assert_close(every(x, mask)[sample : sample + 1], lstm(alone)[0].amax(1))


@pytest.mark.parametrize("every_step", [False, True])
def test_the_text_code_is_that_of_plain_convolutions(every_step: bool) -> None:
    torch.manual_seed(0)
    network = TextConvolutions(6, 4, rate=0.5, every_step=every_step).eval()
    nn.init.normal_(network.biases)
    lengths = (1, 3, 9)
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    x = torch.randn(3, 9, 6) * mask[..., None]
    together = network(x, mask)
    for sample, length in enumerate(lengths):
        maxima = []
        for convolution, bias in zip(network.convolutions, network.biases, strict=True):
            weight = convolution.weight.permute(2, 0, 1)  # (out, in, taps), as conv1d has it
            windows = F.relu(F.conv1d(x[sample].T[None], weight, bias))
            maxima.append((windows if every_step else windows[..., :length]).amax(2))
        expected = F.relu(network.project(torch.cat(maxima, 1)))[0]
        torch.testing.assert_close(together[sample], expected)
        torch.testing.assert_close(network(x[sample : sample + 1], mask[sample : sample + 1])[0],
                                   expected)  # fmt: skip


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("every_step", [False, True])
def test_text_shorter_than_a_window_is_filled_up(steps: int, every_step: bool) -> None:
    network = TextConvolutions(6, 4, rate=0.0, every_step=every_step)
    x = torch.randn(3, steps, 6)
    filled = F.pad(x, (0, 0, 0, 5 - steps))
    mask = torch.arange(5).expand(3, 5) < steps
    torch.testing.assert_close(network(x, mask[:, :steps]), network(filled, mask))


def test_the_targets_are_the_teachers_codes_of_what_is_hidden() -> None:
    model, batch = make(), make_batch(4)
    shown = torch.tensor([[False, True, False]]).expand(4, 3)  # the pattern {audio}
    parts = dict(zip(CODE_ORDER, model.targets(batch, ~shown).chunk(3, 1), strict=True))
    for m in MODALITIES:
        x = batch.features[m]
        seen = torch.zeros_like(x) if m == "audio" else x
        torch.testing.assert_close(parts[m], model.teacher[m](seen, batch.masks[m]))


def main_terms(model: MMIN, batch: Modalities) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(5)
    return model.main_loss(batch, NOW, clean=batch)


def test_the_main_loss_is_the_sum_of_its_parts() -> None:
    model, batch = make(imagination_weight=3.0, cycle_weight=0.5).eval(), make_batch(6)
    total, terms = main_terms(model, batch)
    torch.manual_seed(5)
    shown = model.draw_shown(batch.available)
    keep = dict(zip(MODALITIES, shown.float().unbind(1), strict=True))
    student = replace(
        batch, features={m: x * keep[m][:, None, None] for m, x in batch.features.items()}
    )
    h = torch.cat([model.encoders[m](student.features[m], batch.masks[m]) for m in CODE_ORDER], 1)
    imagined = model.imagination(h)
    expected = {
        "task": (model(student).prediction - batch.label).abs().mean(),
        "imagination": (imagined - model.targets(batch, ~shown)).square().mean(),
        "cycle": (model.back(imagined) - h).square().mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)
    torch.testing.assert_close(
        total, expected["task"] + 3.0 * expected["imagination"] + 0.5 * expected["cycle"]
    )


def gradients_of(term: Tensor, module: nn.Module) -> list[Tensor | None]:
    parameters = list(module.parameters())
    return list(torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True))


def test_which_term_reaches_what() -> None:
    model, batch = make().eval(), make_batch(9)
    total, terms = main_terms(model, batch)
    for name, some in (("task", False), ("imagination", False), ("cycle", True)):
        assert any(g is not None for g in gradients_of(terms[name], model.back)) is some, name
    for name, some in (("task", False), ("imagination", True), ("cycle", True)):
        found = gradients_of(terms[name], model.imagination.transition)
        assert any(g is not None for g in found) is some, name
    total.backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    assert all(p.grad is None for p in model.teacher_head.parameters())


def test_the_target_of_the_cycle_is_a_constant() -> None:
    model, batch = make().eval(), make_batch(6)
    _, terms = main_terms(model, batch)
    torch.manual_seed(5)
    shown = model.draw_shown(batch.available)
    keep = dict(zip(MODALITIES, shown.float().unbind(1), strict=True))
    codes = [
        model.encoders[m](batch.features[m] * keep[m][:, None, None], batch.masks[m])
        for m in CODE_ORDER
    ]
    h = torch.cat(codes, 1)
    constant = torch.tensor(h.tolist())
    expected = (model.back(model.imagination(h)) - constant).square().mean()
    for one, other in zip(
        gradients_of(terms["cycle"], model.encoders),
        gradients_of(expected, model.encoders),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_the_teacher_takes_over_the_encoders_at_the_switch_and_only_then() -> None:
    model, batch = make(pretrain_share=0.3).eval(), make_batch(4)
    everything = torch.ones(4, 3, dtype=torch.bool)
    for parameter in model.encoders.parameters():
        parameter.data.add_(0.1)
    for epoch in range(10):
        before = model.targets(batch, everything)
        model.begin_epoch(Progress(epoch, 10, 0, 1))
        after, codes = model.targets(batch, everything), model(batch).extras["h"]
        if epoch == 3:
            torch.testing.assert_close(after, codes)
            for parameter in model.encoders.parameters():
                parameter.data.add_(0.1)
        else:
            assert torch.equal(before, after)
    assert model.first_selectable(10) == 3
    assert not model.train().teacher.training
    assert not any(part.training for part in model.teacher.modules())


def test_prediction_does_not_read_availability() -> None:
    model, batch = make().eval(), make_batch(4)
    flipped = replace(batch, available=~batch.available)
    assert torch.equal(model(batch).prediction, model(flipped).prediction)


def test_the_first_stage_learns_from_clean_batches_whatever_it_is_given() -> None:
    model, batch = make().eval(), make_batch(5)
    clean, _ = model.teacher_loss(batch, NOW, clean=batch)
    other, _ = model.teacher_loss(with_zeroed(batch, 0), NOW, clean=batch)
    assert torch.equal(clean, other)


def test_what_each_stage_of_a_run_changes() -> None:
    """Weights after each epoch of a run: 2 of 4 epochs are the teacher's."""
    data, seen = make_dataset(), []
    config = TrainingConfig(epochs=4, select_on="mae")

    def save(state) -> None:
        seen.append({name: x.clone() for name, x in state["model"].items()})

    callbacks = Callbacks(lambda *_: None, lambda *_: None, save)
    made = lambda: make(data.spec, pretrain_share=0.5)  # noqa: E731
    start = {}

    def build() -> MMIN:
        model = made()
        start.update({name: x.clone() for name, x in model.state_dict().items()})
        return model

    fitted = fit(build, data.training_data(), config, Regime(kind="spectrum"), 1, callbacks)

    def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
        return {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}

    assert changed(start, seen[1]) == {"encoders", "teacher_head"}
    main = {"encoders", "imagination", "back", "classifier"}
    assert changed(seen[1], seen[2]) == main | {"teacher"}
    assert changed(seen[2], seen[3]) == main
    assert fitted.history["best"].tolist()[:2] == [0.0, 0.0]
    for name, x in seen[3].items():
        if name.startswith("teacher."):
            torch.testing.assert_close(x, seen[1][name.replace("teacher.", "encoders.")])
