"""Disks that fill up under a command, and the same command once there is room.

::

    python -m tests.full_disk                    # nine sizes for each command; minutes
    python -m tests.full_disk --sizes 3 run      # as the tests do

In a mount namespace of its own, which takes root or a system that lets users have one, each command
works on a tmpfs that has room for a part of what it writes. It must end by itself with a line that
says so, or do without what only adds to it (tracking), and leave no temporary file: those would
keep the disk full. Once there is room the same command must succeed, and leave what it leaves
elsewhere.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmark.files import HALF_WRITTEN
from benchmark.records import RunStore
from tests.every_operation import COMMANDS, Trials
from tests.faults import command, prepare

INSIDE = "--inside"
UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount"]
BLOCK = 4096
ROOM = 64 * 2**20


def mount(folder: Path, size: int, *options: str) -> None:
    given = ",".join((*options, f"size={size}"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", given, "none", str(folder)], check=True)


def used(folder: Path) -> int:
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def begin(trials: Trials) -> int:
    """Go where a command is to work, with room enough; how much is used already."""
    os.chdir("/")
    shutil.rmtree(trials.here, ignore_errors=True)
    trials.here.mkdir()
    mount(trials.here, ROOM)
    shutil.copytree(trials.beginning, trials.here, dirs_exist_ok=True)
    os.chdir(trials.here)
    return used(trials.here)


def end(trials: Trials) -> None:
    os.chdir("/")
    subprocess.run(["umount", "--lazy", str(trials.here)], check=True)


def needed(trials: Trials) -> int:
    """Bytes that the command needs."""
    before = begin(trials)
    assert command(COMMANDS[trials.name], trials.log) == 0, trials.log.read_text()
    after = used(trials.here)
    end(trials)
    return after - before


def trial(trials: Trials, room: int) -> tuple[int, list[str]]:
    """The exit code on a disk with so many bytes of room, and what is wrong then or later."""
    log = trials.work / f"{trials.name}-{room}.log"
    mount(trials.here, begin(trials) + room, "remount")
    code = command(COMMANDS[trials.name], log)
    said, wrong = log.read_text(), []
    if code not in (0, 1, 2) or "Traceback (most recent call last)" in said:
        wrong.append(f"it ends with {code}: {log}")
    if code and not re.search("No space left|disk is full", said):
        wrong.append(f"it does not say why: {log}")
    left = [path for path in Path().rglob(".*") if HALF_WRITTEN.fullmatch(path.name)]
    left += [path for path in map(Path, ("runs/.probe", "runs/.mlflow-new")) if path.exists()]
    wrong += [f"left behind: {path}" for path in left]
    mount(trials.here, ROOM, "remount")
    wrong += trials.again(log)
    end(trials)
    return code, wrong


def check(name: str, work: Path, sizes: int) -> int:
    """A command on so many sizes; at how many of them something was wrong."""
    trials = Trials(name, work)
    needs, wrong, codes = needed(trials), 0, []
    for part in range(sizes):
        room = part * needs // sizes // BLOCK * BLOCK
        code, problems = trial(trials, room)
        codes.append(code)
        wrong += bool(problems)
        for problem in problems:
            print(f"{name}, {room:,} bytes of room: {problem}", flush=True)
    print(
        f"{name}: needs {needs:,} bytes; {sizes} sizes, exit codes {codes}, {wrong} not made good",
        flush=True,
    )
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", choices=[[], *COMMANDS])
    parser.add_argument("--sizes", type=int, default=9, help="disks for each command")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not asked.inside:
        again = [sys.executable, "-m", "tests.full_disk", INSIDE, *sys.argv[1:]]
        sys.exit(subprocess.run([*UNSHARE, *again], check=False).returncode)
    prepare()
    RunStore.prepare = lambda store: store.root.mkdir(exist_ok=True)  # it fills up after that
    work = Path(tempfile.mkdtemp())
    wrong = sum(check(name, work, asked.sizes) for name in asked.commands or COMMANDS)
    if wrong:
        print(f"their logs: {work}")
    else:
        shutil.rmtree(work)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
