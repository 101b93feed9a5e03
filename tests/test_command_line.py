"""What a person types: short names, ranges, lists, groups of help, models where none is named."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from benchmark import completion
from benchmark.cli import app
from benchmark.commands.request import read_request, seeds_of
from benchmark.errors import BenchmarkError
from benchmark.plan import Product, protocols_named
from benchmark.registry import model_class, sound_models, usual_models
from reports.open_command import open_, page_in

BENCHMARK = typer.main.get_command(app)
"""Made once: it takes as long as a page of help."""


def said(*words: str, columns: int = 100) -> str:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(out):
        patch.setenv("COLUMNS", str(columns))
        with pytest.raises(SystemExit) as end:
            BENCHMARK.main(list(words), prog_name="benchmark")
    assert end.value.code == 0, out.getvalue()
    return out.getvalue()


@given(st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 30)), min_size=1, max_size=5))
def test_ranges_of_seeds_are_their_integers(parts) -> None:
    text = ",".join(f"{first}-{first + more}" if more else str(first) for first, more in parts)
    assert seeds_of(text) == tuple(first + k for first, more in parts for k in range(more + 1))


@pytest.mark.parametrize("text", ["5-1", "1-", "-3", "1--2", "1-99999999", "1.5", "", "1 2", "²"])
def test_what_is_no_range_is_refused(text) -> None:
    with pytest.raises(BenchmarkError, match=r"--seeds .*(1-5,9|a range goes up)"):
        seeds_of(text)


def test_protocols_are_lists_on_the_command_line_and_in_a_file() -> None:
    assert protocols_named("I,III") == protocols_named("i, III,") == ("I", "III")
    assert protocols_named("I,all") == protocols_named("all")
    assert Product.model_validate({"protocol": ["I", "III"]}).protocol == "I,III"


def test_without_models_the_usual_ones_are_run_and_all_has_to_be_asked_for() -> None:
    usual, every = usual_models(), sound_models()
    assert 2 <= len(usual) < len(every) / 2
    assert all(model_class(name).usual for name in usual)
    assert read_request({}, {}, [], None).models == tuple(usual)
    assert read_request({}, {"models": ("all",)}, [], None).models == tuple(every)
    (product,) = read_request({"runs": [{"models": ["all"]}]}, {}, [], None).runs
    assert product.models == tuple(every)


def test_version_and_short_help() -> None:
    assert said("--version").split() == ["benchmark", "0.1.0"]
    assert said("run", "-h") == said("run", "--help")


@pytest.mark.parametrize("columns", [60, 100])
def test_help_has_groups_and_says_where_the_keys_of_set_are(columns) -> None:
    shown = said("run", "--help", columns=columns)
    for group in ("What to run", "With which settings", "On which machine", "Folders"):
        assert group in shown
    words = " ".join(shown.replace("│", " ").split())
    assert "benchmark show MODEL --all" in words
    assert max(map(len, shown.splitlines())) <= columns


def commands(group: Any, *before: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield from (
            commands(command, *before, name) if hasattr(command, "commands") else [(*before, name)]
        )


@pytest.mark.parametrize("words", commands(BENCHMARK), ids=" ".join)
def test_no_help_cuts_a_word_in_a_narrow_window(words) -> None:
    assert "…" not in said(*words, "--help", columns=60)


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize("words", commands(BENCHMARK), ids=" ".join)
def test_help_fills_the_window(words, columns) -> None:
    """No line of prose ends before the next word would not fit, but where a paragraph does."""
    prose = said(*words, "--help", columns=columns).partition("╭")[0].splitlines()
    shown = [line.strip() for line in prose]
    for line, following in pairwise(shown):
        if line and following and not following.startswith("Example: "):
            assert 1 + len(f"{line} {following.split()[0]}") > columns - 1


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize("what", ["models", "protocols", "degradations", "plans"])
def test_lists_fit_the_window_and_break_no_word(what, columns) -> None:
    shown = said("list", what, columns=columns)
    assert max(map(len, shown.splitlines())) <= columns
    assert "…" not in shown


def test_completion_offers_the_last_of_a_list() -> None:
    assert completion.listed(completion.models)("lmf,qam") == ["lmf,qamoe"]
    assert completion.listed(completion.protocols)("I,I") == ["I,II", "I,III"]  # once each
    assert "paper/table6" in completion.listed(completion.plans)("paper/table")


def test_completion_of_a_run_id_looks_into_the_runs_folder(tmp_path) -> None:
    (tmp_path / "0123456789ab").mkdir()
    (tmp_path / ".partial").mkdir()
    context = typer.Context(BENCHMARK)
    context.params["runs_dir"] = str(tmp_path)
    assert completion.run_ids(context, "01") == ["0123456789ab"]
    assert completion.run_ids(context, "f") == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_shell_completes_with_the_script_that_it_is_given(data_dir) -> None:
    """bash itself, with a cursor at the end of each line."""
    lines = {
        f"run --data-dir {data_dir} --dataset tiny-": ["tiny-cls"],
        "run --protocol I,I": ["I,II", "I,III"],
        "check model qa": ["qamoe"],
        "data show mo": ["mosei", "mosi"],
    }
    script = [
        f'export PATH="{Path(sys.executable).parent}:$PATH" SHELL=/bin/bash',
        "source <(benchmark --show-completion bash)",
        'tell() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _benchmark_completion benchmark;'
        ' echo "${COMPREPLY[*]}"; }',
        *(f"tell benchmark {line}" for line in lines),
    ]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], capture_output=True, text=True, check=True
    )
    assert [line.split() for line in done.stdout.splitlines()] == list(lines.values()), done.stderr


def page(folder: Path, dataset: str) -> Path:
    made = folder / dataset / "index.html"
    made.parent.mkdir(parents=True)
    made.write_text("a page")
    return made


def test_open_shows_the_latest_page_and_its_path_without_a_browser(
    tmp_path, monkeypatch, capsys
) -> None:
    with pytest.raises(BenchmarkError, match="benchmark report"):
        page_in(tmp_path, None)
    first, second = page(tmp_path, "mosi"), page(tmp_path, "synthetic")
    assert page_in(tmp_path, "mosi") == first
    assert page_in(tmp_path, None) in (first, second)
    with pytest.raises(BenchmarkError, match="Did you mean mosi"):
        page_in(tmp_path, "mossi")
    asked: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: asked.append(url) is not None)
    open_("mosi", tmp_path)
    shown = capsys.readouterr().out
    assert asked == [first.resolve().as_uri()]
    assert str(first.resolve()) in shown
    assert "there is no browser here" in shown
