"""MCTN: its translations, its loss, and what it never reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from baselines.mctn import MCTN, MCTNConfig
from baselines.translation import Decoder
from benchmark.efficiency.flops import count_flops
from benchmark.interface import DataSpec, Progress
from benchmark.predict import fill_table
from protocols.conditions import conditions_of
from protocols.modalities import MODALITIES, Modality
from tests.batches import make_batch, make_dataset, make_spec, with_zeroed
from tests.test_layers import randomise

NOW = Progress(0, 2, 1, 4)


def spec_of(*widths: int, steps: int = 50) -> DataSpec:
    return DataSpec(
        dict(zip(MODALITIES, widths, strict=True)), dict.fromkeys(MODALITIES, steps), MODALITIES
    )


def make(spec: DataSpec | None = None, **settings: object) -> MCTN:
    torch.manual_seed(0)
    return MCTN(MCTNConfig(**{"hidden": 4, **settings}), spec or make_spec())  # type: ignore[arg-type]


def stirred(model: MCTN) -> MCTN:
    randomise(model)
    return model


def padded(target: Tensor, written: Tensor) -> Tensor:
    """A target averaged over even stretches of its steps, with zero channels."""
    steps, long = written.shape[1], target.shape[1]
    rows = [
        target[:, t * long // steps : -((-(t + 1) * long) // steps)].mean(1) for t in range(steps)
    ]
    return nn.functional.pad(torch.stack(rows, 1), (0, written.shape[2] - target.shape[2]))


@pytest.mark.parametrize("training", [False, True])
def test_only_the_source_is_read(training: bool) -> None:
    model, batch = make().train(training), make_batch(6)
    other = replace(
        batch,
        features={m: x if m == "text" else x + 1.0 for m, x in batch.features.items()},
        available=~batch.available,
    )
    assert torch.equal(model(batch).prediction, model(other).prediction)
    alone = torch.cat([model(batch.select(slice(i, i + 1))).prediction for i in range(6)])
    torch.testing.assert_close(model(batch).prediction, alone)


def test_a_zero_source_has_one_answer() -> None:
    prediction = stirred(make())(with_zeroed(make_batch(6), 0b110)).prediction.detach()
    torch.testing.assert_close(prediction, prediction[:1].expand(6))


def test_the_order_of_the_states_is_lost_in_translation() -> None:
    decoder, states = Decoder(4, 7), torch.randn(3, 6, 4)
    torch.testing.assert_close(decoder(states), decoder(states[:, torch.randperm(6)]))


@pytest.mark.parametrize("scale", ["padded", "native"])
def test_the_loss_where_nothing_is_written(scale: str) -> None:
    spec = spec_of(12, 5, 7, steps=6)
    model = make(spec, target_scale=scale)
    with torch.no_grad():
        for layer in (model.decoder.output, model.decoder_2.output, model.regressor.answer):
            for p in layer.parameters():
                p.zero_()
        model.regressor.answer.weight.fill_(0.5)
        for p in model.regressor.recurrence.parameters():
            p.zero_()  # the states are zero, and so is the answer
    batch = make_batch(5, spec)
    channels = {m: 12 if scale == "padded" else spec.widths[m] for m in MODALITIES}
    errors = [float(batch.features[m].square().sum()) / (5 * 6 * channels[m]) for m in MODALITIES]
    expected = 0.1 * sum(errors) + float(batch.label.abs().mean()) + 0.01 * 4 * 0.25
    assert float(model.training_loss(batch, NOW)[0].detach()) == pytest.approx(expected, rel=1e-5)


def test_the_way_back_uses_the_encoder_twice() -> None:
    model, batch = stirred(make()), make_batch(5)
    parameters = list(model.encoder.parameters())
    _, terms = model.loss(model(batch), batch, NOW)
    whole = torch.autograd.grad(terms["cycle"], parameters)
    output = model(batch)
    still = {name: x.detach() for name, x in output.extras.items()}
    _, terms = model.loss(replace(output, extras=still), batch, NOW)
    second = torch.autograd.grad(terms["cycle"], parameters)
    for one, other in zip(whole, second, strict=True):
        assert other.any()
        assert not torch.allclose(one, other)


def test_which_term_reaches_what() -> None:
    model, batch = stirred(make()), make_batch(5)
    _, terms = model.training_loss(batch, NOW)
    reached = {
        "task": {"encoder", "encoder_2", "regressor"},
        "translation_vision": {"encoder", "decoder"},
        "cycle": {"encoder", "decoder"},
        "translation_audio": {"encoder", "encoder_2", "decoder_2"},
        "penalty": {"regressor"},
    }
    assert terms.keys() == reached.keys()
    names, parameters = zip(*model.named_parameters(), strict=True)
    for name, parts in reached.items():
        found = torch.autograd.grad(terms[name], parameters, retain_graph=True, allow_unused=True)
        assert {
            n.split(".")[0] for n, g in zip(names, found, strict=True) if g is not None
        } == parts


@pytest.mark.parametrize(
    ("present", "source", "expected"),
    [
        (("audio", "vision"), "text", ("vision", "text", "audio")),
        (("text", "audio"), "vision", ("text", "vision", "audio")),
        (MODALITIES, "audio", ("audio", "text", "vision")),
        (("audio",), "text", ("audio", "text", "vision")),
    ],
)
def test_where_the_data_lack_the_source(
    present: tuple[Modality, ...], source: str, expected: tuple[str, ...]
) -> None:
    model = make(make_spec(present=present), source=source)
    assert (model.source, model.first, model.second) == expected


def test_a_long_source_is_averaged_to_the_texts_length() -> None:
    lengths = {"text": 6, "audio": 120, "vision": 4}
    spec = replace(make_spec(), lengths=lengths)
    model, batch = make(spec, source="audio"), make_batch(3, spec)
    output = model(batch)
    assert output.extras["states"].shape == (3, 6, 4)
    means = batch.features["audio"].unflatten(1, (6, 20)).mean(2)
    short = make(make_spec(), source="audio")
    expected = short.encode("audio", means, batch.masks["audio"])["answer"][:, 0]
    torch.testing.assert_close(output.prediction, expected)
    assert model.loss(output, batch, NOW)[0].isfinite()


def test_one_step_is_enough() -> None:
    spec = spec_of(12, 5, 7, steps=1)
    model, batch = make(spec), make_batch(4, make_spec())
    batch = replace(batch, features={m: x[:, :1] for m, x in batch.features.items()},
                    masks={m: x[:, :1] for m, x in batch.masks.items()})  # fmt: skip
    loss, _ = model.training_loss(batch, NOW)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_table_runs_the_source_once_for_each_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """9 passes for the 57 rows of the grid: 8 levels, and zeroed."""
    data, passes = make_dataset(), []
    model = make(data.spec)
    whole = MCTN.encode

    def counted(self: MCTN, m: Modality, x: Tensor, mask: Tensor) -> object:
        found = whole(self, m, x, mask)
        passes.append(bool(found))
        return found

    monkeypatch.setattr(MCTN, "encode", counted)
    conditions = conditions_of(("grid",), MODALITIES, ("seed_a1",), 1, "uniform_0.7")
    assert len(conditions) == 57
    fill_table(model, data.splits["test"], data.spec, data.sigma_ref, conditions)
    assert sum(passes) == 9


def test_every_operation_is_counted() -> None:
    """Of 3 samples of 6 steps; the first state is zero and is in no product."""
    d, h, reads = 12, 4, 3 * 6
    inner = reads * (2 * d + 2 * h + h) * 4 * h  # two directions, two more, the regressor
    recurrent = 3 * (6 - 1) * 5 * h * 4 * h
    attention = reads * 2 * h + 3 * h  # scores and mean, and the answer
    assert count_flops(make(), make_batch(3)).total == 2 * (inner + recurrent + attention)


def test_classification_is_cross_entropy() -> None:
    spec = make_spec("classification", 4)
    model, batch = make(spec), make_batch(6, spec)
    output = model(batch)
    assert output.prediction.shape == (6, 4)
    expected = -output.prediction.log_softmax(1)[torch.arange(6), batch.label].mean()
    torch.testing.assert_close(model.loss(output, batch, NOW)[1]["task"], expected)
