"""Transcripts to features: what CSV files get wrong, splits by group, batching, resuming."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.data import encode
from benchmark.data.dataset import SPLITS
from benchmark.data.encode import encode_transcripts
from benchmark.data.encoder import EncoderFacts, HuggingFaceEncoder, Tokens
from benchmark.data.grouping import split_by_group
from benchmark.data.manifest import Manifest
from benchmark.data.store import load
from benchmark.data.transcripts import Columns, read_transcripts
from benchmark.errors import BenchmarkError

WIDTH = 4
HEADER = "id,text,label,split"
ROWS = [
    f'v{i},"{" ".join(["word"] * (i % 7 + 1))}, {i}",{(i % 13) / 2 - 3},{split}'
    for i, split in enumerate(["train"] * 30 + ["dev"] * 8 + ["test"] * 12)
]


class Counting:
    """An encoder whose state is a function of the token; it counts, and can fail at a batch."""

    facts = EncoderFacts("counting", "rev", hashlib.sha256(b"counting").hexdigest(), WIDTH)

    def __init__(self, fail_at: int | None = None) -> None:
        self.fail_at = fail_at
        self.batches: list[int] = []
        self.unknown = 2 + len("zzz") + ord("z")
        self.special = frozenset({1, self.unknown})
        self.limit = 512

    def tokenize(self, texts: Sequence[str], limit: int) -> list[Tokens]:
        return [[1, *(2 + len(word) + ord(word[0]) for word in t.split())][:limit] for t in texts]

    def full_lengths(self, texts: Sequence[str]) -> list[int]:
        return [len(tokens) for tokens in self.tokenize(texts, 10**6)]

    def states(self, batch: Sequence[Tokens]) -> list[np.ndarray]:
        if len(self.batches) == self.fail_at:
            raise KeyboardInterrupt
        self.batches.append(len(batch))
        return [state_of(tokens) for tokens in batch]


def state_of(tokens: Tokens) -> np.ndarray:
    """(L, WIDTH) float32 that half precision holds exactly."""
    waves = np.sin(np.outer(np.array(tokens), np.arange(1, WIDTH + 1)))
    return waves.astype(np.float16).astype(np.float32)


def write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_bytes("\n".join(lines).encode(encoding))
    return path


def encoded(tmp_path: Path, path: Path, encoder: Counting, **options: object) -> Manifest:
    columns = options.pop("columns", Columns())
    data = tmp_path / "data"
    return encode_transcripts(path, columns, lambda: encoder, "mine", data, **options)  # type: ignore[arg-type]


def test_a_csv_becomes_a_text_only_data_set(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", HEADER, *ROWS)
    manifest = encoded(tmp_path, path, Counting(), max_tokens=6)
    dataset = load(tmp_path / "data", "mine")
    assert dataset.spec.present == ("text",)
    assert dataset.spec.task == "regression"
    assert {s: len(x) for s, x in dataset.splits.items()} == {"train": 30, "valid": 8, "test": 12}
    assert manifest.encoding is not None
    assert manifest.encoding.sha256 == Counting.facts.sha256
    assert manifest.notes[0].startswith("21 of 50 texts are longer than 6 tokens (up to 9)")
    test = dataset.splits["test"]
    assert test.sample_ids == tuple(f"v{i}" for i in range(38, 50))
    for k, i in enumerate(range(38, 50)):
        tokens = Counting().tokenize([f"{' '.join(['word'] * (i % 7 + 1))}, {i}"], 6)[0]
        features, mask = test.samples.features["text"][k], test.samples.masks["text"][k]
        assert int(mask.sum()) == len(tokens)
        np.testing.assert_array_equal(features[mask].numpy(), state_of(tokens))
        assert not features[~mask].any()
    assert not list((tmp_path / "data").glob(".mine.encoding/*"))


def test_batches_are_of_like_length_and_cover_each_text_once() -> None:
    lengths = np.random.default_rng(0).integers(0, 60, 5000)
    batches = list(encode.batches_of(lengths))
    rows = np.concatenate(batches)
    assert sorted(rows) == sorted(np.flatnonzero(lengths))
    assert all(len(b) * lengths[b].max() <= encode.TOKENS_PER_BATCH for b in batches)
    padded = sum(len(b) * lengths[b].max() for b in batches)
    assert padded < 1.1 * lengths.sum()  # in the file's order it is about 2


def test_an_encoding_that_was_stopped_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "TOKENS_PER_BATCH", 8)
    monkeypatch.setattr(encode, "MARK_SECONDS", 0)
    path = write(tmp_path / "t.csv", HEADER, *ROWS)
    whole = Counting()
    expected = encoded(tmp_path / "whole", path, whole)
    with pytest.raises(KeyboardInterrupt):
        encoded(tmp_path, path, Counting(fail_at=10))
    rest = Counting()
    assert encoded(tmp_path, path, rest) == expected
    assert len(rest.batches) == len(whole.batches) - 10
    again = Counting()
    assert encoded(tmp_path, path, again) == expected
    assert again.batches == []


def test_what_another_encoder_left_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encode, "MARK_SECONDS", 0)
    monkeypatch.setattr(encode, "TOKENS_PER_BATCH", 8)
    path = write(tmp_path / "t.csv", HEADER, *ROWS)
    with pytest.raises(KeyboardInterrupt):
        encoded(tmp_path, path, Counting(fail_at=5))
    other = Counting()
    other.facts = EncoderFacts("other", None, "0" * 64, WIDTH)
    encoded(tmp_path, path, other)
    whole = encoded(tmp_path / "whole", path, Counting())
    assert len(other.batches) > 5
    assert load(tmp_path / "data", "mine").sha256 == whole.sha256  # the states are alike here


def test_another_request_under_the_name_is_refused_before_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", HEADER, *ROWS)
    encoded(tmp_path, path, Counting())
    changed = write(tmp_path / "u.csv", HEADER, *[row.replace("word", "other") for row in ROWS])
    encoder = Counting()
    with pytest.raises(BenchmarkError, match="--replace"):
        encoded(tmp_path, changed, encoder)
    assert encoder.batches == []


def line(index: int, **cells: str) -> Callable[[list[str]], list[str]]:
    """The rows with some cells of one row changed."""

    def apply(rows: list[str]) -> list[str]:
        sample, rest = rows[index].split(",", 1)
        text, label, split = rest.rsplit(",", 2)
        values = {"id": sample, "text": text, "label": label, "split": split} | cells
        return [*rows[:index], ",".join(values.values()), *rows[index + 1 :]]

    return apply


BROKEN: dict[str, tuple[Callable[[list[str]], list[str]], tuple[str, ...]]] = {
    "unknown split": (line(3, split="holdout"), ("row 5", "'holdout'", "train, valid, test")),
    "empty split": (line(3, split=""), ("row 5", "'split'")),
    "no test row": (lambda rows: rows[:38], ("'split'", "'test'")),
    "twice the same id": (line(3, id="v1"), ("row 5", "'v1'", "row 3")),
    "empty id": (line(3, id=""), ("row 5", "id")),
    "a name among numbers": (line(3, label="happy"), ("row 5", "'happy'", "no number", "row 2")),
    "no number": (line(3, label="nan"), ("row 5", "'nan'")),
    "outside the scale": (line(3, label="4.5"), ("row 5", "'4.5'", "[-3, 3]")),
    "too many cells": (line(3, text="a, b"), ("row 5", "5 cells", "4")),
    "too few cells": (lambda rows: [*rows[:3], "v3", *rows[4:]], ("row 5", "1 cells")),
    "open quote": (line(3, text='"and so on'), ("row 5",)),
    "quote inside": (line(3, text='"he said "no" twice"'), ("row 5", "quote")),
    "no rows": (lambda rows: [], ("no rows",)),
    "no labels": (lambda rows: ["v1,text,,train"], ("'label'", "empty in every row")),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_one_line_that_names_the_row(tmp_path: Path, case: str) -> None:
    change, words = BROKEN[case]
    path = write(tmp_path / "t.csv", HEADER, *change(list(ROWS)))
    with pytest.raises(BenchmarkError) as error:
        encoded(tmp_path, path, Counting())
    for word in ("t.csv", *words):
        assert word in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (Columns(text="txt"), ("text column", "'txt'", "Did you mean text")),
        (Columns(label="sentiment"), ("label column", "--label-column")),
        (Columns(split="mode"), ("split column", "--group-column")),
        (Columns(split=None, group="session"), ("group column", "'session'")),
        (Columns(ids=("video", "clip")), ("id column", "'video'")),
    ],
)
def test_a_wrong_column_name(tmp_path: Path, columns: Columns, words: tuple[str, ...]) -> None:
    path = write(tmp_path / "t.csv", HEADER, *ROWS)
    with pytest.raises(BenchmarkError) as error:
        encoded(tmp_path, path, Counting(), columns=columns)
    for word in ("t.csv", *words):
        assert word in str(error.value), str(error.value)


def test_files_that_are_not_utf8_or_not_there(tmp_path: Path) -> None:
    rows = line(3, text="na\u00efve")(list(ROWS))
    path = write(tmp_path / "t.csv", HEADER, *rows, encoding="cp1252")
    with pytest.raises(BenchmarkError, match=r"t\.csv: row 5 is not UTF-8 \(byte 0xef\)"):
        read_transcripts(path, Columns())
    with pytest.raises(BenchmarkError, match="No such file"):
        read_transcripts(tmp_path / "absent.csv", Columns())
    with pytest.raises(BenchmarkError, match="is empty"):
        read_transcripts(write(tmp_path / "empty.csv", ""), Columns())


def test_dialects_of_spreadsheets(tmp_path: Path) -> None:
    plain = read_transcripts(write(tmp_path / "t.csv", HEADER, *ROWS), Columns())
    semicolons = [row.replace('"', "").rsplit(",", 2) for row in ROWS]
    lines = [";".join([*a.split(",", 1), b, c]) for a, b, c in semicolons]
    text = "\ufeff" + "\r\n".join([HEADER.replace(",", ";"), *lines, "", ""])
    path = tmp_path / "excel.csv"
    path.write_bytes(text.encode())
    found = read_transcripts(path, Columns())
    assert (found.ids, found.texts, found.splits) == (plain.ids, plain.texts, plain.splits)
    np.testing.assert_array_equal(found.label, plain.label)


def test_rows_without_text_are_kept_and_without_label_left_out(tmp_path: Path) -> None:
    rows = line(4, label="")(line(3, text=" ")(list(ROWS)))
    manifest = encoded(tmp_path, write(tmp_path / "t.csv", HEADER, *rows), Counting())
    assert manifest.missing["train"] == {"text": 1}
    assert manifest.counts["train"] == 29
    assert any("row 5 (id v3)" in note and "missing" in note for note in manifest.notes)
    assert any("1 of 50 rows have no 'label'" in note for note in manifest.notes)
    train = load(tmp_path / "data", "mine").splits["train"]
    assert not train.samples.available[3].any()


def test_labels_are_taken_for_what_they_are(tmp_path: Path) -> None:
    def labels(*values: str, task: str = "auto") -> tuple[str, tuple[str, ...], list[float]]:
        splits = ["train"] * (len(values) - 2) + ["valid", "test"]
        rows = [f"v{i},text,{v},{s}" for i, (v, s) in enumerate(zip(values, splits, strict=True))]
        path = write(tmp_path / "t.csv", HEADER, *rows)
        found = read_transcripts(path, Columns(), task)  # type: ignore[arg-type]
        return found.task, found.class_names, found.label.tolist()

    assert labels("0.5", "-1", "2", "0") == ("regression", (), [0.5, -1, 2, 0])
    assert labels("10", "2", "2.0", "10") == ("classification", ("2", "10"), [1, 0, 0, 1])
    assert labels("b", "a", "b", "a") == ("classification", ("a", "b"), [1, 0, 1, 0])
    assert labels("0", "1", "2", "0", task="regression") == ("regression", (), [0, 1, 2, 0])
    assert labels("1", "x", "1", "x", task="classification")[1] == ("1", "x")


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(11, 40), rows=st.integers(0, 300))
@settings(deadline=None)
def test_no_group_crosses_a_split(seed: int, count: int, rows: int) -> None:
    draw = np.random.default_rng(seed)
    numbers = [*range(count), *draw.integers(0, count, rows)]  # each group once, then at random
    groups = [f"video{k}" for k in draw.permutation(numbers)]
    chosen = f"video{draw.integers(count)}"
    for test_group in (None, chosen):
        splits, _ = split_by_group(groups, "video", test_group)
        pairs = set(zip(groups, splits, strict=True))
        assert len(pairs) == len(set(groups))
        assert set(splits) == {"train", "valid", "test"}
    assert {g for g, split in pairs if split == "test"} == {chosen}


def test_shares_of_a_split_of_many_groups() -> None:
    groups = [f"speaker{k % 200}" for k in range(5000)]
    splits, note = split_by_group(groups, "speaker")
    assert splits.count("test") / 5000 == pytest.approx(0.2, abs=0.01)
    assert splits.count("valid") / 5000 == pytest.approx(0.1, abs=0.01)
    assert note == (
        "split made here by 'speaker', hashed: 140 groups train, 20 groups valid, 40 groups test"
    )
    assert split_by_group(groups[::-1], "speaker")[0] == splits[::-1]


def test_sessions_are_folds(tmp_path: Path) -> None:
    rows = [f"u{i},text {i},{i % 4},{i % 5 + 1:02d}" for i in range(60)]
    path = write(tmp_path / "iemocap.csv", "id,text,emo4,session", *rows)
    columns = Columns(label="emo4", split=None, group="session")
    hashes = set()
    for fold in (None, "01", "02", "03", "04"):
        chosen = Columns(label="emo4", split=None, group="session", test_group=fold)
        manifest = encoded(tmp_path / str(fold), path, Counting(), columns=chosen)
        hashes.add(manifest.sha256)
        assert f"test {fold or '05'}, valid" in manifest.notes[0]
        assert manifest.classes == 4
    assert len(hashes) == 5  # runs on different folds are never averaged
    found = read_transcripts(path, columns)
    of_session = {
        s: {i % 5 + 1 for i, x in enumerate(found.splits) if x == s} for s in found.splits
    }
    assert of_session == {"test": {5}, "valid": {4}, "train": {1, 2, 3}}
    with pytest.raises(BenchmarkError, match=r"unknown session '6'.*Available: 01, 02"):
        read_transcripts(path, Columns(label="emo4", split=None, group="session", test_group="6"))
    two = write(tmp_path / "two.csv", "id,text,emo4,session", *(r for r in rows if r[-1] in "12"))
    with pytest.raises(BenchmarkError, match="2 different values"):
        read_transcripts(two, columns)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with a small vocabulary, as a folder."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "we", "do", "not", "know", "yet"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_states_of_a_batch_are_those_of_each_text_alone(bert: Path) -> None:
    encoder = HuggingFaceEncoder(str(bert), torch.device("cpu"))
    assert encoder.facts.width == 8
    assert encoder.facts.name == bert.name
    tokens = encoder.tokenize(["we do not know yet", "we know", "yet"], 16)
    assert [len(t) for t in tokens] == [7, 4, 3]
    assert len(encoder.tokenize(["we do not know yet"], 4)[0]) == 4
    for ids, states in zip(tokens, encoder.states(tokens), strict=True):
        alone = encoder.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        np.testing.assert_allclose(states, alone.detach().numpy(), atol=1e-5)
    with pytest.raises(BenchmarkError, match="takes 16 tokens"):
        encoder.tokenize(["we"], 17)


def test_the_hash_of_an_encoder_is_that_of_its_weights(bert: Path) -> None:
    cpu = torch.device("cpu")
    encoder = HuggingFaceEncoder(str(bert), cpu)
    assert HuggingFaceEncoder(str(bert), cpu).facts == encoder.facts
    before = encoder.facts.sha256
    with torch.no_grad():
        encoder.model.encoder.layer[1].output.dense.bias[3] += 1
    changed = bert.parent / "changed"
    encoder.model.save_pretrained(changed)
    encoder.tokenizer.save_pretrained(changed)
    assert HuggingFaceEncoder(str(changed), cpu).facts.sha256 != before


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\x00garbage" * 50, b"[1, 2]", None])
def test_an_encoder_that_is_damaged(
    bert: Path, tmp_path: Path, name: str, content: bytes | None
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(bert, folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(BenchmarkError, match="cannot be loaded") as error:
        HuggingFaceEncoder(str(folder), torch.device("cpu"))
    assert len(str(error.value)) < 900


def test_an_encoder_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(BenchmarkError, match=r"cannot be loaded.*config\.json"):
        HuggingFaceEncoder(str(tmp_path), torch.device("cpu"))
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(BenchmarkError, match=r"\[text\]"):
        HuggingFaceEncoder(str(tmp_path), torch.device("cpu"))


def test_an_encoder_that_does_not_know_the_words_is_told(tmp_path: Path, bert: Path) -> None:
    cpu = torch.device("cpu")
    known = [f"v{k},we do not know yet,{k % 3},{s}" for k, s in enumerate(SPLITS * 3)]
    other = [row.replace("not", "\u4e0d").replace("yet", "\u5427") for row in known]
    notes = {}
    for name, rows in {"known": known, "other": other}.items():
        path = write(tmp_path / f"{name}.csv", HEADER, *rows)
        arguments = (path, Columns(), lambda: HuggingFaceEncoder(str(bert), cpu), name)
        manifest = encode_transcripts(*arguments, tmp_path / "data", max_tokens=6)
        notes[name] = "\n".join(manifest.notes)
    assert "unknown" not in notes["known"]
    assert "9 of 9 texts are longer than 6 tokens (up to 7)" in notes["known"]
    assert "17% of the tokens are unknown to the encoder" in notes["other"]  # 1 of the 6 kept
    exact = encode_transcripts(*arguments, tmp_path / "exact", max_tokens=7)
    assert not any("longer" in note for note in exact.notes)
