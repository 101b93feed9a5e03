"""Parts that do not see all modalities run once for what they see, and nothing else changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data.dataset import Split
from benchmark.interface import BranchedModel, Output
from benchmark.predict import fill_table
from benchmark.registry import model_class
from protocols.conditions import PROTOCOLS, Condition, conditions_of
from protocols.modalities import MODALITIES
from tests.batches import make_batch, make_spec, with_zeroed
from tests.small_models import PRESETS, small_model
from tests.speed.harness import Whole
from tests.test_layers import make_stack, randomise

SIZE = 6
IDS = tuple(f"sample{i}" for i in range(SIZE))
SPEC = make_spec()
RELATED = [
    (name, preset) for name, preset in PRESETS if getattr(model_class(name), "relations", ())
]


def rows(rule: str, *levels: float) -> tuple[Condition, ...]:
    """The rows of all protocols, or those of some levels."""
    every = conditions_of(PROTOCOLS, MODALITIES, (rule,), 1, "uniform_0.7")  # type: ignore[arg-type]
    return tuple(c for c in every if not levels or c.intensity in levels)


def predictions(model: BranchedModel | Whole, conditions, seed: int = 0) -> np.ndarray:
    split = Split(IDS, make_batch(SIZE, SPEC, seed))
    sigma = {m: torch.tensor(1.0) for m in MODALITIES}
    centre = {m: torch.full((SPEC.widths[m],), 0.25) for m in MODALITIES}
    return fill_table(model, split, SPEC, sigma, conditions, batch_size=4, centre=centre).prediction


class Pairs(BranchedModel):
    """Counts what it is asked: a modality's sum, and the products of two."""

    relations = tuple(combinations(MODALITIES, 2))

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.asked: Counter[object] = Counter()

    def encode(self, modality, features, mask):
        self.asked[modality] += 1
        return {"sum": self.weight * features.sum((1, 2))}

    def relate(self, wanted, encoded):
        self.asked.update(wanted)
        return {(a, b): {"product": encoded[a]["sum"] * encoded[b]["sum"]} for a, b in wanted}

    def fuse(self, encoded):
        self.asked["fuse"] += 1
        parts = [encoded[pair]["product"] for pair in self.relations]
        return Output(sum(parts) + encoded["text"]["sum"])

    def loss(self, output, batch, progress):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("rule", "branch", "relation", "fusion"),
    [
        ("seed_a1", 9 + 1, 3 * 9 + 1, 64),  # 8 levels and Protocol III's: there, or zeros
        ("fill_noise", 2 * 9, 4 * 9, 8 * 9),  # what stands in for zeros is another at each level
    ],
)
def test_each_part_runs_once_for_each_state(
    rule: str, branch: int, relation: int, fusion: int
) -> None:
    model = Pairs()
    found = predictions(model, rows(rule))
    assert model.asked == {  # twice: for 4 samples and for 2
        **dict.fromkeys(MODALITIES, 2 * branch),
        **dict.fromkeys(model.relations, 2 * relation),
        "fuse": 2 * fusion,
    }
    np.testing.assert_allclose(found, predictions(Whole(model), rows(rule)), rtol=1e-6)


def test_the_grid_alone_has_25_states_of_two_modalities() -> None:
    model = Pairs()
    grid = conditions_of(("grid",), MODALITIES, ("seed_a1",), 1, "uniform_0.7")
    predictions(model, grid)
    assert {model.asked[pair] for pair in model.relations} == {2 * 25}
    assert {model.asked[m] for m in MODALITIES} == {2 * 9}


class Shorter:
    """Transcripts whose rewriting cuts a step."""

    def put(self, samples, part, rule, draw, level, joint):
        masks = {**samples.masks, "text": samples.masks["text"].roll(-1, 1)}
        masks["text"][:, -1] = False
        features = {m: x * masks[m][..., None] for m, x in samples.features.items()}
        return replace(samples, features=features, masks=masks)


def test_a_missing_text_has_the_steps_of_the_level_that_it_is_missing_at() -> None:
    """Which rows were asked first is of no matter."""
    model = small_model("mult", "paper")
    model = type(model)(model.config.model_copy(update={"pool": "last_valid"}), SPEC)
    split = replace(Split(IDS, make_batch(SIZE, SPEC)), rewritten=Shorter())  # type: ignore[arg-type]
    sigma = {m: torch.tensor(1.0) for m in MODALITIES}
    some = rows("words", 0.0, 0.4, 0.7)
    found, expected = (
        fill_table(m, split, SPEC, sigma, some).prediction for m in (model, Whole(model))
    )
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-6)


def test_there_are_models_with_relations() -> None:
    assert {name for name, _ in RELATED} >= {"mult", "mma"}


@pytest.mark.parametrize(("name", "preset"), RELATED)
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**31), rule=st.sampled_from(["seed_a1", "fill_noise", "fill_mean"]))
def test_a_table_by_parts_is_the_one_by_whole_passes(
    name: str, preset: str, seed: int, rule: str
) -> None:
    model = small_model(name, preset)
    torch.manual_seed(seed)
    randomise(model)
    some = rows(rule, 0.0, 0.4, -1.0)
    found, expected = (predictions(m, some, seed) for m in (model, Whole(model)))
    np.testing.assert_allclose(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("name", "preset"), RELATED)
def test_a_relation_sees_its_own_modalities_alone(name: str, preset: str) -> None:
    model, batch = small_model(name, preset).eval(), make_batch(SIZE, SPEC)

    def relations(mask: int):
        seen = with_zeroed(batch, mask)
        encoded = {m: model.encode(m, x, seen.masks[m]) for m, x in seen.features.items()}
        return {pair: model.relate([pair], encoded)[pair] for pair in model.relations}

    everything = relations(7)
    for pair in model.relations:
        own = sum(1 << MODALITIES.index(m) for m in pair)
        for kind, x in relations(own)[pair].items():
            assert torch.equal(x, everything[pair][kind])
        assert not all(
            torch.equal(x, everything[pair][kind]) for kind, x in relations(7 - own)[pair].items()
        )


@pytest.mark.parametrize("groups", [[1], [2, 0], [0, 1, 2]])
def test_some_encoders_of_a_stack_are_what_they_are_among_all(groups: list[int]) -> None:
    stack = make_stack(attention_dropout=(0.0, 0.0, 0.0)).eval()
    x, source = torch.randn(3, 4, 5, 8), torch.randn(3, 4, 7, 8)
    real = torch.rand(3, 4, 7) < 0.7
    whole = stack(x, source, real)
    torch.testing.assert_close(
        stack(x[groups], source[groups], real[groups], groups=groups), whole[groups]
    )
