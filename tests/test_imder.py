"""IMDer: what is recovered, from what, by which noise, and what each of its stages learns."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.hiding import balanced_shown, shown_patterns
from baselines.imder import IMDer, _to_recover, noise_bank
from baselines.imder_config import IMDerConfig
from baselines.mult import MulT
from benchmark.config import TrainingConfig, build
from benchmark.contract_cases import mixed
from benchmark.data.dataset import Split
from benchmark.errors import BenchmarkError
from benchmark.interface import DataSpec, Progress, count_parameters
from benchmark.predict import fill_table
from benchmark.train import Callbacks, fit
from protocols.conditions import conditions_of
from protocols.modalities import MODALITIES, Modalities, Modality
from protocols.regimes import Regime
from tests.batches import make_batch, make_dataset, make_spec, with_zeroed
from tests.small_models import SMALL

NOW = Progress(0, 1, 0, 1)
LENGTHS_50: dict[Modality, int] = dict.fromkeys(MODALITIES, 50)
OTHERS: dict[Modality, tuple[Modality, Modality]] = {
    "text": ("vision", "audio"),
    "audio": ("text", "vision"),
    "vision": ("text", "audio"),
}
"""Whose streams lie side by side for a target: the pairs are (t, v), (t, a) and (v, a)."""


def make(spec: DataSpec | None = None, **settings: object) -> IMDer:
    torch.manual_seed(0)
    config = build(IMDerConfig, {**SMALL["imder"], **settings}, "imder")
    return IMDer(config, spec or make_spec())


def spec_of(audio: int, vision: int) -> DataSpec:
    return DataSpec({"text": 768, "audio": audio, "vision": vision}, LENGTHS_50, MODALITIES)


def calls_of(model: IMDer) -> Counter[str]:
    """Counts, from now on, the samples that each score network runs over."""
    counts: Counter[str] = Counter()
    for m, network in model.score.items():
        network.register_forward_hook(
            lambda _, args, __, m=m: counts.update({m: len(args[0])})  # type: ignore[misc]
        )
    return counts


@pytest.mark.parametrize(
    ("audio", "vision", "layers", "whole"),
    [
        (74, 35, 4, 13_009_489), (5, 20, 4, 13_001_425),
        (74, 35, 6, 13_461_841), (5, 20, 6, 13_453_777),
    ],
)  # fmt: skip
def test_parameter_counts(audio: int, vision: int, layers: int, whole: int) -> None:
    model = IMDer(IMDerConfig(layers=layers), spec_of(audio, vision))
    assert count_parameters(model) == whole
    assert all(count_parameters(model.score[m]) == 3_457_536 for m in MODALITIES)
    assert all(count_parameters(model.refiner[m]) == 522_224 for m in MODALITIES)
    assert all(count_parameters(model.pair[m]) == 2_080 for m in MODALITIES)
    assert count_parameters(model.project) == {74: 84_192, 5: 76_128}[audio]
    if layers == 4:
        first = count_parameters(model.project) + count_parameters(model.classifier)
        assert first == {74: 1_063_969, 5: 1_055_905}[audio]


def test_few_uniform_steps_are_refused() -> None:
    assert (IMDerConfig().sampler, IMDerConfig().steps) == ("uniform", 100)
    with pytest.raises(BenchmarkError, match="blow up"):
        build(IMDerConfig, {"steps": 20}, "imder")


def test_a_complete_sample_is_mults_answer_and_runs_no_score_network() -> None:
    model, batch = make().eval(), make_batch(4)
    counts = calls_of(model)
    streams = {}
    for m in MODALITIES:
        x = batch.features[m]
        x = F.pad(x, (0, 0, 0, max(0, 10 - x.shape[1]))).transpose(1, 2)
        weight = model.project.convolutions[m].weight.permute(2, 0, 1)
        streams[m] = F.conv1d(x, weight).transpose(1, 2)
    steps = torch.ones(4, 8, dtype=torch.bool)
    assert isinstance(model.classifier, MulT)
    whole = Modalities(streams, dict.fromkeys(MODALITIES, steps), batch.available)
    torch.testing.assert_close(model(batch).prediction, model.classifier(whole).prediction)
    assert not counts


@pytest.mark.parametrize(
    ("lengths", "wanted"),
    [((50, 50, 50), 48), ((50, 375, 500), 48), ((39, 50, 50), 32), ((6, 9, 4), 8), ((1, 1, 1), 8)],
)
def test_streams_have_one_length_a_multiple_of_8(lengths, wanted) -> None:
    spec = DataSpec(
        {"text": 12, "audio": 5, "vision": 7}, dict(zip(MODALITIES, lengths, strict=True)),
        MODALITIES,
    )  # fmt: skip
    model = make(spec)
    features = {m: torch.randn(2, spec.lengths[m], spec.widths[m]) for m in MODALITIES}
    masks = {m: torch.ones(2, spec.lengths[m], dtype=torch.bool) for m in MODALITIES}
    batch = Modalities(features, masks, torch.ones(2, 3, dtype=torch.bool))
    assert {x.shape for x in model.project(batch).values()} == {(2, wanted, 8)}
    for mask in (1, 6):
        assert model.eval()(with_zeroed(batch, mask)).prediction.isfinite().all()


def test_what_a_missing_modality_holds_does_not_matter() -> None:
    model, batch = make().eval(), make_batch(5)
    hidden = with_zeroed(batch, 0b101)
    other = replace(hidden, features=batch.features)
    assert not torch.equal(hidden.features["audio"], other.features["audio"])
    assert torch.equal(model(hidden).prediction, model(other).prediction)


@pytest.mark.parametrize("target", MODALITIES)
def test_the_condition_is_the_available_stream_or_a_layer_over_both(target: Modality) -> None:
    model, size = make(), 4
    streams = {m: torch.randn(size, 8, 8) for m in MODALITIES}
    first, second = OTHERS[target]
    available = torch.zeros(size, 3, dtype=torch.bool)
    for row, there in enumerate(((first,), (second,), (first, second), (second,))):
        available[row, [MODALITIES.index(m) for m in there]] = True
    seen = {m: x * available[:, [i]][..., None] for i, (m, x) in enumerate(streams.items())}
    found = model._condition(target, seen, available, torch.arange(size))
    both = model.pair[target](torch.cat([streams[first][2], streams[second][2]], -1))
    for row, wanted in enumerate((streams[first][0], streams[second][1], both, streams[second][3])):
        torch.testing.assert_close(found[row], wanted)


def test_each_sample_is_recovered_as_if_it_were_alone() -> None:
    model, batch = make().eval(), mixed(make_batch(15))
    together = model(batch).prediction
    for row in range(15):
        alone = model(batch.select(slice(row, row + 1))).prediction
        torch.testing.assert_close(together[row : row + 1], alone)


def test_a_sampler_that_runs_for_all_recovers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a training step on a GPU; the noise here is the bank's, whoever it is for."""
    model, batch = make().eval(), mixed(make_batch(16))
    streams = {m: stream.requires_grad_() for m, stream in model.project(batch).items()}

    def recovered() -> tuple[Tensor, list[Tensor]]:
        full = model.completed(streams, batch.available, batch.masks, 0)
        joined = torch.stack(list(full.values()))
        learned = list(model.refiner.parameters())
        return joined, list(torch.autograd.grad(joined.square().mean(), learned))

    alone = recovered()
    counts = calls_of(model)

    def for_all(m: Modality, available: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        rows, _ = _to_recover(m, available, training)
        lacks = torch.zeros(len(available), dtype=torch.bool).index_fill(0, rows, True)
        return torch.arange(len(available)), lacks

    monkeypatch.setattr("baselines.imder._to_recover", for_all)
    torch.testing.assert_close(recovered(), alone, rtol=1e-4, atol=1e-5)
    assert counts == dict.fromkeys(MODALITIES, 16 * model.config.steps)


def test_work_is_per_missing_modality() -> None:
    """A Protocol I table costs 9 runs of the sampler for each sample, not 3 for each of 8 rows."""
    model, split = make().eval(), make_dataset().splits["test"]
    counts = calls_of(model)
    model(mixed(make_batch(16)))  # each of the 8 patterns twice: a modality is missing in 6
    steps = model.config.steps
    assert counts == dict.fromkeys(MODALITIES, 6 * steps)
    counts.clear()
    rows = conditions_of(("I",), MODALITIES, ("seed_a1",), 1, "uniform_0.7")
    sigma = {m: torch.tensor(1.0) for m in MODALITIES}
    fill_table(model, Split(split.sample_ids, split.samples), make_spec(), sigma, rows)
    assert counts == dict.fromkeys(MODALITIES, 3 * steps * len(split))
    assert sum(counts.values()) == 9 / 24 * len(rows) * 3 * steps * len(split)


def test_the_bank_is_numpys_noise_of_the_seed() -> None:
    config = build(IMDerConfig, {**SMALL["imder"], "steps": 3, "noise_seed": 5}, "imder")
    bank, drawn = noise_bank(config, 16), np.random.RandomState(5)
    assert bank.shape == (1, 3, 7, 16, 8)
    assert bank.dtype == torch.float32
    for place in range(3):
        for number in range(7):  # n; then a condition's noise and a step's, each 3 times
            wanted = drawn.standard_normal((8, 16)).astype(np.float32)
            assert np.array_equal(bank[0, place, number].numpy().T, wanted)
    twice = noise_bank(config.model_copy(update={"noise_paths": 2}), 16)
    assert torch.equal(twice[:1], bank)


def test_another_seed_changes_what_lacks_something_and_nothing_else() -> None:
    batch = mixed(make_batch(8))
    one, other = (make(noise_seed=seed).eval() for seed in (0, 1))
    other.load_state_dict(one.state_dict())  # no noise in a checkpoint
    same = (one(batch).prediction == other(batch).prediction).tolist()
    assert same == [True, *[False] * 6, True]  # nothing, the six patterns, everything


def test_paths_are_averaged() -> None:
    batch = mixed(make_batch(8))
    model = make(noise_paths=3).eval()
    bank, answers = model.bank, []
    for path in range(3):
        alone = make().eval()
        alone.bank = bank[path : path + 1]
        answers.append(alone(batch).prediction)
    torch.testing.assert_close(model(batch).prediction, torch.stack(answers).mean(0))


def test_what_is_recovered_on_padding_can_be_left_out() -> None:
    spec = DataSpec({"text": 12, "audio": 5, "vision": 7}, dict.fromkeys(MODALITIES, 18),
                    MODALITIES)  # fmt: skip
    batch = with_zeroed(make_batch(1, spec), 0b011)
    batch.masks["vision"][:] = torch.arange(18) < 5
    for masked in (False, True):
        model = make(spec, mask_recovered=masked).eval()
        full = model.completed(model.project(batch), batch.available, batch.masks, 0)["vision"][0]
        assert full[:5].any(-1).all()
        assert full[5:].any() != masked


def test_patterns_are_dealt_evenly_to_complete_samples() -> None:
    patterns = shown_patterns(MODALITIES)
    assert len(patterns) == 7
    for _ in range(3):
        shown = balanced_shown(torch.ones(14, 3, dtype=torch.bool), patterns)
        assert Counter(map(tuple, shown.tolist())) == dict.fromkeys(
            map(tuple, patterns.tolist()), 2
        )
    incomplete = torch.tensor([[True, False, True], [False] * 3]).repeat(9, 1)
    assert torch.equal(balanced_shown(incomplete, patterns), incomplete)
    two = torch.tensor([[True, True, False]]).expand(9, 3)
    dealt = balanced_shown(two, shown_patterns(("text", "audio")))
    assert Counter(map(tuple, dealt.tolist())) == {
        (True, False, False): 3, (False, True, False): 3, (True, True, False): 3,
    }  # fmt: skip


def gradients_of(term: Tensor, module: nn.Module) -> bool:
    """Whether any gradient of the term reaches the module."""
    found = torch.autograd.grad(
        term, list(module.parameters()), retain_graph=True, allow_unused=True
    )
    return any(g is not None and bool(g.any()) for g in found)


def test_which_error_teaches_what() -> None:
    model, batch = make(), make_batch(14)
    _, terms = model.recovery_loss(batch, NOW, clean=batch)
    reached = {
        name: [
            part
            for part in ("project", "classifier", "score", "refiner", "pair")
            if terms[name].requires_grad and gradients_of(terms[name], getattr(model, part))
        ]
        for name in ("task", "denoising", "distance")
    }
    assert reached == {
        "task": ["classifier", "refiner"],
        "denoising": ["score", "pair"],
        "distance": ["refiner"],
    }


def test_the_recovery_loss_is_a_mean_over_samples_of_what_each_lacks() -> None:
    model, clean = make(generation_weight=0.5), make_batch(6)
    batch = with_zeroed(clean, 0b001)  # text alone: audio and vision are recovered
    torch.manual_seed(3)
    total, terms = model.recovery_loss(batch, NOW, clean=clean)
    with torch.no_grad():
        truth, streams = model.project(clean), model.project(batch)
        torch.manual_seed(3)
        torch.rand(6)
        full = model.completed(streams, batch.available, batch.masks)
        answer = model._answer(full)
    distance = sum((full[m] - truth[m]).square().mean() for m in ("audio", "vision"))
    torch.testing.assert_close(terms["distance"], distance)
    torch.testing.assert_close(terms["task"], (answer - clean.label).abs().mean())
    wanted = terms["task"] + 0.5 * (terms["denoising"] + terms["distance"])
    torch.testing.assert_close(total, wanted)
    stds = {m: truth[m].std(correction=0) for m in MODALITIES}
    torch.testing.assert_close({m: terms[f"deviation_{m}"] for m in MODALITIES}, stds)
    nothing, none = model.recovery_loss(with_zeroed(clean, 0), NOW, clean=clean)
    torch.testing.assert_close(nothing, none["task"])


def test_there_is_no_truth_of_what_a_clean_sample_lacks() -> None:
    model, clean = make(), with_zeroed(make_batch(5), 0b011)
    _, terms = model.recovery_loss(clean, NOW, clean=clean)
    assert terms["denoising"] == terms["distance"] == 0


def test_with_one_modality_the_task_is_all() -> None:
    spec = make_spec(present=("text",))
    model, batch = make(spec), make_batch(5, spec)
    assert not len(model.score)
    total, terms = model.recovery_loss(batch, NOW, clean=batch)
    assert torch.equal(total, terms["task"])


def test_what_each_stage_of_a_run_changes() -> None:
    """Weights after each epoch of a run: 1 of 3 epochs is the classifier's."""
    data, seen = make_dataset(), []
    config = TrainingConfig(epochs=3, select_on="mae")

    def save(state) -> None:
        seen.append({name: x.clone() for name, x in state["model"].items()})

    start = make(data.spec).state_dict()
    callbacks = Callbacks(lambda *_: None, lambda *_: None, save)
    fitted = fit(
        lambda: make(data.spec), data.training_data(), config, Regime(kind="spectrum"), 1, callbacks
    )

    def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
        return {name.split(".")[0] for name in one if not torch.equal(one[name], other[name])}

    assert changed(start, seen[0]) == {"project", "classifier"}
    assert changed(seen[0], seen[2]) == {"classifier", "score", "refiner", "pair"}
    assert fitted.history["best"].tolist()[0] == 0.0
    frequencies = [name for name in start if name.endswith("frequencies")]
    assert len(frequencies) == 3
    assert all(torch.equal(start[name], seen[2][name]) for name in frequencies)


def test_the_first_stage_learns_from_clean_batches_whatever_it_is_given() -> None:
    model, batch = make().eval(), make_batch(5)
    clean, _ = model.classifier_loss(batch, NOW, clean=batch)
    other, _ = model.classifier_loss(with_zeroed(batch, 0), NOW, clean=batch)
    assert torch.equal(clean, other)
