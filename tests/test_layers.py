"""The shared layers against plain implementations: torch's own modules, or loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from baselines import kernels, layers
from baselines.layers import EncoderStack, TemporalProjection
from baselines.positions import causal_mask, sinusoidal_code


def reference_positions(x: Tensor, position_code: bool = True) -> Tensor:
    """(B, T, e) position codes, number by number; all of them for a sequence of zeros."""
    batch, steps, width = x.shape
    code = torch.zeros(batch, steps, width)
    half = width // 2
    for b in range(batch):
        for t in range(steps):
            first_is_zero = float(x[b, t, 0].detach()) == 0.0
            if (first_is_zero or not position_code) and bool(x[b].any()):
                continue
            for i in range(half):
                angle = (t + 1) * 10000.0 ** (-i / (half - 1))
                code[b, t, i], code[b, t, half + i] = math.sin(angle), math.cos(angle)
    return code


def reference_encode(
    stack: EncoderStack, group: int, x: Tensor, source: Tensor | None = None
) -> Tensor:
    """One encoder of a stack on (B, T, e), by torch's own attention with copied weights."""
    width = stack.width

    def embed(y: Tensor) -> Tensor:
        return math.sqrt(width) * y + reference_positions(y, stack.position_code)

    def linear(y: Tensor, name: str, layer: int) -> Tensor:
        weight, bias = getattr(stack, name), getattr(stack, f"{name}_bias")
        return y @ weight[group, layer] + bias[group, layer, 0]

    def norm(y: Tensor, name: str, layer: int) -> Tensor:
        gain = getattr(stack, f"{name}_gain")[group, layer, 0]
        return nn.functional.layer_norm(
            y, (width,), gain, getattr(stack, f"{name}_shift")[group, layer, 0]
        )

    keys = None if source is None else embed(source)
    out = embed(x)
    for i in range(stack.layers):
        attend = nn.MultiheadAttention(width, stack.heads, batch_first=True)
        attend.in_proj_weight.data = stack.projection[group, i].detach().T
        attend.in_proj_bias.data = stack.projection_bias[group, i, 0].detach()
        attend.out_proj.weight.data = stack.output[group, i].detach().T
        attend.out_proj.bias.data = stack.output_bias[group, i, 0].detach()
        query = norm(out, "attention", i)
        memory = query if keys is None else norm(keys, "attention", i)
        blocked = None
        if stack.causal:
            targets, sources = query.shape[1], memory.shape[1]
            blocked = torch.tensor(
                [
                    [s - t >= 1 + abs(sources - targets) for s in range(sources)]
                    for t in range(targets)
                ]
            )
        out = out + attend(query, memory, memory, attn_mask=blocked, need_weights=False)[0]
        out = out + linear(linear(norm(out, "inner", i), "inner", i).relu(), "outer", i)
    return nn.functional.layer_norm(
        out, (width,), stack.last_gain[group, 0, 0], stack.last_shift[group, 0, 0]
    )


def randomise(module: nn.Module) -> None:
    """Biases, gains and shifts that are not their neutral initial values."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)


def make_stack(**settings: object) -> EncoderStack:
    torch.manual_seed(0)
    settings = {"attention_dropout": (0.0, 0.0), **settings}
    stack = EncoderStack(8, 2, 2, **settings)  # type: ignore[arg-type]
    randomise(stack)
    return stack


@pytest.mark.parametrize("lengths", [(5, None), (5, 5), (4, 7), (7, 4), (6, 1), (1, 6)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("position_code", [True, False])
def test_encoder_equals_torch_attention_with_the_same_weights(
    lengths: tuple[int, int | None], causal: bool, position_code: bool
) -> None:
    stack = make_stack(causal=causal, position_code=position_code).eval()
    x = torch.randn(2, 3, lengths[0], 8)
    x[0, 1, 0, 0] = 0.0
    source = None if lengths[1] is None else torch.randn(2, 3, lengths[1], 8)
    x[1, :2] = 0.0
    if source is not None:
        source[1, 1:] = 0.0
    out = stack(x, source)
    for group in range(2):
        expected = reference_encode(
            stack, group, x[group], None if source is None else source[group]
        )
        torch.testing.assert_close(out[group], expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("cross", [True, False])
def test_training_and_evaluation_paths_agree_without_dropout(cross: bool) -> None:
    stack = make_stack(embedding_dropout=1e-9)
    x, source = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 6, 8) if cross else None
    torch.testing.assert_close(stack.train()(x, source), stack.eval()(x, source))


@pytest.mark.parametrize("cross", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_asking_for_one_step_gives_that_step(cross: bool, padded: bool) -> None:
    stack = make_stack()
    x, source = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8) if cross else None
    real = torch.rand(2, 3, 7 if cross else 5) < 0.7 if padded else None
    step = torch.tensor([[0, 4, 2], [4, 4, 1]])
    full = stack(x, source, real)
    expected = torch.stack(
        [torch.stack([full[g, b, step[g, b]] for b in range(3)]) for g in (0, 1)]
    )
    torch.testing.assert_close(stack(x, source, real, step)[:, :, 0], expected)


def test_padding_is_kept_out_of_attention_when_asked() -> None:
    stack = make_stack(causal=False)
    x, source = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 6, 8)
    real = torch.arange(6).expand(2, 3, 6) < 4
    other = torch.where(real[..., None], source, torch.randn_like(source))
    torch.testing.assert_close(stack(x, source, real), stack(x, other, real))
    torch.testing.assert_close(stack(x, source, real), stack(x, source[:, :, :4]))
    assert stack(x, source, torch.zeros_like(real)).isfinite().all()


def test_parameter_count_is_the_formula() -> None:
    stack = EncoderStack(12, 3, 5, attention_dropout=(0.0,) * 4)
    assert sum(p.numel() for p in stack.parameters()) == 4 * (5 * (12 * 144 + 13 * 12) + 24)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 3 heads"):
        EncoderStack(8, 3, 1)


def test_embedding_dropout_is_drawn_apart_for_targets_keys_and_values(monkeypatch) -> None:
    stack = make_stack(embedding_dropout=0.5).train()
    drawn = []

    def spy(x: Tensor, rate: float, training: bool) -> Tensor:
        out = kernels.dropout(x, rate, training)
        if rate:
            drawn.append(out == 0)
        return out

    monkeypatch.setattr(layers, "dropout", spy)
    stack(torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8))
    assert len(drawn) == 3
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


@pytest.mark.parametrize("setting", ["relu_dropout", "residual_dropout", "embedding_dropout"])
def test_each_dropout_acts_in_training_only(setting: str) -> None:
    stack = make_stack(**{setting: 0.5})
    x = torch.randn(2, 3, 5, 8)
    assert not torch.allclose(stack.train()(x), stack(x))
    torch.testing.assert_close(stack.eval()(x), stack(x))


def test_causal_mask_follows_the_rule() -> None:
    for targets, sources in ((4, 4), (3, 6), (6, 3), (1, 5), (5, 1)):
        mask = causal_mask(targets, sources)
        for t in range(targets):
            for s in range(sources):
                open_ = s - t < 1 + abs(sources - targets)
                assert float(mask[t, s]) == (0.0 if open_ else -math.inf)
        assert (mask == 0.0).any(1).all(), "no step is left without a source"


def test_position_code_of_an_odd_width_ends_in_zero() -> None:
    code = sinusoidal_code(4, 7)
    torch.testing.assert_close(code[:, :6], sinusoidal_code(4, 6))
    assert (code[:, 6] == 0).all()
    torch.testing.assert_close(code[:, :6], reference_positions(torch.ones(1, 4, 6))[0])


@pytest.mark.parametrize("kernel", [1, 3])
def test_projection_is_a_convolution_without_bias(kernel: int) -> None:
    projection, conv = TemporalProjection(6, 4, kernel), nn.Conv1d(6, 4, kernel, bias=False)
    projection.weight.data = conv.weight.detach().permute(1, 2, 0).contiguous()
    x = torch.randn(2, 7, 6)
    torch.testing.assert_close(projection(x), conv(x.transpose(1, 2)).transpose(1, 2))
    assert projection(torch.zeros(2, 7, 6)).eq(0).all()
