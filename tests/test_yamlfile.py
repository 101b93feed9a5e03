"""The one YAML reader: what it reads, what it refuses, and that nothing makes it slow."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmark.commands.request import parse_setting, read_request
from benchmark.errors import BenchmarkError
from benchmark.planfile import read_plan
from benchmark.yamlfile import parse_yaml, read_yaml, to_yaml
from tests.clock import within
from tests.tiny import benchmark

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abc0 e-.", max_size=5), inner)
    ),
    max_leaves=12,
)

BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("on", "on"),
        ("True", True),
        ("1e-3", 1e-3),
        ("-4", -4),
        ("010", 10),
        ("1:30", "1:30"),
        ("2024-13-41", "2024-13-41"),
        ("~", None),
        ("{1: a}", {"1": "a"}),
    ],
)
def test_values_of_the_core_schema(text: str, value: object) -> None:
    found = parse_yaml(text, "x")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "line 1, column 4: is no YAML for us: anchors"),
        ("1" * 6000, "whole number of 6000"),
        ("1e999", "too large"),
        ("[" * 50_000, "nested more than"),
        ("- " * 50_000, "nested more than"),
        ("a: 1\na: 2", "line 2, column 1"),
        ("? [a, b]\n: 1", "key must be a text"),
        ("!!python/object/apply:os.system [ls]", "tags"),
        ("!!timestamp 2024-99-99", "tags"),
        ("a: 1\n--- b", "document"),
        ("'" + "x" * 10_000, "is no YAML"),
        ("\x07", "control characters"),
        ("\ud800", "is no YAML"),
        ("x" * 2**21, "too long"),
    ],
)
def test_refused_in_one_short_line(text: str, words: str) -> None:
    with within(2), pytest.raises(BenchmarkError, match=words) as error:
        parse_yaml(text, "mine.yaml")
    assert str(error.value).startswith("mine.yaml")
    assert len(str(error.value)) < 700
    assert "\n" not in str(error.value)


@example("\x85")
@example({"a\u2028": "\u2029b"})
@given(plain)
def test_what_is_written_is_read_as_the_same(value: object) -> None:
    assert parse_yaml(to_yaml(value), "x") == value
    assert yaml.safe_load(to_yaml("off")) == "off"  # and by readers of YAML 1.1


@settings(max_examples=300)
@given(st.text(max_size=200) | st.text("[]{}:,-?&*!|>'\"#%@\n ab01.e~", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with within(), suppress(BenchmarkError):
        parse_yaml(text, "x")


def test_a_file_that_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    (tmp_path / "large.yaml").write_bytes(b"#" * 2**21)
    for path, words in (
        (tmp_path / "pipe.yaml", "a pipe or a device"),
        (Path("/dev/zero"), "a pipe or a device"),
        (tmp_path, "a folder"),
        (tmp_path / "latin.yaml", "UTF-8"),
        (tmp_path / "large.yaml", "more than"),
        (tmp_path / "none.yaml", "No such file"),
    ):
        with pytest.raises(BenchmarkError, match=words):
            read_yaml(path)
        with pytest.raises(BenchmarkError, match=words):
            read_plan(path)


def test_a_text_setting_may_be_off() -> None:
    assert parse_setting("model.text_adapter=off") == ("model", "text_adapter", "off")
    assert parse_setting("training.learning_rate=1e-3") == ("training", "learning_rate", 1e-3)


def test_a_setting_that_does_not_fit_is_never_printed_whole() -> None:
    with pytest.raises(BenchmarkError) as error:
        read_request({"seeds": ["x" * 100_000]}, {}, [], None)
    assert len(str(error.value)) < 1000
    done = benchmark("run", "--set", f"evaluation.draws={'[' * 3000}", "--dry-run")
    assert done.returncode == 2
    assert "--set evaluation.draws" in done.stderr
    assert len(done.stderr) < 700


def test_the_number_of_draws_is_bounded(data_dir: Path) -> None:
    done = benchmark(
        *("run", "--dataset", "tiny", "--data-dir", data_dir, "--models", "lmf", "--dry-run"),
        *("--set", "evaluation.draws=1000000000"),
    )
    assert done.returncode == 2
    assert "evaluation.draws" in done.stderr


def test_a_megabyte_of_commas_is_refused_before_it_is_built() -> None:
    with pytest.raises(BenchmarkError, match="more than 50,000 values"):
        parse_yaml(f"a: [{'x,' * 400_000}]", "x")
