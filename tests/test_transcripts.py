"""CSV files as people hold them: read, or refused with the row and the option."""

from __future__ import annotations

import codecs
import pickle
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.adjust import Adjustments
from benchmark.data.transcripts import Columns, Transcripts, read_transcripts
from benchmark.errors import BenchmarkError

HEAD = ("id", "text", "label", "split")
ROWS = [
    ("a$_$1", "so, so", "0.5", "train"),
    ("a$_$2", "good", "-1", "train"),
    ("b$_$1", "", "2", "dev"),
    ("c$_$1", "bad", "1", "test"),
]


def table(delimiter: str = ",", end: str = "\n", rows: list[tuple[str, ...]] = ROWS) -> bytes:
    cells = [HEAD, *rows]
    quoted = [[f'"{cell}"' if delimiter in cell else cell for cell in row] for row in cells]
    return (end.join(delimiter.join(row) for row in quoted) + end).encode()


def labelled(*labels: str) -> list[tuple[str, ...]]:
    splits = ("train", "train", "dev", "test")
    rows = zip(labels, splits, strict=True)
    return [(f"v{k}$_$1", "words", label, split) for k, (label, split) in enumerate(rows)]


def read(tmp_path: Path, content: bytes, columns: Columns | None = None) -> Transcripts:
    (tmp_path / "t.csv").write_bytes(content)
    return read_transcripts(tmp_path / "t.csv", columns or Columns())


def refusal(tmp_path: Path, content: bytes, columns: Columns | None = None) -> str:
    with pytest.raises(BenchmarkError) as error:
        read(tmp_path, content, columns)
    return str(error.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_the_forms_of_one_table(tmp_path: Path, mark: bytes, delimiter: str, end: str) -> None:
    found = read(tmp_path, mark + table(delimiter, end))
    assert found.texts == ("so, so", "good", "", "bad")
    assert found.label.tolist() == [0.5, -1, 2, 1]
    assert found.splits == ("train", "train", "valid", "test")


def test_delimiters_in_the_name_of_a_column(tmp_path: Path) -> None:
    content = table(";").replace(b"id;text;", b'id;"text, all, of, it";')
    found = read(tmp_path, content, Columns(text="text, all, of, it"))
    assert found.texts[1] == "good"


def test_decimal_commas_are_numbers(tmp_path: Path) -> None:
    found = read(tmp_path, table(";", rows=labelled("0,5", "-1,25", "2", "1,0")))
    assert found.task == "regression"
    assert found.label.tolist() == [0.5, -1.25, 2, 1]


@pytest.mark.parametrize("absent", ["nan", "NA", "n/a", "null"])
def test_what_stands_for_no_label_beside_numbers(tmp_path: Path, absent: str) -> None:
    said = refusal(tmp_path, table(rows=labelled("0.5", absent, "2", "1")))
    assert f"row 3: 'label' is '{absent}'" in said
    assert "A row without a label has an empty cell" in said
    rows = [*labelled("0.5", "-1", "2", "1"), ("v9", "words", "", "test")]
    assert "1 of 5 rows have no 'label' and were left out" in read(tmp_path, table(rows=rows)).notes


def test_a_class_may_be_called_na(tmp_path: Path) -> None:
    assert read(tmp_path, table(rows=labelled("joy", "na", "joy", "na"))).class_names == (
        "joy",
        "na",
    )


def test_another_scale_is_mapped_by_the_option_that_is_named(tmp_path: Path) -> None:
    ratings = table(rows=labelled("1.5", "4.5", "5", "3"))
    said = refusal(tmp_path, ratings)
    assert "row 3: 'label' is '4.5'" in said
    assert "If the scale of these is 1 to 5: --label-map '(x - 3) * 1.5'" in said
    scale = Adjustments(label_map="(x - 3) * 1.5")
    found = read(tmp_path, ratings, Columns(scale=scale))
    np.testing.assert_allclose(found.label, [-2.25, 2.25, 3, 0])
    whole = read(tmp_path, table(rows=labelled(*"1425")), Columns(scale=scale))
    assert (whole.task, whole.label.tolist()) == ("regression", [-3, 1.5, -1.5, 3])
    clipped = read(
        tmp_path,
        table(rows=labelled("0.5", "3.2", "0", "0")),
        Columns(scale=Adjustments(clip_labels=True)),
    )
    assert clipped.label.tolist()[1] == 3
    assert "1 labels clipped" in clipped.notes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"a": 1}), ("is a pickle", "benchmark data import")),
        (b'[{"text": "a", "label": 1}]', ("is JSON", "read_json")),
        (table().decode().encode("utf-16"), ("--csv-encoding (utf-16, as its first bytes say)",)),
        (table().replace(b"good", "schön".encode("cp1252")), ("row 3", "--csv-encoding (gbk")),
    ],
)
def test_what_is_no_table_of_text(tmp_path: Path, content: bytes, words: tuple[str, ...]) -> None:
    said = refusal(tmp_path, content)
    for word in words:
        assert word in said
