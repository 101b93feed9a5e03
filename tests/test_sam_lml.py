"""SAM-LML's reconstruction: its orderings against plain loops, its noise, its predictions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from baselines.input_noise import InputNoise, is_missing
from baselines.sam_lml import SAMLML
from baselines.sam_lml_config import SAMLMLConfig
from baselines.supervised_attention import (
    Interaction,
    Member,
    Query,
    degradation_ranking_loss,
    enhancement_loss,
    latent_noise,
    pick_steps,
    ranking_loss,
)
from benchmark.interface import DataSpec, Progress, count_parameters
from protocols.modalities import MODALITIES, Modalities
from tests.batches import make_batch, make_spec, with_zeroed
from tests.test_layers import randomise, reference_encode

NOW = Progress(1, 2, 1, 4)
SMALL = {"width": 8, "heads": 2, "layers": 1, "scorer_width": 6, "head_width": 6}
GAL3 = (
    ("text", ("audio", "vision")),
    ("vision", ("audio", "text")),
    ("audio", ("vision", "text")),
)


def make(spec: DataSpec | None = None, seed: int = 0, **settings: object) -> SAMLML:
    torch.manual_seed(seed)
    config = SAMLMLConfig(**{**SMALL, **settings})  # type: ignore[arg-type]
    return SAMLML(config, spec or make_spec())


def test_parameter_count() -> None:
    widths = dict(zip(MODALITIES, (768, 74, 35), strict=True))
    spec = DataSpec(widths, dict.fromkeys(MODALITIES, 50), MODALITIES)
    for lowq in (False, True):  # the extension has nothing to train
        assert count_parameters(SAMLML(SAMLMLConfig(lowq=lowq), spec)) == 980_105


def test_the_card_says_reconstruction() -> None:
    assert SAMLML.card.source == "reconstruction"
    assert SAMLML.card.reads_availability


def reference_interaction(module: Interaction, query: Tensor, keys: Tensor) -> Tensor:
    """One sample: (Tq, d) and (S, d), real steps only, step by step."""
    width = query.shape[1]
    rows = []
    for step in query:
        logits = [module.query(step) @ module.key(key) / math.sqrt(width) for key in keys]
        weights = torch.stack(logits).softmax(0)
        rows.append(module.norm(sum(w * key for w, key in zip(weights, keys, strict=True))))
    return torch.stack(rows).mean(0)


@pytest.mark.parametrize("weights", ["raw", "softmax"])
def test_the_model_is_its_reference(weights: str) -> None:
    """Each sample alone, cut to its real steps: no masks, no padding, torch's own attention."""
    model = make(fusion_weights=weights).eval()
    randomise(model)
    batch = make_batch(4)
    expected = []
    for i in range(4):
        steps = {}
        for m in MODALITIES:
            x = batch.features[m][i, batch.masks[m][i]]
            if m == "text":
                steps[m] = model.text_in(x)
                continue
            kernel = model.convolution[m].weight.permute(2, 0, 1)
            wide = nn.functional.conv1d(x.T[None], kernel, padding=1)
            steps[m] = reference_encode(model.encoder[m], 0, wide.transpose(1, 2))[0]
        o = [
            reference_interaction(module, steps[q], torch.cat([steps[m] for m in keys]))
            for module, (q, keys) in zip(model.interactions, GAL3, strict=True)
        ]
        scores = torch.cat([model.scorer(x) for x in o])
        share = scores.softmax(0) if weights == "softmax" else scores
        expected.append(model.head(sum(e * x for e, x in zip(share, o, strict=True)))[0])
    torch.testing.assert_close(model(batch).prediction, torch.stack(expected), atol=2e-5, rtol=1e-4)


def test_nine_directed_interactions() -> None:
    model = make(interactions="dir9")
    assert set(model.wiring) == {(q, (k,)) for q, k in itertools.product(MODALITIES, MODALITIES)}
    assert model(make_batch(3)).extras["scores"].shape == (3, 9)
    loss, _ = model.training_loss(make_batch(3), NOW)
    assert loss.isfinite()


def parts(model: SAMLML, seed: int = 0) -> tuple[Interaction, Query, Member, Tensor]:
    """An interaction with a query of 5 steps and a member of 7, partly padding; its steps."""
    torch.manual_seed(seed)
    module = model.interactions[0]
    assert isinstance(module, Interaction)
    query, keys = torch.randn(3, 5, 8), torch.randn(3, 7, 8)
    asked = torch.arange(5) < torch.tensor([[5], [3], [0]])
    real = torch.arange(7) < torch.tensor([[4], [7], [7]])
    own = module(query, asked, keys, real)
    return (
        module,
        Query(own.queries, module.key(query), asked),
        Member(own.keys, own.logits, real),
        torch.stack([torch.cat([q, k]) for q, k in zip(query, keys, strict=True)]),
    )


def test_attention_is_a_distribution_over_real_keys() -> None:
    module, _, member, _ = parts(make())
    values = torch.zeros(3, 7, 8)
    attended: list[Tensor] = []
    module.norm.register_forward_pre_hook(lambda norm, inputs: attended.append(inputs[0]))
    values[..., 0] = 1.0  # a weighted mean of ones is one exactly when the weights add up to 1
    values[0, 4:, 0] = 1e6  # padding must weigh nothing
    module(torch.randn(3, 5, 8), torch.ones(3, 5, dtype=torch.bool), values, member.counted)
    torch.testing.assert_close(attended[0][..., 0], torch.ones(3, 5))


def test_the_noise_loss_is_the_triple_loop() -> None:
    module, query, member, steps = parts(make())
    noise, at = torch.rand(3, 2, 8), torch.tensor([5, 1])
    values = []
    for b, t, (row, s) in itertools.product(range(3), range(5), enumerate((5, 1))):
        if query.counted[b, t] and member.counted[b, s]:
            q = module.query(steps[b, t])
            noisy = q @ module.key(noise[b, row]) / math.sqrt(8)
            real = q @ module.key(steps[b, 5 + s]) / math.sqrt(8)
            values.append(float(torch.relu(noisy + 0.7 - real).detach()))
    loss = module.noise_loss(query, member, noise, at, 0.7)
    assert float(loss.detach()) == pytest.approx(sum(values) / len(values), rel=1e-4)


def test_descending_the_noise_loss_lowers_noise_below_real() -> None:
    model, noise, at = make(), torch.rand(3, 2, 8), torch.tensor([2, 1])

    def gap() -> float:
        module, query, member, _ = parts(model)
        noisy = query.mapped @ module.key(noise).transpose(1, 2)
        return float((noisy - member.logits[:, :, at])[0].mean().detach())

    before = gap()
    module, query, member, _ = parts(model)
    module.noise_loss(query, member, noise, at, 1.0).backward()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.05 * parameter.grad)
    assert gap() < before


@pytest.mark.parametrize("length", [5, 7])
def test_the_enhancement_loss_is_the_loop_over_the_diagonal(length: int) -> None:
    module, query, member, steps = parts(make())
    member = Member(
        member.mapped[:, :length], member.logits[:, :, :length], member.counted[:, :length]
    )
    values = []
    for b, s in itertools.product(range(3), range(length)):
        t = s * 5 // length
        if query.counted[b, t] and member.counted[b, s]:
            q, x, k = module.query(steps[b, t]), steps[b, t], steps[b, 5 + s]
            logit = q @ module.key(k) / math.sqrt(8)
            enhanced = q @ module.key(0.9 * k + 0.1 * x) / math.sqrt(8)
            values.append(float(torch.relu(logit + 0.5 - enhanced).detach()))
    loss = enhancement_loss(query, member, 0.1, 0.5)
    assert float(loss.detach()) == pytest.approx(sum(values) / len(values), rel=1e-4)


def test_the_ranking_loss_is_the_loop_over_pairs() -> None:
    torch.manual_seed(0)
    scores, errors, noise = torch.randn(6, 3), torch.rand(6, 3), torch.tensor(0.3)
    total = 0.0
    for b in range(6):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            better, worse = (i, j) if errors[b, i] < errors[b, j] else (j, i)
            total += max(0.0, 0.2 - float(scores[b, better] - scores[b, worse])) / 6
        for p in range(3):
            total += max(0.0, 0.3 + 0.2 - float(scores[b, p])) / 6
    assert float(ranking_loss(scores, errors, noise, 0.2)) == pytest.approx(total, rel=1e-5)


def test_ranking_is_satisfied_by_margins_and_raises_the_better_score() -> None:
    errors = torch.tensor([[0.1, 0.5, 0.9]])
    kept = torch.tensor([[0.9, 0.6, 0.3]])
    assert ranking_loss(kept, errors, torch.tensor(0.0), 0.2) == 0
    scores = torch.zeros(1, 3, requires_grad=True)
    ranking_loss(scores, errors, torch.tensor(-1.0), 0.2).backward()
    assert scores.grad is not None
    assert scores.grad[0, 0] < 0 < scores.grad[0, 2]


def test_the_degradation_ranking_is_the_loop_over_affected_interactions() -> None:
    torch.manual_seed(0)
    clean, perturbed, noise = torch.randn(3, 5, 3).unbind()
    affected = torch.rand(5, 3) < 0.6
    total = 0.0
    for b, p in itertools.product(range(5), range(3)):
        if affected[b, p]:
            total += max(0.0, 0.1 - float(clean[b, p] - perturbed[b, p])) / 5
            total += max(0.0, 0.1 - float(perturbed[b, p] - noise[b, p])) / 5
    loss = degradation_ranking_loss(clean, perturbed, noise, affected.float(), 0.1)
    assert float(loss) == pytest.approx(total, rel=1e-5)
    falling = torch.tensor([[0.5]]), torch.tensor([[0.3]]), torch.tensor([[0.1]])
    assert degradation_ranking_loss(*falling, torch.ones(1, 1), 0.1) == 0


def test_affected_interactions_have_the_worse_modality_among_their_keys() -> None:
    affected = make()._affected(torch.eye(3, dtype=torch.bool))
    for position, m in enumerate(MODALITIES):
        assert affected[position].tolist() == [m in keys for _, keys in GAL3]


def test_the_loss_is_its_weighted_terms() -> None:
    model, batch = make(lowq=False, dropout=0.0), make_batch(6)
    output = model(batch)
    total, terms = model.loss(output, batch, NOW)
    assert batch.label is not None
    task = (output.prediction - batch.label).square().mean()
    torch.testing.assert_close(terms["task"], task)
    side = 0.0
    for head, o in zip(model.side_heads, output.extras["interactions"].unbind(1), strict=True):
        side += float((head(o)[:, 0] - batch.label).square().mean().detach())
    assert float(terms["side"].detach()) == pytest.approx(side, rel=1e-5)
    expected = task + terms["side"] + 0.005 * terms["rank"]
    expected = expected + 0.005 * terms["noise"] + 0.1 * terms["enhance"]
    torch.testing.assert_close(total, expected)


def test_ranking_starts_after_the_first_tenth_of_the_epochs() -> None:
    model, batch = make(), make_batch(6)
    for epoch, expected in ((0, False), (2, False), (3, True), (29, True)):
        _, terms = model.loss(model(batch), batch, Progress(epoch, 30, 0, 4))
        assert ("rank" in terms) == expected


def test_side_predictors_send_no_gradient_to_the_core() -> None:
    model, batch = make(lowq=False), make_batch(6)
    terms = model.loss(model(batch), batch, NOW)[1]
    terms["side"].backward()
    reached = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
    assert reached == {"side_heads"}


@pytest.mark.parametrize("settings", [
    {}, {"missing_fill": "zero"}, {"lowq": False}, {"use_masks": False, "batch_minmax": True},
    {"latent_noise": "gaussian_std"}, {"interactions": "dir9"},
])  # fmt: skip
@pytest.mark.parametrize("keep", range(8))
def test_finite_whatever_is_missing(settings: dict[str, object], keep: int) -> None:
    model = make(lowq_probability=1.0, **settings)
    for size in (1, 5):
        batch = with_zeroed(make_batch(size), keep)
        loss, _ = model.training_loss(batch, NOW)
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        assert model.eval()(batch).prediction.isfinite().all()
        model.train()


def test_a_sequence_too_short_for_noise_steps_has_none() -> None:
    assert len(pick_steps(4, 0.2, torch.device("cpu"))) == 0
    picked = pick_steps(50, 0.2, torch.device("cpu"))
    assert len(set(picked.tolist())) == 10
    spec = DataSpec(dict.fromkeys(MODALITIES, 5), dict.fromkeys(MODALITIES, 1), MODALITIES)
    batch = Modalities(
        {m: torch.randn(4, 1, 5) for m in MODALITIES},
        {m: torch.ones(4, 1, dtype=torch.bool) for m in MODALITIES},
        torch.ones(4, 3, dtype=torch.bool),
        torch.randn(4),
    )
    terms = make(spec).training_loss(batch, NOW)[1]
    assert terms["noise"] == 0


@pytest.mark.parametrize("kind", ["uniform01", "gaussian_std"])
def test_latent_noise(kind: str) -> None:
    torch.manual_seed(0)
    like = torch.randn(8, 500, 2) * torch.tensor([3.0, 0.5]) + 7
    noise = latent_noise(kind, (8, 500, 2), like)  # type: ignore[arg-type]
    if kind == "uniform01":
        assert noise.min() >= 0
        assert noise.max() <= 1
        torch.testing.assert_close(noise.mean(), torch.tensor(0.5), atol=0.02, rtol=0)
    else:
        expected = torch.tensor([3.0, 0.5])
        torch.testing.assert_close(noise.flatten(0, 1).std(0), expected, atol=0, rtol=0.05)


def test_the_spread_is_the_deviation_of_the_real_steps_that_are_there() -> None:
    noise, batch = InputNoise(make_spec()), make_batch(40)
    assert noise.spread("text") == 1.0
    missing = torch.arange(40) % 4 == 0
    features = {m: x.masked_fill(missing[:, None, None], 0.0) for m, x in batch.features.items()}
    noise.observe(Modalities(features, batch.masks, batch.available))
    for m in MODALITIES:
        there = batch.features[m][batch.masks[m] & ~missing[:, None]]
        torch.testing.assert_close(noise.spread(m), there.std(correction=0))
    before = noise.spread("text").clone()
    noise.observe(with_zeroed(batch, 0))  # nothing to learn from
    torch.testing.assert_close(noise.spread("text"), before)


def test_a_missing_sequence_is_filled_with_noise_of_its_spread() -> None:
    noise, batch = InputNoise(make_spec()), make_batch(6)
    noise.moments[MODALITIES.index("audio")] = torch.tensor([10.0, 0.0, 90.0])
    x, mask = batch.features["audio"].clone(), batch.masks["audio"]
    x[2] = 0.0
    noise.eval()
    filled = noise.fill("audio", x, mask)
    assert torch.equal(filled, noise.fill("audio", x, mask))
    assert torch.equal(filled[:2], x[:2])
    torch.testing.assert_close(filled[2, mask[2]], 3.0 * noise.pattern_audio[mask[2]])
    assert not filled[2, ~mask[2]].any()
    noise.train()
    assert not torch.equal(noise.fill("audio", x, mask), noise.fill("audio", x, mask))


def test_worse_versions_of_an_input() -> None:
    torch.manual_seed(0)
    noise, batch = InputNoise(make_spec()), make_batch(200)
    features = dict(batch.features)
    features["vision"] = torch.zeros_like(features["vision"])
    batch = Modalities(features, batch.masks, batch.available)
    perturbed, replaced, chosen = noise.worsen(batch, (0.1, 0.7))
    assert (chosen.sum(1) == 1).all()
    assert not chosen[:, 2].any()  # what is missing cannot get worse
    assert 60 < int(chosen[:, 0].sum()) < 140
    for position, m in enumerate(MODALITIES):
        x, mask = batch.features[m], batch.masks[m]
        where = (chosen[:, position, None] & mask)[..., None].expand_as(x)
        for version in (perturbed, replaced):
            assert torch.equal(version.features[m][~where], x[~where])
            if where.any():
                assert not torch.equal(version.features[m][where], x[where])
    added = (perturbed.features["text"] - batch.features["text"])[chosen[:, 0]]
    assert 0.1 < added[added != 0].std() < 0.7
    assert replaced.features["text"][chosen[:, 0]][added != 0].std() == pytest.approx(1, abs=0.05)


def test_all_missing_is_chosen_nowhere() -> None:
    noise, batch = InputNoise(make_spec()), with_zeroed(make_batch(5), 0)
    assert is_missing(batch.features["text"]).all()
    assert not noise.worsen(batch, (0.1, 0.7))[2].any()


def test_low_quality_versions_come_with_their_probability() -> None:
    batch = make_batch(5)
    for probability, expected in ((0.0, False), (1.0, True)):
        terms = make(lowq_probability=probability).training_loss(batch, NOW)[1]
        assert bool(terms["low_quality"] != 0) == expected
    assert "low_quality" not in make(lowq=False).training_loss(batch, NOW)[1]


def test_a_missing_modality_is_not_asked_to_be_above_noise() -> None:
    model, batch = make(), with_zeroed(make_batch(5), 0b101)
    encoded = model.encode("audio", batch.features["audio"], batch.masks["audio"])
    assert not encoded["counted"].any()
    assert torch.equal(encoded["real"], batch.masks["audio"])


@pytest.mark.parametrize("keep", [7, 3, 1])
def test_evaluation_is_deterministic_and_padding_changes_nothing(keep: int) -> None:
    batch = with_zeroed(make_batch(5), keep)
    model = make().eval()
    assert torch.equal(model(batch).prediction, model(batch).prediction)
    longer_spec = DataSpec(
        make_spec().widths, {m: n + 3 for m, n in make_spec().lengths.items()}, MODALITIES
    )
    long = make(longer_spec).eval()
    state = model.state_dict()
    pad = nn.functional.pad
    for m in MODALITIES:
        state[f"noise.pattern_{m}"] = pad(state[f"noise.pattern_{m}"], (0, 0, 0, 3))
    long.load_state_dict(state)
    longer = Modalities(
        {m: pad(x, (0, 0, 0, 3)) for m, x in batch.features.items()},
        {m: pad(x, (0, 3)) for m, x in batch.masks.items()},
        batch.available,
    )
    torch.testing.assert_close(long(longer).prediction, model(batch).prediction)


def test_batch_minmax_is_the_original_scaling() -> None:
    model, batch = make(batch_minmax=True, lowq=False).eval(), make_batch(5)
    plain = make(lowq=False).eval()
    x = batch.features["audio"]
    scaled = (x - x.min()) / (x.max() - x.min())
    torch.testing.assert_close(
        model.encode("audio", x, batch.masks["audio"]),
        plain.encode("audio", scaled, batch.masks["audio"]),
    )


def test_classification_is_cross_entropy_everywhere() -> None:
    spec = make_spec("classification", 4)
    model, batch = make(spec, lowq=False), make_batch(6, spec)
    output = model(batch)
    terms = model.loss(output, batch, NOW)[1]
    rows = torch.arange(6)
    expected = -output.prediction.log_softmax(1)[rows, batch.label].mean()
    torch.testing.assert_close(terms["task"], expected)
    side = torch.stack([
        -head(o).log_softmax(1)[rows, batch.label].mean()
        for head, o in zip(model.side_heads, output.extras["interactions"].unbind(1), strict=True)
    ]).sum()  # fmt: skip
    torch.testing.assert_close(terms["side"], side)


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="not a multiple of heads"):
        SAMLMLConfig(width=9, heads=2)
    with pytest.raises(ValueError, match="not a range"):
        SAMLMLConfig(lowq_intensity=(0.7, 0.1))
