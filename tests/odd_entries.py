"""Something odd at each place of a runs folder, and every command that reads one.

::

    python -m tests.odd_entries                      # all of them; the time is in docs/faults.md
    python -m tests.odd_entries --sample 20 list     # some for each command

The places are what a run, a search and a report leave, and what a kill and another version would;
what is put there is of each kind that a file system knows. A command must end, with
exit code 0, 1 or 2 and without a traceback, and where it fails name the place. Each is a fork of
this process without root's right to read everything.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmark.files import remove
from benchmark.records import RunStore
from tests.faults import prepare
from tests.tiny import QUICK, benchmark, tiny_data_dir, tiny_package

RUNS = ("--data-dir", "data", "--runs-dir", "runs")
RUN = ("run", *QUICK, "--regime", "clean", "--protocol", "I", "--epochs", "1", "--workers", "1")
SEARCH = ("search", *QUICK[:2], "--model", "qamoe", *QUICK[4:], "--epochs", "1", "--workers", "1")
COMMANDS: dict[str, tuple[str, ...]] = {
    "list": ("list", "runs", "--runs-dir", "runs"),
    "predict": ("predict", "RUN", "new.pkl", "--runs-dir", "runs", "--out", "predicted.csv"),
    "evaluate": ("evaluate", "RUN", "--dataset", "tiny", "--protocol", "clean", *RUNS),
    "pack": ("pack", "all", "--out", "mine.zip", "--runs-dir", "runs"),
    "verify": ("verify", "submission", "--data-dir", "data"),
    "run": (*RUN, *RUNS),
    "search": (*SEARCH, "--space", "space.yaml", *RUNS),
    "sync": ("sync", "--runs-dir", "runs"),
    "report": ("report", "--runs-dir", "runs", "--out", "report", "--format", "png"),
    "open": ("open", "--out", "report"),
}
MADE = ("runs", "report", "submission")
READS = {"verify": "submission", "open": "report"}
"""The folder that a command reads, where it is not the runs folder."""
OTHER = "0123456789ab"
"""The id of no run."""


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _hidden(path: Path) -> None:
    path.write_bytes(b"{}")
    path.chmod(0)


def _full(path: Path) -> None:
    path.mkdir()
    (path / os.fsdecode(b"\xff\n\x1b[31m")).write_bytes(b"x")
    (path / "inner").mkdir()


def _closed(path: Path) -> None:
    path.mkdir()
    path.chmod(0)


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 20 * 2**30)  # of holes: it takes no room


KINDS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "an empty file": Path.touch,
    "a file of bytes": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "a newer form": lambda path: path.write_text('{"format": 99, "version": 99, "sha256": "?"}'),
    "a huge file": _huge,
    "a file that may not be read": _hidden,
    "a folder": Path.mkdir,
    "a folder of odd names": _full,
    "a folder that may not be read": _closed,
    "a pipe": os.mkfifo,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": _loop,
    "a link to a folder": lambda path: path.symlink_to("/usr"),
    "a link to a pipe": lambda path: (os.mkfifo(f"{path}~pipe"), path.symlink_to(f"{path}~pipe")),
}


def without_rights() -> None:
    """Root may read and write everything; a user may not. Elsewhere nothing is to be done."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
        rights = (ctypes.c_uint32 * 6)()
        libc.capget(header, rights)
        rights[0] &= ~0b110  # of the effective ones CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
        if libc.capset(header, rights):
            raise OSError(ctypes.get_errno(), "capset")


def places(folder: Path) -> list[str]:
    """What may be odd: all that commands of ours left, and what kills and strangers would."""
    made = (path.relative_to(folder) for top in MADE for path in sorted((folder / top).rglob("*")))
    ours = [str(path) for path in made if "mlartifacts" not in path.parts]
    partial = f"runs/.partial/{OTHER}"
    others = [f"runs/{OTHER}", partial, f"{partial}/error.txt", f"{partial}/resume.pt"]
    return [*MADE, *ours, *others, f"runs/.locks/{OTHER}", f"runs/.plans/{OTHER}.json"]


def begin(folder: Path) -> str:
    """A data set, a run, a search, a report and a pack of them; the run's id."""
    tiny_data_dir(folder)
    tiny_package(folder / "new.pkl")
    (folder / "space.yaml").write_text("training.learning_rate: [0.001]\n")
    (folder / "runs").mkdir()
    for name in ("run", "search", "report"):
        done = benchmark(*COMMANDS[name], cwd=folder)
        assert done.returncode == 0, done.stderr
    (run_id,) = (r.run_id for r in RunStore(folder / "runs").records())
    packed = benchmark(*COMMANDS["pack"][:3], "submission", *COMMANDS["pack"][4:], cwd=folder)
    assert packed.returncode == 0, packed.stderr
    return run_id


def tried(begun: Path, here: Path, place: str, kind: str, command: tuple[str, ...]) -> str:
    """What is wrong with how a command ends; "" where nothing is."""
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(begun, here, symlinks=True)
    path = here / place
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(path)
    KINDS[kind](path)
    try:
        done = benchmark(*command, cwd=here, first=without_rights)
    except subprocess.TimeoutExpired:
        return "it does not end"
    finally:
        if kind == "a folder that may not be read":  # else nobody can remove it
            path.chmod(0o700)
    said = done.stdout + done.stderr
    if done.returncode not in (0, 1, 2) or "Traceback" in said:
        return f"exit code {done.returncode}: {said[-1500:]}"
    named = path.name in " ".join(said.split()) or not done.returncode
    return "" if named else f"exit code {done.returncode} without its name: {said[-700:]}"


def cases(begun: Path, names: Sequence[str], sample: int) -> Iterator[tuple[str, str, str]]:
    """(command, place, kind); for a sample evenly over all."""
    for name in names:
        mine = [p for p in places(begun) if Path(p).parts[0] == READS.get(name, "runs")]
        every = list(itertools.product(mine, KINDS))
        step = len(every) / sample if sample else 1
        yield from ((name, *every[int(i * step)]) for i in range(sample or len(every)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", choices=[[], *COMMANDS])
    parser.add_argument("--sample", type=int, default=0, help="cases for each command")
    asked = parser.parse_args()
    prepare()
    begun_at, wrong, count = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as work:
        begun = Path(work) / "begun"
        begun.mkdir()
        run_id = begin(begun)
        for name, place, kind in cases(begun, asked.commands or list(COMMANDS), asked.sample):
            command = tuple(run_id if word == "RUN" else word for word in COMMANDS[name])
            problem = tried(begun, Path(work) / "here", place, kind, command)
            count += 1
            if problem:
                wrong += 1
                print(f"{name}: {kind} at {place.replace(run_id, 'RUN')}: {problem}", flush=True)
            if count % 100 == 0:
                print(f"{count} tried, {wrong} wrong", flush=True)
    print(f"{count} cases, {wrong} wrong, {time.monotonic() - begun_at:.0f} s")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
