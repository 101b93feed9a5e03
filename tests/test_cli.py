"""The command line as a person meets it: mistakes get one clear message and exit code 2."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from baselines.imder import IMDer
from benchmark.cli import main
from tests.tiny import QUICK, benchmark


@pytest.fixture
def invoke(capsys, monkeypatch, data_dir, tmp_path):
    """Call the command line in this process: (arguments) -> (exit code, output, errors)."""
    monkeypatch.setenv("BENCHMARK_DATA_DIR", str(data_dir))
    monkeypatch.setenv("BENCHMARK_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("BENCHMARK_TRACKING_URI", "none")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


MISTAKES = [
    (["run", "--models", "qamo"], ["unknown model 'qamo'", "Did you mean qamoe", "mult"]),
    (["run", "--dataset", "tinny"], ["unknown data set 'tinny'", "Did you mean tiny"]),
    (["run", "--protocol", "IV"], ["unknown protocol 'IV'", "III"]),
    (["run", "--regime", "spektrum"], ["unknown regime 'spektrum'", "Did you mean spectrum"]),
    (["run", "--models", "mult", "--preset", "offical"], ["unknown preset", "mean official"]),
    (["run", "--set", "model.topkk=4"], ["'model.topkk'", "Did you mean model.topk"]),
    (["run", "--set", "training.epoch=4"], ["'epoch'", "Did you mean epochs"]),
    (["run", "--set", "trainin.epochs=4"], ["'trainin'", "Did you mean training"]),
    (["run", "--set", "evaluation.draw=1"], ["'draw'", "Did you mean draws"]),
    (["run", "--set", "model.topk=nine"], ["topk", "nine"]),
    (["run", "--set", "model.topk=9"], ["topk=9 is more than the 8 experts"]),
    (["run", "--set", "training.learning_rate=-1"], ["learning_rate", "greater than 0"]),
    (["run", "--set", "topk"], ["section.name=value"]),
    (["run", "--regime", "missing"], ["regime missing needs its rate"]),
    (["run", "--regime", "noise"], ["regime noise needs its intensity"]),
    (
        ["run", "--regime", "missing", "--set", "regime.rate=3"],
        ["regime.rate", "less than or equal to 1", "got 3"],
    ),
    (["run", "--seeds", "1,x"], ["--seeds 1,x", "integers"]),
    (["run", "--device", "tpu"], ["unknown device 'tpu'"]),
    (["run", "--config", "no-such.yaml"], ["cannot read no-such.yaml"]),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=lambda v: " ".join(v[-2:]))
def test_a_mistake_gets_one_clear_message(invoke, arguments, expected) -> None:
    if "--dataset" not in arguments:
        arguments = [*arguments, "--dataset", "tiny"]
    if "--models" not in arguments:
        arguments = [*arguments, "--models", "qamoe"]
    code, _, error = invoke(*arguments, "--dry-run")
    assert code == 2
    assert error.startswith("error: ")
    for part in expected:
        assert part in error


def test_no_cuda_is_said(invoke, monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, error = invoke("run", *QUICK, "--device", "cuda")
    assert code == 2
    assert "--device cuda" in error
    assert "--device cpu" in error


def test_a_config_file_with_a_wrong_key_names_it(invoke, tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("dataset: tiny\nmodel: [qamoe]\n")
    code, _, error = invoke("run", "--config", path)
    assert code == 2
    assert "'model' must hold" in error
    path.write_text("dataset: tiny\nmodells: [qamoe]\n")
    code, _, error = invoke("run", "--config", path)
    assert code == 2
    assert "modells" in error
    assert "Did you mean models" in error
    path.write_text("dataset: [tiny\n")
    code, _, error = invoke("run", "--config", path)
    assert code == 2
    assert "is no YAML" in error


def test_a_config_file_and_flags_join(invoke, tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "dataset: tiny\nmodels: [qamoe]\nseeds: [5]\nregimes: [clean]\nmodel: {topk: 4}\n"
    )
    code, out, error = invoke("run", "--config", path, "--seeds", "6,7", "--dry-run")
    assert code == 0, error
    assert "2 runs on tiny, 2 to do" in out
    assert "6, 7" in out
    assert "at a time on cpu" in out


def test_a_cpu_asks_a_dear_method_for_protocol_i_and_says_why(invoke) -> None:
    small = [f"--set=model.{name}={value}" for name, value in IMDer.trial.items()]
    plan = ("run", "--dataset", "tiny", "--models", "imder", "--regime", "clean", *small)
    code, out, error = invoke(*plan, "--dry-run", "--device", "cpu")
    assert code == 0, error
    assert "up to 8 conditions" in out
    assert "IMDer: Protocol I only" in out
    assert "passes of a score network" in out.replace("\n", " ")
    everything = invoke(*plan, "--dry-run", "--device", "cpu", "--set", "evaluation.dear=true")[1]
    assert "up to 176 conditions" in everything
    assert "Protocol I only" not in everything


def test_a_plan_shows_the_preset_and_its_doubtful_source(invoke) -> None:
    asked = ("--models", "qamoe", "--preset", "released", "--regime", "released")
    code, out, error = invoke("run", "--dataset", "tiny", *asked, "--dry-run")
    assert code == 0, error
    assert "QA-MoE [released] (seen through a third party)" in out


@pytest.mark.parametrize("content", [b"", b"\x80\x04junk", b"no pickle at all"])
def test_a_broken_package(invoke, tmp_path, content) -> None:
    path = tmp_path / "broken.pkl"
    path.write_bytes(content)
    code, _, error = invoke("data", "import", path, "--name", "x")
    assert code == 2
    assert "broken.pkl" in error


def test_a_hostile_package_runs_nothing(invoke, tmp_path) -> None:
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"train": Evil()}))
    code, _, error = invoke("data", "import", path, "--name", "x")
    assert code == 2
    assert "system" in error
    assert not (tmp_path / "executed").exists()


def test_a_runs_folder_that_cannot_be_written(invoke, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    code, _, error = invoke("run", *QUICK, "--runs-dir", blocked / "runs")
    assert code == 2
    assert "cannot write to the runs folder" in error


def test_a_full_disk_is_said_at_once(invoke, monkeypatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmark.records.store.replace_file", full)
    code, _, error = invoke("run", *QUICK)
    assert code == 2
    assert "No space left on device" in error


def test_an_empty_data_folder(invoke, tmp_path) -> None:
    code, _, error = invoke("run", "--dataset", "mosi", "--data-dir", tmp_path)
    assert code == 2
    assert "mosi" in error
    assert "benchmark data import" in error


def test_imder_batch_needs_three_modalities(invoke, data_dir, tmp_path) -> None:
    from tests.tiny import tiny_package

    path = tiny_package(tmp_path / "two.pkl")
    package = pickle.loads(path.read_bytes())
    for split in package.values():
        del split["vision"], split["vision_lengths"]
    path.write_bytes(pickle.dumps(package))
    folder = tmp_path / "data"
    assert invoke("data", "import", path, "--name", "two", "--data-dir", folder)[0] == 0
    rule = ["--set", "regime.missing_rule=imder_batch"]
    arguments = ["--dataset", "two", "--models", "qamoe", "--data-dir", folder]
    code, _, error = invoke("run", *arguments, *rule, "--dry-run")
    assert code == 2
    assert "three modalities" in error


def test_lists(invoke) -> None:
    code, out, _ = invoke("list", "models")
    assert code == 0
    assert "QA-MoE" in out
    assert "MulT" in out
    assert "spectrum" not in out
    assert "imder_batch" in invoke("list", "protocols")[1]
    assert "tiny-cls" in invoke("list", "datasets")[1]
    assert invoke("list", "runs")[0] == 0


def test_a_run_end_to_end_and_its_list(invoke, tmp_path) -> None:
    code, out, error = invoke(
        "run", *QUICK, "--regime", "clean", "--seeds", "1,2", "--epochs", "1", "--workers", "1"
    )
    assert code == 0, error
    assert "2 runs on tiny, 2 to do" in out
    assert "Protocol III" in out
    listed = invoke("list", "runs")[1]
    assert listed.count("finished") == 2
    (broken,) = list((tmp_path / "runs").glob("*/metrics.json"))[:1]
    broken.unlink()
    assert "broken: metrics.json: it is missing" in invoke("list", "runs")[1]
    code, out, _ = invoke(
        "run", *QUICK, "--regime", "clean", "--seeds", "1,2", "--epochs", "1", "--workers", "1"
    )
    assert code == 0
    assert "1 to do" in out  # the broken record is made again, the other is kept


def test_a_failing_run_is_exit_code_1(invoke) -> None:
    code, out, _ = invoke(
        *("run", *QUICK, "--regime", "clean", "--epochs", "2", "--workers", "1"),
        *("--set", "training.learning_rate=1e30"),
    )
    assert code == 1
    assert "FAILED" in out
    assert "DivergedError" in out
    assert "failed: " in invoke("list", "runs")[1]


def cpu_seconds(*words: str) -> float:
    """Processor time of a new interpreter."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_quick_and_light() -> None:
    """Beside what draws it, by turns: a busy machine takes longer for both."""
    turns = [
        (cpu_seconds("-m", "benchmark", "--help"), cpu_seconds("-c", "import typer, rich.table"))
        for _ in range(3)
    ]
    ours, theirs = (min(seconds) for seconds in zip(*turns, strict=True))
    assert ours < 6 * theirs
    code = (
        "import sys, benchmark.cli; heavy = {'torch', 'mlflow', 'pandas', 'matplotlib', 'optuna'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_quiet_when_not_a_terminal(data_dir, tmp_path) -> None:
    done = benchmark(
        *("run", *QUICK, "--regime", "clean", "--epochs", "2", "--data-dir", data_dir),
        *("--runs-dir", tmp_path, "--tracking-uri", "none"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert len(done.stdout.splitlines()) < 15
