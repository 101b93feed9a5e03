"""Disks that fill up under a command, and the same command once there is room.

::

    python -m tests.full_disk                    # nine sizes for each command; minutes
    python -m tests.full_disk --sizes 3 run      # as the tests do

In a mount namespace of its own, which takes root or a system that lets users have one, each command
works on a tmpfs that has room for a part of what it writes. It must end by itself with one line that
says so, or without what only adds to it (tracking), and leave no temporary file: those would keep
the disk full. Once there is room the same command must succeed, and leave what it leaves elsewhere.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmark.files import HALF_WRITTEN
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


def trial(trials: Trials, room: int) -> tuple[int, list[str]]:
    """The exit code on a disk with so many bytes of room, and what is wrong then or later."""
    here, log = trials.here, trials.work / f"{trials.name}-{room}.log"
    os.chdir("/")
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    mount(here, ROOM)
    try:
        shutil.copytree(trials.beginning, here, dirs_exist_ok=True)
        os.chdir(here)
        mount(here, used(here) + room, "remount")
        code = command(COMMANDS[trials.name], log)
        said, wrong = log.read_text(), []
        if code not in (0, 1, 2) or "Traceback (most recent call last)" in said:
            wrong.append(f"it ends with {code}: {log}")
        if code and "No space left" not in said:
            wrong.append(f"it does not say why: {log}")
        left = [path for path in Path().rglob(".*") if HALF_WRITTEN.fullmatch(path.name)]
        left += [path for path in map(Path, ("runs/.probe", "runs/.mlflow-new")) if path.exists()]
        wrong += [f"left behind: {path}" for path in left]
        mount(here, ROOM, "remount")
        return code, wrong + trials.again(log)
    finally:
        os.chdir("/")
        subprocess.run(["umount", "--lazy", str(here)], check=True)


def check(name: str, work: Path, sizes: int) -> int:
    """A command on so many sizes; at how many of them something was wrong."""
    trials = Trials(name, work)
    before = sum(p.stat().st_size + BLOCK for p in trials.beginning.rglob("*"))
    needs = sum(p.stat().st_size + BLOCK for p in trials.here.rglob("*")) - before + 2**20
    wrong, codes = 0, []
    for part in range(sizes):
        room = part * needs // sizes // BLOCK * BLOCK
        code, problems = trial(trials, room)
        codes.append(code)
        wrong += bool(problems)
        for problem in problems:
            print(f"{name}, {room:,} bytes of room: {problem}", flush=True)
    print(f"{name}: {sizes} sizes, exit codes {codes}, {wrong} not made good", flush=True)
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
    work = Path(tempfile.mkdtemp())
    wrong = sum(check(name, work, asked.sizes) for name in asked.commands or COMMANDS)
    if wrong:
        print(f"their logs: {work}")
    else:
        shutil.rmtree(work)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
