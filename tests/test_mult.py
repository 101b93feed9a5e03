"""MulT: what makes it MulT, and that it learns and stays finite."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from baselines.mult import MulT, MulTConfig
from benchmark.interface import DataSpec, Progress, count_parameters
from protocols.modalities import MODALITIES, Modalities
from tests.batches import make_batch, make_spec, with_zeroed
from tests.test_layers import randomise, reference_encode

NOW = Progress(0, 1, 0, 1)
SMALL = {"width": 8, "heads": 2, "layers": 2}
STILL = {
    "attention_dropout_text": 0.0,
    "attention_dropout_audio": 0.0,
    "embedding_dropout": 0.0,
    "output_dropout": 0.0,
    "text_dropout": 0.0,
}
"""No dropout anywhere."""


def spec_of(widths: tuple[int, int, int], steps: tuple[int, int, int] = (50, 50, 50)) -> DataSpec:
    return DataSpec(
        dict(zip(MODALITIES, widths, strict=True)),
        dict(zip(MODALITIES, steps, strict=True)),
        MODALITIES,
    )


ALIGNED = spec_of((12, 5, 7), (6, 6, 6))


def make(spec: DataSpec = ALIGNED, **settings: object) -> MulT:
    torch.manual_seed(0)
    return MulT(MulTConfig(**{**SMALL, **settings}), spec)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "widths", "expected"),
    [
        (MulT.presets["official"].model, (300, 74, 35), 1_073_731),
        (MulT.presets["official"].model, (768, 74, 35), 1_087_771),
        (MulT.presets["mmsa"].model, (768, 5, 20), 2_571_551),
        (MulT.presets["mmsa"].model, (768, 74, 35), 2_592_551),
        (
            {"width": 30, "heads": 6, "kernel_text": 5, "kernel_audio": 1, "kernel_vision": 3},
            (768, 74, 35),
            982_951,
        ),
    ],
)
def test_parameter_counts_of_the_published_settings(
    settings: Mapping[str, object], widths: tuple[int, int, int], expected: int
) -> None:
    assert count_parameters(MulT(MulTConfig(**settings), spec_of(widths))) == expected


def reference_forward(model: MulT, batch: Modalities) -> Tensor:
    """The method in plain steps, one encoder and one modality at a time; (B, out)."""
    streams = {}
    for m in MODALITIES:
        weight = model.project[m].weight.permute(2, 0, 1)
        x = nn.functional.conv1d(batch.features[m].transpose(1, 2), weight)
        streams[m] = x.transpose(1, 2)
    where = {pair: (i, g) for i, pairs in enumerate(model.pairs) for g, pair in enumerate(pairs)}
    home = {t: (i, g) for i, targets in enumerate(model.targets) for g, t in enumerate(targets)}
    last = []
    for target, others in (
        ("text", ("audio", "vision")),
        ("audio", ("text", "vision")),
        ("vision", ("text", "audio")),
    ):
        crossed = []
        for source in others:
            stack, group = where[target, source]
            crossed.append(
                reference_encode(model.crossmodal[stack], group, streams[target], streams[source])
            )
        stack, group = home[target]
        last.append(reference_encode(model.memory[stack], group, torch.cat(crossed, -1))[:, -1])
    c = torch.cat(last, -1)
    return model.answer(c + model.head_out(model.head_in(c).relu()))


@pytest.mark.parametrize("spec", [ALIGNED, make_spec()], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("kernel", [1, 2])
def test_the_model_is_its_reference(spec: DataSpec, kernel: int) -> None:
    model = make(spec, **{f"kernel_{m}": kernel for m in MODALITIES}).eval()
    randomise(model)
    batch = make_batch(3, spec)
    expected = reference_forward(model, batch)[:, 0]
    torch.testing.assert_close(model(batch).prediction, expected, atol=2e-5, rtol=1e-4)


def varying_groups(model: MulT) -> tuple[set[tuple[str, str]], set[str]]:
    """The crossmodal pairs, and the memories, whose outputs differ between two training passes.

    A memory is fed the same input in both.
    """
    seen: list[Tensor] = []
    (cross,), (memory,) = model.crossmodal, model.memory
    hook = cross.register_forward_hook(lambda module, inputs, out: seen.append(out))
    batch = make_batch(3, ALIGNED)
    model.train()
    for _ in range(2):
        model(batch)
    hook.remove()
    pairs = {p for g, p in enumerate(model.pairs[0]) if not torch.equal(seen[0][g], seen[1][g])}
    x = torch.randn(3, 3, 6, 16)
    one, two = memory(x), memory(x)
    return pairs, {t for g, t in enumerate(model.targets[0]) if not torch.equal(one[g], two[g])}


@pytest.mark.parametrize("source", MODALITIES)
def test_attention_dropout_goes_with_the_source(source: str) -> None:
    model = make(**{**STILL, f"attention_dropout_{source}": 0.5})
    pairs, memories = varying_groups(model)
    assert pairs == {(t, source) for t in MODALITIES if t != source}
    assert memories == (set(MODALITIES) if source == "text" else set())


def test_text_dropout_is_on_text_only() -> None:
    pairs, _ = varying_groups(make(**{**STILL, "text_dropout": 0.5}))
    assert pairs == {p for p in itertools.permutations(MODALITIES, 2) if "text" in p}


def test_the_head_drops_inside_its_residual_branch_only() -> None:
    model = make(**{**STILL, "output_dropout": 0.5}).train()
    batch = make_batch(3, ALIGNED)
    assert not torch.equal(model(batch).prediction, model(batch).prediction)
    nn.init.zeros_(model.head_out.weight)
    assert torch.equal(model(batch).prediction, model(batch).prediction)


def test_memories_have_at_least_three_layers() -> None:
    assert [s.layers for s in make(layers=1).memory] == [3]
    assert [s.layers for s in make(layers=5).memory] == [5]


@pytest.mark.parametrize("spec", [ALIGNED, make_spec()], ids=["aligned", "unaligned"])
@pytest.mark.parametrize("keep", range(8))
def test_finite_whatever_is_missing_where_padding_is_masked(spec: DataSpec, keep: int) -> None:
    model = make(spec, use_key_padding_mask=True, pool="last_valid")
    batch = with_zeroed(make_batch(3, spec), keep)
    loss, _ = model.training_loss(batch, NOW)
    loss.backward()
    assert model(batch).prediction.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_gradient_reaches_every_parameter() -> None:
    model = make(kernel_text=2, kernel_audio=3)
    model.training_loss(make_batch(8, ALIGNED), NOW)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # weights are stacked: each encoder and layer must get its share
        parts = parameter.grad.flatten(0, 1) if parameter.dim() == 4 else [parameter.grad]
        assert all(part.abs().sum() > 0 for part in parts), name


def test_it_overfits_one_batch() -> None:
    model = make(**STILL).train()
    batch = make_batch(8, ALIGNED)
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(80):
        loss, terms = model.training_loss(batch, NOW)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(terms["task"].detach()))
    assert losses[-1] < 0.1 * losses[0]


def test_a_seed_determines_training() -> None:
    def run() -> Tensor:
        model = make().train()
        optimiser = torch.optim.Adam(model.parameters(), 1e-3)
        for seed in range(3):
            loss, _ = model.training_loss(make_batch(4, ALIGNED, seed), NOW)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(run(), run())


@pytest.mark.parametrize("spec", [ALIGNED, make_spec()], ids=["aligned", "unaligned"])
def test_neighbours_do_not_matter(spec: DataSpec) -> None:
    model, batch = make(spec).eval(), make_batch(5, spec)
    together = model(batch).prediction
    for i in range(5):
        alone = model(batch.select(slice(i, i + 1))).prediction
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-5, rtol=0)


def test_last_valid_with_padding_masked_does_not_see_padding() -> None:
    """The same samples, padded to 6 and to 9 steps, get the same predictions."""
    settings = {"pool": "last_valid", "use_key_padding_mask": True, "kernel_text": 2}
    short, long = make(**settings).eval(), make(spec_of((12, 5, 7), (9, 9, 9)), **settings).eval()
    long.load_state_dict(short.state_dict())
    batch = make_batch(6, ALIGNED)
    pad = nn.functional.pad
    padded = Modalities(
        {m: pad(x, (0, 0, 0, 3)) for m, x in batch.features.items()},
        {m: pad(x, (0, 3)) for m, x in batch.masks.items()},
        batch.available,
    )
    torch.testing.assert_close(short(batch).prediction, long(padded).prediction)
    plain = make(kernel_text=2).eval()
    plain.load_state_dict(short.state_dict())
    assert not torch.allclose(plain(batch).prediction, short(batch).prediction)


def test_absent_modalities_and_kernels_longer_than_a_sequence() -> None:
    spec = make_spec(present=("text",))
    model = make(spec, kernel_text=50, kernel_audio=5)
    assert model(make_batch(3, spec)).prediction.shape == (3,)


def test_a_stream_that_has_the_width_already_is_not_projected() -> None:
    model = make(spec_of((8, 5, 7), (6, 6, 6)), kernel_text=3)
    assert not list(model.project["text"].parameters())
    assert model(make_batch(2, model.spec)).prediction.shape == (2,)


def test_classification_is_a_softmax_cross_entropy() -> None:
    spec = make_spec("classification", 4)
    model, batch = make(spec).eval(), make_batch(5, spec)
    output = model(batch)
    assert output.prediction.shape == (5, 4)
    assert batch.label is not None
    expected = -output.prediction.log_softmax(1)[torch.arange(5), batch.label].mean()
    torch.testing.assert_close(model.loss(output, batch, NOW)[0], expected)


def test_regression_is_the_mean_absolute_error() -> None:
    model, batch = make().eval(), make_batch(5, ALIGNED)
    with torch.no_grad():
        output = model(batch)
    assert batch.label is not None
    expected = (
        sum(abs(float(p) - float(y)) for p, y in zip(output.prediction, batch.label, strict=True))
        / 5
    )
    assert float(model.loss(output, batch, NOW)[0]) == pytest.approx(expected, rel=1e-5)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="not a multiple of heads"):
        MulTConfig(width=9, heads=2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    model, batch = make(use_key_padding_mask=True).eval(), make_batch(4, ALIGNED)
    expected = model(batch).prediction
    model.cuda()
    torch.testing.assert_close(
        model(batch.to("cuda")).prediction.cpu(), expected, atol=1e-4, rtol=1e-3
    )
    loss, _ = model.train().training_loss(batch.to("cuda"), NOW)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
