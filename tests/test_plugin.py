"""A third party's model (the README's), outside the tree: it is in the list, a run, the table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.tiny import benchmark

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()
MODEL = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0].replace(", version=1", "")
"""Without a version on its card: the content of its file stands for one."""
ENTRY = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)[0]


def install(folder: Path) -> None:
    """What ``pip install`` leaves behind: the module, and its metadata with the entry point."""
    (folder / "bag_of_means.py").write_text(MODEL)
    metadata = folder / "bag_of_means-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bag-of-means\nVersion: 1.0\n")
    entry = ENTRY.replace("project.entry-points.", "").replace('"', "")
    (metadata / "entry_points.txt").write_text(entry)


def test_a_model_from_outside_the_tree(tmp_path: Path, data_dir: Path) -> None:
    assert len([line for line in MODEL.splitlines() if line]) <= 30
    site = tmp_path / "site"
    site.mkdir()
    install(site)
    listed = benchmark("list", "models", site=site)
    assert "Bag of Means" in listed.stdout, listed.stderr
    runs = tmp_path / "runs"
    done = benchmark(
        *("run", "--dataset", "tiny", "--data-dir", data_dir, "--models", "bag", "--epochs", "2"),
        *("--runs-dir", runs, "--tracking-uri", "none", "--set", "evaluation.draws=1"),
        site=site,
    )
    assert done.returncode == 0, done.stderr
    assert "Bag of Means · spectrum · seed 1111" in done.stdout
    report = benchmark(
        "report",
        "--runs-dir",
        runs,
        "--out",
        tmp_path / "report",
        "--tracking-uri",
        "none",
        site=site,
    )
    assert report.returncode == 0, report.stderr
    pages = [p.read_text() for p in (tmp_path / "report").rglob("*.md")]
    assert any("Bag of Means" in page for page in pages)
    assert "Bag of Means" not in benchmark("list", "models").stdout
    # Its card has no version: rows of another file's content do not join those of the first.
    (site / "bag_of_means.py").write_text(MODEL + "# mended\n")
    more = benchmark(
        *("run", "--dataset", "tiny", "--data-dir", data_dir, "--models", "bag", "--epochs", "2"),
        *("--runs-dir", runs, "--tracking-uri", "none", "--set", "evaluation.draws=2"),
        site=site,
    )
    assert more.returncode == 1, more.stdout
    assert "another content of the file that defines bag" in more.stdout


def test_a_model_that_cannot_be_imported_is_said(tmp_path: Path, data_dir: Path) -> None:
    install(tmp_path)
    (tmp_path / "bag_of_means.py").write_text("import no_such_package\n")
    done = benchmark(
        *("run", "--dataset", "tiny", "--data-dir", data_dir, "--models", "bag", "--dry-run"),
        site=tmp_path,
    )
    assert done.returncode == 2
    assert "no_such_package" in done.stderr
    assert "Traceback" not in done.stderr


BREAKS = {
    "syntax": "def (",
    "exits": "import sys; sys.exit(3)",
    "interrupts": "raise KeyboardInterrupt",
    "odd": "raise type('Odd', (BaseException,), {})('odd')",
    "raises": "raise RuntimeError('\\x1b[31m' + 'x' * 100_000)",
    "no_model": "BagOfMeans = 3",
    "abstract": "from benchmark.interface import MultimodalModel as BagOfMeans",
    "fine": MODEL,
}
GROUPS = ("models", "datasets", "commands", "plans")


def install_broken(folder: Path) -> None:
    lines = []
    for name, text in BREAKS.items():
        (folder / f"mod_{name}.py").write_text(text + "\n")
    for group in GROUPS:
        lines.append(f"[benchmark.{group}]")
        object_of = "" if group == "plans" else ":BagOfMeans"
        lines += [f"p-{name} = mod_{name}{object_of}" for name in BREAKS]
    metadata = folder / "broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def test_a_broken_entry_harms_no_other(tmp_path: Path) -> None:
    install_broken(tmp_path)
    broken = [f"p-{name}" for name in BREAKS if name != "fine"]
    listed = benchmark("list", "models", site=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert all(name in listed.stdout for name in broken)
    assert listed.stdout.count("broken: ") == len(broken)
    assert "Bag of Means" in listed.stdout
    assert "\x1b" not in listed.stdout
    env = {"PYTHONPATH": str(tmp_path)}  # where an interpreter of its own is needed
    code = "from benchmark.registry import sound_models; print(*sound_models())"
    everything = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        check=True,
    )
    assert {"p-fine", "qamoe"} <= set(everything.stdout.split())
    assert not set(broken) & set(everything.stdout.split())
    assert all(f"left out: model '{name}'" in everything.stderr for name in broken)
    command = benchmark("p-exits", "--whatever", "3", env=env)  # a fork has its commands already
    assert command.returncode == 2
    assert "command 'p-exits' (mod_exits:BagOfMeans) is broken: SystemExit: 3" in command.stderr
    asked = benchmark("run", "--plan", "p-raises", site=tmp_path)
    assert asked.returncode == 2
    assert "plan 'p-raises' (mod_raises) is broken: RuntimeError" in asked.stderr
    assert len(asked.stderr.splitlines()[-1]) < 1000
    data = benchmark(
        "run", "--dataset", "p-fine", site=tmp_path
    )  # a model is no function of a folder
    assert data.returncode == 2
    assert "dataset 'p-fine' (mod_fine:BagOfMeans) is broken: TypeError" in data.stderr
