"""What comes in through a name or a text, and what is left when the disk is full."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.table import Table as RichTable

from benchmark import cli, files, planfile
from benchmark.data.manifest import FEATURES, MANIFEST, SAMPLES
from benchmark.data.store import load as load_imported
from benchmark.errors import BenchmarkError
from benchmark.files import child, is_inside, replace_file
from benchmark.hygiene import (
    command_line,
    csv_cell,
    escape_markdown,
    message,
    one_line,
    printable,
    terminal,
)
from benchmark.records import RunStore
from benchmark.tracking.parents import Plan, kept_plans
from reports.build import build
from reports.command import content_of
from reports.results import load
from tests.records import make_run_spec, make_table
from tests.report_records import add
from tests.tiny import benchmark

PLAN_KEYS = [field.name for field in fields(Plan)]
OUTSIDE = ["../up", "/etc/x", "..", ".", "", "a/b", "a\\b", ".hidden", "a\0b", "a\nb", "x" * 300]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BenchmarkError, match="data set name"):
        child(tmp_path, name, "data set")


@given(st.text(max_size=20))
def test_a_name_that_is_taken_is_one_component(name: str) -> None:
    try:
        path = child(Path("/some/where"), name, "data set")
    except BenchmarkError:
        return
    assert path.parent == Path("/some/where")
    assert path.name == name


@given(st.text(max_size=20) | st.sampled_from(OUTSIDE))
def test_a_run_is_found_by_its_id_alone(name: str) -> None:
    store = RunStore(Path("/some/where"))
    for use in (store.path, store.partial, store.lock, store.has, store.is_running):
        with pytest.raises(BenchmarkError, match="no run id"):
            use(name)


def other_plan(store: RunStore, **changes: object) -> Path:
    """A plan's file, changed by hand, beside a sound one."""
    plan = Plan.of("q", "t", "e", "", [make_run_spec()])
    plan.save(store)
    (path,) = (store.root / ".plans").glob("q-*.json")
    path.write_text(json.dumps({**asdict(plan), **changes}))
    return path


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda some: (
            st.lists(some, max_size=4)
            | st.dictionaries(st.sampled_from(PLAN_KEYS) | st.text(max_size=9), some, max_size=4)
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode())
)
@settings(deadline=None)
@example(b"[" * 100_000)
@example(b"[]")
@example(b"")
def test_a_file_that_is_no_plan_is_named(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder))
        mine = Plan.of("p", "t", "e", "", [make_run_spec()]).save(store)
        path = other_plan(store)
        path.write_bytes(content)
        found, (problem,) = kept_plans(store)
        assert found == [mine]
        assert problem.startswith(str(path))
        assert "Delete it" in problem
        assert "\n" not in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"run_ids": ["../../etc"]},
        {"run_ids": ["0" * 11]},
        {"run_ids": [1]},
        {"kind": "../../../outside"},
        {"plan_id": "../p"},
        {"plan_id": "p"},
        {"experiment": ""},
        {"experiment": "other"},
        {"created": float("nan")},
        {"created": 1e300},
        {"created": -1.0},
        {"series": {"valid/mae": {"one": 1.0}}},
        {"series": {"valid/mae": {"1": float("inf")}}},
        {"files": ["/etc/passwd"]},
        {"files": ["searches/../../up"]},
        {"files": ["a\0b"]},
    ],
    ids=str,
)
def test_a_plan_of_other_than_what_was_kept_is_named(
    store: RunStore, changes: dict[str, object]
) -> None:
    mine = Plan.of("p", "t", "e", "", [make_run_spec()]).save(store)
    path = other_plan(store, **changes)
    found, (problem,) = kept_plans(store)
    assert found == [mine]
    assert problem.startswith(str(path))
    again = Plan.of("q", "t", "e", "", [make_run_spec()]).save(store)  # as the same command does
    assert kept_plans(store) == ([mine, again], [])


def test_the_commands_name_a_broken_plan(store: RunStore, tmp_path: Path) -> None:
    add(store, make_run_spec(), make_table())
    path = other_plan(store)
    path.write_bytes(b"")
    for command in (["list", "runs"], ["report", "--out", tmp_path / "out"], ["sync"]):
        done = benchmark(*command, "--runs-dir", store.root)
        assert done.returncode == (command == ["sync"]), done.stderr
        said = (done.stdout + done.stderr).replace("\n", "")
        assert f"{path}: no plan can be read from it" in said
        assert "Traceback" not in said


@given(st.lists(st.text(max_size=8).filter(lambda word: "\0" not in word), min_size=1))
def test_a_printed_command_is_read_back_by_a_shell(words: list[str]) -> None:
    assert shlex.split(command_line(*words)) == words


def test_the_command_after_an_empty_report_can_be_pasted(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "it's my runs 100%")
    with pytest.raises(BenchmarkError) as error:
        load(store, "mosi")
    command = str(error.value).partition("Make some with: ")[2]
    assert shlex.split(command)[-1] == str(store.root)


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped-report"])
def test_a_report_stays_in_its_folder(store: RunStore, tmp_path: Path, name: str) -> None:
    spec = make_run_spec(dataset=name)
    add(store, spec, make_table())
    before = {p for p in tmp_path.rglob("*") if store.root not in p.parents}
    with pytest.raises(BenchmarkError, match="data set name"):
        build(store, None, tmp_path / "a" / "report")
    assert {p for p in tmp_path.rglob("*") if store.root not in p.parents} == before


def test_a_plan_has_no_files_from_outside(store: RunStore, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("s")
    (store.root / "trials.csv").write_text("t")
    (store.root / "link.csv").symlink_to(secret)
    names = (str(secret), "../secret.txt", "link.csv", "trials.csv", "none.csv")
    plan = replace(Plan.of("p", "t", "e", "", [make_run_spec()]), files=names)
    assert plan.paths(store) == [(store.root / "trials.csv").resolve()]
    assert is_inside(store.root / "trials.csv", store.root)


def test_one_data_set_under_two_names(store: RunStore, tmp_path: Path) -> None:
    first = make_run_spec(dataset="first")
    add(store, first, make_table())
    second = replace(first, dataset="second", seed=2)
    add(store, second, make_table())
    other = make_run_spec(dataset="other")
    add(store, other, make_table())
    assert [(r.dataset, len(r.records)) for r in load(store)] == [("first", 2), ("other", 1)]
    for asked, content in (("first", None), ("second", None), ("third", first.data_sha256)):
        (results,) = load(store, asked, data_sha256=content)
        assert results.dataset == asked
        assert {r.run_id for r in results.records} == {first.run_id, second.run_id}
    with pytest.raises(BenchmarkError, match="no records of data set 'third'"):
        load(store, "third")


def test_the_content_of_a_name_is_its_manifests(data_dir: Path) -> None:
    manifest = json.loads((data_dir / "tiny" / "manifest.json").read_text())
    assert content_of("tiny", data_dir) == manifest["sha256"]
    assert content_of("none", data_dir) is None
    assert content_of(None, data_dir) is None


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "resume.pt"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"resume\.pt"):
        replace_file(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["resume.pt"]
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_full_disk_is_a_reason_and_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/runs/.plans/x.json")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "/runs/.plans/x.json cannot be written: No space left" in capsys.readouterr().err


def test_something_odd_where_a_command_keeps_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "study-mine"
    lock.symlink_to(lock.name)
    monkeypatch.setattr(cli, "app", lambda: FileLock(lock).acquire())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert f"{lock}: Too many levels of symbolic links" in capsys.readouterr().err


def test_an_error_reaches_the_terminal_clean_and_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise BenchmarkError("id '\x1b[2J\x07'\nsecond line " + "x" * 100_000)

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\nsecond line" in said
    assert len(said) < 10_000


@given(st.text(st.characters(), max_size=200))
def test_what_is_shown_can_be_shown(text: str) -> None:
    controls = {chr(c) for c in (*range(32), *range(0x7F, 0xA0))} - {"\n", "\t"}
    for shown in (printable(text), message(text)):
        assert not set(shown) & controls
        shown.encode()
    assert printable("é 你好 − ±\n\t") == "é 你好 − ±\n\t"
    assert "\n" not in one_line(text)
    assert len(one_line(text * 100, 50)) < 90


def test_an_exception_without_a_text_has_one_line() -> None:
    class BadError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "BadError" in one_line(BadError())


@pytest.mark.parametrize("cell", ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "=-1", "-", "--1"])
def test_a_cell_is_no_formula(cell: str) -> None:
    assert csv_cell(cell) == f"'{cell}"


@given(st.floats() | st.integers())
def test_a_number_stays_a_number(number: float) -> None:
    assert csv_cell(number) is number
    assert csv_cell(repr(number)) == repr(number)
    assert csv_cell(f"{number:+} ± 0.1") == f"{number:+} ± 0.1"


@given(st.text(max_size=20))
def test_no_cell_of_a_file_begins_a_formula(text: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerow([csv_cell(text)])
    shown = next(csv.reader(io.StringIO(out.getvalue())), [""])[0]
    number = shown.startswith(("+", "-")) and np.isreal(float(shown.partition(" ± ")[0]))
    assert not shown.startswith(("=", "+", "-", "@")) or number


def test_a_terminal_shows_no_control_code_of_others() -> None:
    out = io.StringIO()
    console = terminal(file=out, force_terminal=True, width=60)
    table = RichTable("run\x1b]0;x\x07")
    table.add_row("a\x1b[31mb\r\x9b")
    console.print(table)
    console.print("plain \x1b[2J", style="bold", markup=False)
    assert "\x1b[1m" in out.getvalue()  # our own style
    for code in ("\x1b]", "\x1b[31m", "\x07", "\r", "\x9b", "\x1b[2J"):
        assert code not in out.getvalue()


def test_a_title_makes_no_link() -> None:
    shown = escape_markdown("[x](javascript:alert(1)) <javascript:y> `z`")
    assert shown == r"\[x\](javascript:alert(1)) \<javascript:y\> \`z\`"


def test_the_libraries_that_report_are_told_not_to() -> None:
    pytest.importorskip("transformers")
    import subprocess

    code = (
        "from benchmark.data.encoder import _library; _library();"
        "from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize("name", [MANIFEST, FEATURES, SAMPLES])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "empty", "loop"])
def test_a_data_set_of_no_plain_files_is_named(
    data_dir: Path, tmp_path: Path, name: str, kind: str
) -> None:
    shutil.copytree(data_dir / "tiny", tmp_path / "tiny")
    path = tmp_path / "tiny" / name
    path.unlink()
    make: dict[str, Callable[[], object]] = {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "empty": path.touch,
        "loop": lambda: path.symlink_to(path.name),
    }
    make[kind]()
    with pytest.raises(BenchmarkError, match=r"tiny.*Import the data set again"):
        load_imported(tmp_path, "tiny")


def test_a_packages_plan_that_is_no_text_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"title: \xff")
    monkeypatch.setattr(planfile, "_named", lambda: {"own/latin": path})
    with pytest.raises(BenchmarkError, match=r"cannot read .*latin\.yaml"):
        planfile.named_plan("own/latin")
