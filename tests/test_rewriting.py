"""Transcripts hurt before their encoder: what is hit, nesting, the file, and the tables of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmark.cli import app
from benchmark.data.dataset import Dataset
from benchmark.data.manifest import MANIFEST
from benchmark.data.rewrite import rewrite_transcripts
from benchmark.data.store import load
from benchmark.diagnostics.reliability import _Side
from benchmark.errors import BenchmarkError
from benchmark.interface import BranchedModel, MultimodalModel
from benchmark.plan import PlanConfig, make_plan
from benchmark.predict import fill_table
from benchmark.registry import model_class
from benchmark.table import PredictionTable
from protocols import degrade as degrade_in_a_loop
from protocols.conditions import Condition, at_level, conditions_of
from protocols.degradation import keyed_noise, with_noise
from protocols.draws import joint_levels, keyed_generator
from protocols.modalities import Modalities
from protocols.regimes import Regime
from protocols.rewriting import change_characters, lose_words, rewrite, with_unknown
from protocols.rules import REWRITING
from tests.batches import make_batch
from tests.small_models import small_config
from tests.test_encode import HEADER, ROWS, WIDTH, Counting, encoded, state_of, write

KEY = (0, "test", "a")
level = st.floats(0, 1)
words = st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), min_size=1, max_size=30)
STEPS = 6


@given(words=words, low=level, high=level)
def test_words_that_are_lost_nest_and_one_stays(words: list[str], low: float, high: float) -> None:
    low, high = sorted((low, high))
    weak, strong = (lose_words(" ".join(words), x, KEY).split() for x in (low, high))
    left = iter(words)
    assert all(any(word == own for own in left) for word in weak)  # in their order
    left = iter(weak)
    assert strong
    assert all(any(word == own for own in left) for word in strong)
    assert lose_words(" ".join(words), 0.0, KEY).split() == words


def test_words_are_lost_at_the_rate() -> None:
    text = " ".join(map(str, range(4000)))
    for intensity in (0.1, 0.5, 0.7):
        kept = len(lose_words(text, intensity, KEY).split()) / 4000
        assert kept == pytest.approx(1 - intensity, abs=5 * (0.25 / 4000) ** 0.5)


@pytest.mark.parametrize("intensity", [0.2, 0.7, 1.0])
def test_characters_are_wrong_at_a_fifth_of_the_rate(intensity: float) -> None:
    text = "q" * 8000
    changed = change_characters(text, intensity, KEY)
    wrong = {"doubled": 0, "other": 0, "lost": 0}
    place = 0
    u = _uniforms(len(text))
    for hit, how, _ in u:  # the same draw, read once more
        if hit >= intensity * 0.2:
            assert changed[place] == "q"
            place += 1
        elif how < 1 / 3:
            wrong["lost"] += 1
        else:
            wrong["doubled" if how < 2 / 3 else "other"] += 1
            place += 2 if how < 2 / 3 else 1
    assert place == len(changed)
    error = (0.2 * 0.8 / 8000) ** 0.5
    assert sum(wrong.values()) / 8000 == pytest.approx(intensity * 0.2, abs=5 * error)
    assert min(wrong.values()) > 0.8 * sum(wrong.values()) / 3


def _uniforms(count: int) -> list[list[float]]:
    return keyed_generator(*KEY, "text", "characters").random((count, 3)).tolist()


@given(text=st.text(), intensity=level)
def test_a_text_with_a_letter_never_becomes_empty(text: str, intensity: float) -> None:
    changed = change_characters(text, intensity, KEY)
    assert any(c.isalnum() for c in changed) == any(c.isalnum() for c in text)
    assert change_characters(text, 0.0, KEY) == text


@given(tokens=st.lists(st.integers(0, 50), max_size=40), low=level, high=level)
def test_unknown_tokens_nest_and_special_ones_stay(
    tokens: list[int], low: float, high: float
) -> None:
    low, high = sorted((low, high))
    weak, strong = (with_unknown(tokens, 99, {1, 2, 99}, x, KEY) for x in (low, high))
    for clean, a, b in zip(tokens, weak, strong, strict=True):
        assert a in (clean, 99)
        assert b in (a, 99)
        assert clean not in (1, 2) or b == clean
    assert with_unknown(tokens, 99, {1, 2}, 0.0, KEY) == tokens


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of transcripts, rewritten in two draws."""
    folder = tmp_path_factory.mktemp("rewritten")
    path = write(folder / "t.csv", HEADER, *ROWS)
    encoded(folder, path, Counting(), max_tokens=STEPS)
    rewrite_transcripts("mine", folder / "data", Counting, 2)
    return folder / "data"


def by_hand(dataset: Dataset, condition: Condition) -> Modalities:
    """The test split under a condition of a rule that rewrites, made sample by sample."""
    test, encoder = dataset.splits["test"], Counting()
    features = torch.zeros(len(test), STEPS, WIDTH)
    mask = torch.zeros(len(test), STEPS, dtype=torch.bool)
    texts = [f"{' '.join(['word'] * (i % 7 + 1))}, {i}" for i in range(38, 50)]
    rule, draw = condition.noise_rule, condition.draw
    for row, (sample_id, text) in enumerate(zip(test.sample_ids, texts, strict=True)):
        x = condition.intensity
        if condition.joint:
            x = float(joint_levels(condition.joint, draw, "test", [sample_id])[0])  # type: ignore[arg-type]
        key = (draw, "test", sample_id)
        tokens = encoder.tokenize([rewrite(rule, text, x, key)], STEPS)[0]  # type: ignore[arg-type]
        if rule == "unk":
            tokens = with_unknown(tokens, encoder.unknown, encoder.special, x, key)
        features[row, : len(tokens)] = torch.from_numpy(state_of(tokens))
        mask[row, : len(tokens)] = True
    clean = test.samples
    return Modalities(
        {**clean.features, "text": features}, {**clean.masks, "text": mask}, clean.available
    )


@pytest.mark.parametrize("rule", REWRITING)
@pytest.mark.parametrize("name", ["qamoe", "mult"])
def test_a_table_is_the_model_on_transcripts_rewritten_afresh(
    data: Path, rule: str, name: str
) -> None:
    dataset = load(data, "mine")
    conditions = conditions_of(["II", "III"], ("text",), [rule], 2, "uniform_0.7")  # type: ignore[list-item]
    model = model_class(name)(small_config(name), dataset.spec).eval()
    made = {
        size: fill_table(
            model,
            dataset.splits["test"],
            dataset.spec,
            dataset.sigma_ref,
            conditions,
            batch_size=size,
        )
        for size in (5, 64)
    }
    noisy = [c for c in conditions if c.noise_rule == rule and c.mask]
    assert len(noisy) == 2 * 8
    with torch.inference_mode():
        for condition in noisy:
            expected = model(by_hand(dataset, condition)).prediction.numpy()
            for table in made.values():
                found = table.prediction[table.row(condition)]
                np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not np.allclose(made[64].prediction[made[64].row(noisy[-1])], expected * 0)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Transcripts, rewritten in one draw, with audio beside them."""
    folder = tmp_path_factory.mktemp("heard")
    path = write(folder / "t.csv", HEADER, *ROWS)
    (folder / "audio").mkdir()
    for i in range(len(ROWS)):
        np.save(folder / "audio" / f"v{i}.npy", np.random.default_rng(i).normal(size=(4, 3)))
    encoded(folder, path, Counting(), max_tokens=STEPS, folders={"audio": folder / "audio"})
    rewrite_transcripts("mine", folder / "data", Counting, 1)
    return load(folder / "data", "mine")


def table_of(model: MultimodalModel, dataset: Dataset) -> PredictionTable:
    conditions = conditions_of(["grid"], ("text", "audio"), ["words"], 1, "uniform_0.7")
    test = dataset.splits["test"]
    return fill_table(model, test, dataset.spec, dataset.sigma_ref, conditions)


@pytest.mark.parametrize("name", ["qamoe", "mult", "misa"])
def test_a_missing_text_tells_nothing_of_its_words(heard: Dataset, name: str) -> None:
    model = model_class(name)(small_config(name), heard.spec).eval()
    table = table_of(model, heard)
    clean = table.prediction[table.row(at_level("words", 0, 0.0, 2))]
    for intensity in (0.1, 0.7):
        row = table.prediction[table.row(at_level("words", 0, intensity, 2))]
        np.testing.assert_allclose(row, clean, atol=1e-6)
        assert not np.allclose(table.prediction[table.row(at_level("words", 0, intensity, 3))], row)


def test_given_scores_see_the_words_of_the_table(heard: Dataset) -> None:
    """The audit of reliability encodes for itself; with a model's own scores it must agree."""
    model = model_class("qamoe")(small_config("qamoe"), heard.spec).eval()
    assert isinstance(model, BranchedModel)
    table = table_of(model, heard)
    side = _Side(heard.splits["test"], "test", heard)
    with torch.inference_mode():
        for condition, parts in side.encoded(model, table.conditions):
            expected = table.prediction[table.row(condition)]
            found = model.fuse(parts).prediction.numpy()
            np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=str(condition))


def test_some_samples_have_their_own_transcripts(data: Path) -> None:
    dataset = load(data, "mine")
    condition = Condition("words", 1, 0.4, "", 1)
    rows = torch.tensor([7, 2, 11])
    part = dataset.splits["test"].select(rows)
    made = part.with_rewritten(part.part(slice(0, 3)), slice(0, 3), "words", 1, 0.4)
    expected = by_hand(dataset, condition).select(rows)
    assert part.sample_ids == tuple(dataset.splits["test"].sample_ids[i] for i in (7, 2, 11))
    assert torch.equal(made.features["text"], expected.features["text"])
    assert torch.equal(made.masks["text"], expected.masks["text"])


def test_the_identity_of_the_data_stays(data: Path, tmp_path: Path) -> None:
    before = encoded(tmp_path, write(tmp_path / "t.csv", HEADER, *ROWS), Counting(), max_tokens=6)
    dataset = load(data, "mine")
    assert dataset.sha256 == before.sha256
    assert dataset.splits["train"].rewritten is None


def test_another_encoder_is_refused(data: Path) -> None:
    class Other(Counting):
        def states(self, batch: object) -> list[np.ndarray]:
            return [x + 1 for x in super().states(batch)]  # type: ignore[arg-type]

    with pytest.raises(BenchmarkError, match=r"did not make the text features of mine: 8 of 8"):
        rewrite_transcripts("mine", data, Other, 2)
    load(data, "mine")


def test_features_that_were_cut_after_the_encoder(tmp_path: Path) -> None:
    """An encoder that sees a whole text makes other states of what is kept of it."""

    class Whole(Counting):
        def states(self, batch: object) -> list[np.ndarray]:
            return [state_of(t) + len(t) % 5 for t in batch]  # type: ignore[attr-defined]

    path = write(tmp_path / "t.csv", HEADER, *ROWS)
    encoded(tmp_path, path, Whole(), max_tokens=512)
    folder = tmp_path / "data" / "mine"
    steps = json.loads((folder / MANIFEST).read_text())["lengths"]["text"]
    assert steps == 9
    rewrite_transcripts("mine", tmp_path / "data", Whole, 1)


def test_what_a_data_set_lacks_is_said_before_anything_is_trained(data: Path) -> None:
    dataset = load(data, "mine")

    def plan(draws: int, rule: str, name: str = "mine") -> None:
        how = {"noise_rules": [rule], "draws": draws}
        config = PlanConfig(
            dataset=name, models=["lmf"], regimes=["clean"], seeds=[1], evaluation=how
        )
        make_plan(config, dataset)

    plan(2, "words")
    with pytest.raises(BenchmarkError, match=r"data rewrite mine --encoder NAME --draws 3"):
        plan(3, "words")


def test_data_without_transcripts(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(
        app,
        [
            "run",
            "--dataset",
            "synthetic-tiny",
            "--models",
            "lmf",
            "--protocol",
            "II",
            "--set",
            "evaluation.noise_rules=[words]",
            "--runs-dir",
            str(tmp_path),
        ],
    )
    assert outcome.exit_code != 0
    assert "synthetic-tiny has none that were rewritten" in str(outcome.exception or outcome.output)


def test_a_damaged_file_is_named_with_what_to_do(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    path = next((tmp_path / "data" / "mine").glob("rewritten-*"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=r"rewritten-\w+.* changed .*data rewrite mine"):
        load(tmp_path / "data", "mine")
    path.unlink()
    with pytest.raises(BenchmarkError, match=r"data rewrite mine"):
        load(tmp_path / "data", "mine")


def test_nothing_is_trained_under_them() -> None:
    batch = {"text": torch.ones(2, 3, 4)}
    for rule in REWRITING:
        with pytest.raises(ValueError, match="before their encoder"):
            Regime(kind="spectrum", noise_rule=rule)
        with pytest.raises(ValueError, match="before their encoder"):
            degrade_in_a_loop(batch, intensity=0.3, noise_rule=rule)


def test_unknown_tokens_come_with_lost_frames(data: Path) -> None:
    """LNLN's missing rate hits all modalities: audio and vision as the family frames."""
    batch = make_batch(40)
    ids = [f"id{i}" for i in range(40)]
    sigma = {m: torch.tensor(1.0) for m in batch.features}
    for m in ("audio", "vision"):
        one, other = (
            with_noise(batch, 0.4, keyed_noise(rule, 0, "test", ids, batch), sigma).features[m]
            for rule in ("unk", "frames")
        )
        assert torch.equal(one, other)
