"""SAM-LML's reconstruction: its predictions against a plain reading, its loss and its stages."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from baselines.sam_lml import SAMLML
from baselines.sam_lml_config import SAMLMLConfig
from baselines.supervised_attention import Interaction, pick_steps
from benchmark.contract_cases import mixed
from benchmark.interface import DataSpec, Progress, count_parameters
from protocols.modalities import MODALITIES, Modalities
from tests.batches import make_batch, make_spec, with_zeroed
from tests.sam_lml import make_sam_lml
from tests.test_layers import randomise, reference_encode

NOW = Progress(1, 2, 1, 4)
GAL3 = (
    ("text", ("audio", "vision")),
    ("vision", ("audio", "text")),
    ("audio", ("vision", "text")),
)


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
    model = make_sam_lml(fusion_weights=weights).eval()
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
    model = make_sam_lml(interactions="dir9")
    assert set(model.wiring) == {(q, (k,)) for q, k in itertools.product(MODALITIES, MODALITIES)}
    assert model(make_batch(3)).extras["scores"].shape == (3, 9)
    loss, _ = model.training_loss(make_batch(3), NOW)
    assert loss.isfinite()


def test_affected_interactions_have_the_worse_modality_among_their_keys() -> None:
    affected = make_sam_lml()._affected(torch.eye(3, dtype=torch.bool))
    for position, m in enumerate(MODALITIES):
        assert affected[position].tolist() == [m in keys for _, keys in GAL3]


def test_the_loss_is_its_weighted_terms() -> None:
    model, batch = make_sam_lml(lowq=False, dropout=0.0), make_batch(6)
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
    model, batch = make_sam_lml(), make_batch(6)
    for epoch, expected in ((0, False), (2, False), (3, True), (29, True)):
        _, terms = model.loss(model(batch), batch, Progress(epoch, 30, 0, 4))
        assert ("rank" in terms) == expected


def test_side_predictors_send_no_gradient_to_the_core() -> None:
    model, batch = make_sam_lml(lowq=False), make_batch(6)
    terms = model.loss(model(batch), batch, NOW)[1]
    terms["side"].backward()
    reached = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
    assert reached == {"side_heads"}


@pytest.mark.parametrize("settings", [
    {}, {"missing_fill": "zero"}, {"lowq": False}, {"use_masks": False, "batch_minmax": True},
    {"latent_noise": "gaussian_std"}, {"interactions": "dir9"},
])  # fmt: skip
def test_finite_whatever_is_missing_in_low_quality_versions(settings: dict[str, object]) -> None:
    model = make_sam_lml(lowq_probability=1.0, **settings)
    for batch in (mixed(make_batch(8)), *(with_zeroed(make_batch(size), 0) for size in (1, 5))):
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
    terms = make_sam_lml(spec).training_loss(batch, NOW)[1]
    assert terms["noise"] == 0


def test_low_quality_versions_come_with_their_probability() -> None:
    batch = make_batch(5)
    for probability, expected in ((0.0, False), (1.0, True)):
        terms = make_sam_lml(lowq_probability=probability).training_loss(batch, NOW)[1]
        assert bool(terms["low_quality"] != 0) == expected
    assert "low_quality" not in make_sam_lml(lowq=False).training_loss(batch, NOW)[1]


def test_a_missing_modality_is_not_asked_to_be_above_noise() -> None:
    model, batch = make_sam_lml(), with_zeroed(make_batch(5), 0b101)
    encoded = model.encode("audio", batch.features["audio"], batch.masks["audio"])
    assert not encoded["counted"].any()
    assert torch.equal(encoded["real"], batch.masks["audio"])


@pytest.mark.parametrize("keep", [7, 3, 1])
def test_evaluation_is_deterministic_and_padding_changes_nothing(keep: int) -> None:
    batch = with_zeroed(make_batch(5), keep)
    model = make_sam_lml().eval()
    assert torch.equal(model(batch).prediction, model(batch).prediction)
    longer_spec = DataSpec(
        make_spec().widths, {m: n + 3 for m, n in make_spec().lengths.items()}, MODALITIES
    )
    long = make_sam_lml(longer_spec).eval()
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


def test_batch_minmax_is_the_original_scaling_in_training() -> None:
    settings = {"lowq": False, "dropout": 0.0}
    model, batch = make_sam_lml(batch_minmax=True, **settings), make_batch(5)
    plain = make_sam_lml(**settings)
    x = batch.features["audio"]
    scaled = (x - x.min()) / (x.max() - x.min())
    torch.testing.assert_close(
        model.encode("audio", x, batch.masks["audio"]),
        plain.encode("audio", scaled, batch.masks["audio"]),
    )


def test_batch_minmax_at_evaluation_is_a_running_average() -> None:
    settings = {"lowq": False, "dropout": 0.0}
    model, plain = make_sam_lml(batch_minmax=True, **settings), make_sam_lml(**settings).eval()
    low, high = 0.0, 1.0
    for seed in range(3):
        x, mask = (getattr(make_batch(5, seed=seed), n)["vision"] for n in ("features", "masks"))
        model.encode("vision", x, mask)
        low, high = 0.9 * low + 0.1 * float(x.min()), 0.9 * high + 0.1 * float(x.max())
    torch.testing.assert_close(
        model.eval().encode("vision", x, mask),
        plain.encode("vision", (x - low) / (high - low), mask),
    )


def test_classification_is_cross_entropy_everywhere() -> None:
    spec = make_spec("classification", 4)
    model, batch = make_sam_lml(spec, lowq=False), make_batch(6, spec)
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
