"""The documentation's commands parse, its Python runs or compiles, its links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from benchmark.cli import app, main
from benchmark.data.dataset import Dataset
from benchmark.data.synthetic import tiny
from benchmark.plan import plan_conditions, plan_runs
from benchmark.records import PREDICTIONS, RunStore
from benchmark.yamlfile import parse_yaml
from tests.records import make_record

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
PROJECT = ("benchmark", "protocols", "reports", "qamoe", "baselines")
GUESTS = {"mine", "bag"}
"""The reader's own models."""


def each_page(test: Any) -> Any:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))(
        test
    )


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, content) of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def shell_lines(page: Path) -> list[list[str]]:
    """The words of every line of a shell block, prompt, settings of variables and comment off."""
    lines = []
    for kind, body in blocks(page):
        for line in body.replace("\\\n", " ").splitlines() if kind in ("", "bash") else ():
            line = re.sub(r"\$\(.*?\)", "0123456789ab", line.removeprefix("$ "))
            if re.match(r"([A-Z_]+=\S+ )*(\.venv/bin/)?(benchmark|python|pytest|make) ", line):
                words = shlex.split(line, comments=True)
                lines.append([word for word in words if not re.fullmatch("[A-Z_]+=.*", word)])
    return lines


COMMANDS: Any = typer.main.get_group(app)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words after "benchmark" name, and the words that are left."""
    command = COMMANDS
    while hasattr(command, "commands") and words:
        command, words = command.commands[words[0]], words[1:]
    return command, words


def check_options(words: list[str]) -> None:
    """That the command and the options of a shortened line exist."""
    command, rest = command_of([word for word in words if word not in ("…", "...")])
    known = {option for one in command.params for option in (*one.opts, *one.secondary_opts)}
    asked = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert asked <= known | {"--help"}, words


class Asked:
    """In the place of a session: what is asked for must be a plan of some runs."""

    def __init__(self, request: Any, *_: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Dataset, "require", lambda *_: None)  # the stand-in has no transcripts
            for product in request.products:
                assert plan_runs(product, tiny())
                assert plan_conditions(product, tiny())

    def show_plan(self) -> None:
        pass

    def carry_out(self, *_: Any) -> bool:
        return True


@each_page
def test_commands_are_those_of_the_command_line(page, monkeypatch) -> None:
    monkeypatch.setattr("benchmark.execution.session.Session", Asked)
    for program, *words in shell_lines(page):
        name = program.rpartition("/")[2]
        if name == "benchmark" and "..." in words:
            check_options(words)
        elif name == "benchmark":
            command, rest = command_of(words)
            with command.make_context(command.name, list(rest)) as context:  # nothing is run
                config = context.params.get("config")
            if words[0] == "run" and config is None:
                known = [",".join(w for w in word.split(",") if w not in GUESTS) for word in words]
                call([name, *(word or "lmf" for word in known)], monkeypatch)
        elif name == "python":
            assert words[0] != "-m" or find_spec(words[1]), words
        elif name == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert words[0] in targets
        for word in words:
            assert not word.startswith("tests/") or (ROOT / word).exists(), word


@each_page
def test_commands_within_the_text_exist(page) -> None:
    for code in re.findall(r"`benchmark ([a-z][^`]*)`", prose(page)):
        check_options(shlex.split(code))


@each_page
def test_python_compiles_and_imports_what_there_is(page) -> None:
    for kind, body in blocks(page):
        if kind == "yaml":
            parse_yaml(body, page.name)
        if kind != "python":
            continue
        for node in ast.walk(compile(body, page.name, "exec", ast.PyCF_ONLY_AST)):
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in PROJECT:
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), body


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_links_lead_somewhere(page) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path) if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@each_page
def test_files_named_in_the_text_exist(page) -> None:
    folders = (*PROJECT, "tests", "docs")
    for named in re.findall(rf"`((?:{'|'.join(folders)})/[\w./-]+)[`:]", prose(page)):
        assert (ROOT / named).exists(), named


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text()
    pages = {path.name for path in DOCS.iterdir() if path.suffix in (".md", ".json")}
    assert all(f"({name})" in index for name in pages - {"README.md"})


def test_the_site_has_every_page_and_no_broken_link(tmp_path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    text = "".join(page.read_text() for page in tmp_path.glob("*.html"))
    assert not re.search(r"<p>[^<]*\n[-*|] ", text)  # a list or a table that is none there


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def call(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", words)
    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    assert not code, words


def run_command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    line = re.sub(r"\$\(cat (\w+)\)", lambda found: Path(found[1]).read_text().strip(), line)
    call(shlex.split(line), monkeypatch)


def test_ones_own_model(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("BENCHMARK_TRACKING_URI", "none")
    monkeypatch.setenv("COLUMNS", "200")
    names: dict[str, object] = {}
    for kind, body in blocks(DOCS / "own-model.md"):
        if kind == "python" and (file := re.match(r"# (\w+\.py)\n", body)):
            (tmp_path / file[1]).write_text(body)
        elif kind == "python":
            exec(compile(body, "own-model.md", "exec"), names)
        elif kind == "bash":
            for line in body.splitlines():
                run_command(line, monkeypatch)
    said = capsys.readouterr().out
    assert (tmp_path / "landscape.pdf").stat().st_size > 1000
    assert len(RunStore(tmp_path / "runs").records()) == 2
    assert "My GRU" in (tmp_path / "report" / "synthetic-tiny" / "index.html").read_text()
    assert "My GRU" in (tmp_path / "leaderboard.html").read_text()
    assert "predictions checked" in said
    for page in ("answers.md", "record.md", "tutorial.md"):  # on the runs and the report of these
        for kind, body in blocks(DOCS / page):
            if kind == "python":
                exec(compile(body.replace("mosi", "synthetic-tiny"), page, "exec"), {})
        assert "My GRU" in capsys.readouterr().out, page
    for name in ("my_model", "my_module"):
        sys.modules.pop(name, None)


def test_predictions_are_read_without_the_package(store, tmp_path) -> None:
    record = make_record(store)
    (tmp_path / PREDICTIONS).write_bytes((record.path / PREDICTIONS).read_bytes())
    found = blocks(DOCS / "predictions.md")
    code = "".join(body for kind, body in found if kind == "python")
    guard = "\nimport sys\nassert not {'benchmark', 'protocols', 'torch'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code + guard],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    clean = record.metrics[record.metrics["protocol"] == "clean"]["mae"].item()
    assert float(done.stdout.split()[-1]) == pytest.approx(clean)


def test_every_array_is_documented(store) -> None:
    text = (DOCS / "predictions.md").read_text()
    named = set(re.findall(r"^\| `([\w/<>]+)`", text, re.MULTILINE))
    with np.load(make_record(store).path / PREDICTIONS) as table:
        found = {re.sub(r"levels/.*", "levels/<joint>/<draw>", name) for name in table.files}
    assert found <= named
    assert named - found == {"routing"}  # of models with experts only


def test_every_file_of_a_record_is_documented(store) -> None:
    text = (DOCS / "record.md").read_text()
    named = set(re.findall(r"^\| `([\w.]+)`", text, re.MULTILINE))
    assert {path.name for path in make_record(store).files()} <= named
